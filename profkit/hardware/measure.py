"""How fast is this GPU really: memory, matrix products, launches, measured in less than ten seconds?"""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from profkit.errors import OptionError
from profkit.hardware import cache
from profkit.hardware.ceilings import METRICS, Ceiling, Ceilings, datasheet, from_dict, with_datasheet

_DEADLINE_S: Final = 8.0
"""No further size is begun after this; one takes under a second."""
_EACH_S: Final = 0.2
"""Of timed work for each size."""
_BURST_NS: Final = 4e6
"""One repeat lasts at least this long: the two events around it cost microseconds."""
_WARM_NS: Final = 30e6
"""Work before the first repeat: clocks rise, and the library has chosen its kernel."""
_REPEATS: Final = (5, 30)
_MEMORY_SHARE: Final = 0.25
"""Of the memory that is free now."""
_L2_TIMES: Final = 4
"""Buffers take turns over so many times the L2: none of them is still in it when its turn comes."""
_COPY_BYTES: Final = (256 << 20, 1 << 30, 2 << 30)
_MATMUL: Final = (4096, 8192, 16384)
_LAUNCHES: Final = 2000
_FP8_CAPABILITY: Final = (8, 9)
_STEADY: Final = 0.25
"""Matrix products reach the power limit, which moves the clock by an eighth (H200); another process takes a half."""
_TOLERANCE: Final = 1.02
"""A figure this far above its datasheet is doubted: no memory moves more than its pins, clocks move a little."""


def measure(device: Any = None, refresh: bool = False) -> Ceilings:
    """The ceilings of one GPU, measured once for each GPU, driver and torch, and kept in the user's cache folder.

    It takes up to 10 s, a quarter of the GPU's free memory, and a GPU that nothing else uses meanwhile. Times
    come from CUDA events: the fastest repeat (a ceiling is what the GPU can do before its power limit takes the
    clock down) at the best of several sizes, on random data (zeros need less power and run up to 15 % faster) in
    buffers that take turns so that no cache holds them. Latencies are medians.

    Args:
        device: index, "cuda:1" or torch.device; by default torch's current GPU.
        refresh: measure again, whatever is kept.

    Returns:
        Figures with their source. Without a GPU none, with the reason; where a metric could not be measured, the
        datasheet's figure stands in if the GPU is known.

    Raises:
        OptionError: there is no such GPU.
    """
    from profkit.capture.environment import environment
    from profkit.capture.nvml import ReadingError, torch_gpus

    try:
        count = len(torch_gpus())
    except ReadingError as error:
        return Ceilings("", not_measured=dict.fromkeys(METRICS, f"no GPU: {error}"))
    index = _index(device, count)
    found = environment()
    gpu = found["gpus"][index]
    if gpu["ceilings"] is not None and not refresh:
        return with_datasheet(from_dict(gpu["ceilings"]))
    bench = _Bench(index, gpu, found)
    ceilings = bench.run()
    if bench.keep:
        cache.save(cache.path_of(gpu, found), ceilings)
    return with_datasheet(ceilings)


def _index(device: Any, count: int) -> int:
    import torch

    if device is None:
        return torch.cuda.current_device()
    try:
        wanted = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise OptionError(f"measure(device={device!r}): no device of torch's: {str(error).splitlines()[0]}") from error
    if wanted.type != "cuda":
        raise OptionError(f"measure(device={device!r}): ceilings are those of a GPU")
    index = torch.cuda.current_device() if wanted.index is None else wanted.index
    if not 0 <= index < count:
        raise OptionError(f"measure(device={device!r}): torch sees {count} GPU(s), from cuda:0 to cuda:{count - 1}")
    return index


class _Bench:
    """One measurement of one GPU, from its first buffer to the figures."""

    keep = True
    """Whether the figures are worth keeping: nothing disturbed them that may be gone the next time."""

    def __init__(self, index: int, gpu: dict[str, Any], environment: dict[str, Any]) -> None:
        import torch

        self._gpu = gpu
        self._device = torch.device("cuda", index)
        self._l2 = gpu.get("l2_bytes") or 64 << 20
        self._began = time.perf_counter()
        self._created = dt.datetime.now(dt.UTC)
        self._clock = _sm_clock(index)
        self._random = torch.Generator(self._device).manual_seed(0)  # the user's stays as it is
        packages = environment.get("packages") or {}
        software = {
            "torch": packages.get("torch"),
            "CUDA": environment.get("cuda"),
            "driver": environment.get("driver"),
        }
        self._software = {name: str(version) for name, version in software.items() if version}
        self._source = f"measured on {gpu['name']}, {self._created:%Y-%m-%d %H:%M} UTC"

    def run(self) -> Ceilings:
        """Every metric by itself: one that fails takes no other with it."""
        import torch

        ways: dict[str, Callable[[], Ceiling]] = {
            "copy": self._copy,
            "read": self._read,
            "bf16": lambda: self._matmul(torch.bfloat16),
            "fp16": lambda: self._matmul(torch.float16),
            "fp8": self._fp8,
            "launch": self._launch,
            "graph_replay": lambda: self._graph(1),
            "graph_kernel": lambda: self._graph(_LAUNCHES),
        }
        values: dict[str, Ceiling] = {}
        missing: dict[str, str] = {}
        with torch.cuda.device(self._device), torch.no_grad():
            torch.cuda.synchronize()
            free = torch.cuda.mem_get_info()[0]
            self._room = int(free * _MEMORY_SHARE)
            for name, way in ways.items():
                try:
                    values[name] = way()
                except _NotHereError as reason:
                    missing[name] = str(reason)
                except _NoRoomError as reason:
                    missing[name] = str(reason)
                    self.keep = False
                except (RuntimeError, AttributeError, TypeError) as error:  # torch refuses, each in its own way
                    missing[name] = f"torch answers: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
                    self.keep = False
            torch.cuda.empty_cache()
        unsteady = list(_unsteady(values))
        self.keep = self.keep and not unsteady
        return Ceilings(
            gpu=self._gpu["name"],
            copy=values.get("copy"),
            read=values.get("read"),
            bf16=values.get("bf16"),
            fp16=values.get("fp16"),
            fp8=values.get("fp8"),
            launch=values.get("launch"),
            graph_replay=values.get("graph_replay"),
            graph_kernel=values.get("graph_kernel"),
            not_measured=missing,
            warnings=(*unsteady, *_doubts(self._gpu["name"], values)),
            software=self._software,
            power_limit_w=self._gpu.get("power_limit_w"),
            created=self._created.isoformat(timespec="seconds"),
            took_s=time.perf_counter() - self._began,
        )

    def _copy(self) -> Ceiling:
        """Bytes read and written per second by torch's device-to-device copy."""

        def prepare(size: int) -> tuple[Callable[[int], Any], float]:
            pairs = [(self._noise(size), self._noise(size)) for _ in range(self._turns(2 * size))]
            return lambda i: pairs[i % len(pairs)][0].copy_(pairs[i % len(pairs)][1]), 2.0 * size

        return self._best("bytes/s", _COPY_BYTES, prepare, lambda size: 2 * size)

    def _read(self) -> Ceiling:
        """Bytes read per second by a sum, which writes next to nothing."""
        import torch

        def prepare(size: int) -> tuple[Callable[[int], Any], float]:
            buffers = [self._noise(size).view(torch.float32) for _ in range(self._turns(size))]
            out = torch.empty((), dtype=torch.float32, device=self._device)
            return lambda i: torch.sum(buffers[i % len(buffers)], dim=0, out=out), float(size)

        return self._best("bytes/s", _COPY_BYTES, prepare, lambda size: size)

    def _matmul(self, dtype: Any) -> Ceiling:
        """FLOP/s of C = A B, all of n × n: 2 n³."""
        import torch

        if dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise _NotHereError("this GPU has no bf16")

        def prepare(n: int) -> tuple[Callable[[int], Any], float]:
            sets = [(self._square(n, dtype), self._square(n, dtype)) for _ in range(self._turns(4 * n * n))]
            out = torch.empty(n, n, dtype=dtype, device=self._device)
            return lambda i: torch.mm(*sets[i % len(sets)], out=out), 2.0 * n**3

        return self._best("FLOP/s", _MATMUL, prepare, lambda n: 6 * n * n)

    def _fp8(self) -> Ceiling:
        """FLOP/s of an e4m3 product with one scale a matrix, bf16 out."""
        import torch

        if torch.version.hip:
            raise _NotHereError("fp8 is measured on NVIDIA GPUs only")
        if torch.cuda.get_device_capability(self._device) < _FP8_CAPABILITY:
            raise _NotHereError("fp8 needs a GPU of compute capability 8.9 or newer")
        scale = torch.ones((), dtype=torch.float32, device=self._device)

        def square(n: int) -> Any:
            return self._square(n, torch.bfloat16).to(torch.float8_e4m3fn)

        def prepare(n: int) -> tuple[Callable[[int], Any], float]:
            # The second factor is column-major: the one layout that Hopper's fp8 products take.
            sets = [(square(n), square(n).t()) for _ in range(self._turns(2 * n * n))]

            def run(i: int) -> Any:
                a, b = sets[i % len(sets)]
                return torch._scaled_mm(a, b, scale, scale, out_dtype=torch.bfloat16, use_fast_accum=True)

            return run, 2.0 * n**3

        return self._best("FLOP/s", _MATMUL, prepare, lambda n: 6 * n * n)

    def _launch(self) -> Ceiling:
        """Time from one launch to the next of a kernel that does nothing, host and driver included."""
        import torch

        def run(_: int) -> None:
            torch.cuda._sleep(0)

        return self._latency(run, _LAUNCHES, f"{_LAUNCHES} launches in a row")

    def _graph(self, kernels: int) -> Ceiling:
        """Time of one replay, shared among its empty kernels."""
        import torch

        torch.cuda._sleep(0)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(kernels):
                torch.cuda._sleep(0)
        replays = max(_LAUNCHES // kernels, 4)
        ceiling = self._latency(lambda _: graph.replay(), replays, "1 kernel" if kernels == 1 else f"{kernels} kernels")
        return replace(ceiling, value=ceiling.value / kernels)

    def _latency(self, run: Callable[[int], Any], each: int, at: str) -> Ceiling:
        times, clock = self._repeat(run, each, 10)
        return Ceiling(statistics.median(times), "ns", self._source, True, _spread(times), at, clock)

    def _best(
        self,
        unit: str,
        sizes: tuple[int, ...],
        prepare: Callable[[int], tuple[Callable[[int], Any], float]],
        needs: Callable[[int], int],
    ) -> Ceiling:
        """The greatest rate over the sizes that fit.

        Args:
            unit: of the rate.
            sizes: bytes of a buffer, or n of a square matrix.
            prepare: makes buffers of a size; its result is one run of the work, and how much work that is.
            needs: bytes that one set of buffers takes.
        """
        best: Ceiling | None = None
        for size in sizes:
            late = time.perf_counter() - self._began > _DEADLINE_S
            if (best is not None and late) or needs(size) * self._turns(needs(size)) > self._room:
                break
            run, work = prepare(size)
            first = self._first(run)
            each = max(round(_BURST_NS / first), 1)
            repeats = min(max(round(_EACH_S * 1e9 / (first * each)), _REPEATS[0]), _REPEATS[1])
            times, clock = self._repeat(run, each, repeats)
            rate = work / (min(times) / 1e9)
            del run
            if best is None or rate > best.value:
                words = f"{size >> 20} MiB" if unit == "bytes/s" else f"{size} × {size} × {size}"
                best = Ceiling(rate, unit, self._source, True, _spread(times), words, clock)
            if first * 8 * _REPEATS[0] > 1e9:  # the next size takes eight times as long
                break
        if best is None:
            raise _NoRoomError(f"the GPU has too little free memory: {self._room / _MEMORY_SHARE / 1e9:.1f} GB")
        return best

    def _first(self, run: Callable[[int], Any]) -> float:
        """Time of one run in ns, after a warm-up."""
        run(0)
        (once,), _ = self._repeat(run, 1, 1)
        (warm,), _ = self._repeat(run, max(round(_WARM_NS / once), 1), 1)
        return warm

    def _repeat(self, run: Callable[[int], Any], each: int, repeats: int) -> tuple[list[float], float | None]:
        """Time of one run, ns, in each repeat of `each` runs, and the SM clock meanwhile."""
        import torch

        pairs: list[tuple[Any, Any]] = []
        clocks: list[float] = []
        torch.cuda.synchronize()
        for repeat in range(repeats):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            for i in range(each):
                run(repeat * each + i)
            end.record()
            pairs.append((start, end))
            clocks += self._clock()
        torch.cuda.synchronize()
        times = [start.elapsed_time(end) * 1e6 / each for start, end in pairs]
        return times, statistics.median(clocks) if clocks else None

    def _turns(self, size: int) -> int:
        """How many sets of buffers of `size` bytes take turns."""
        return max(-(-_L2_TIMES * self._l2 // size), 2)

    def _noise(self, size: int) -> Any:
        """`size` bytes of normally distributed float32."""
        import torch

        noise = torch.empty(size // 4, dtype=torch.float32, device=self._device)
        return noise.normal_(generator=self._random)

    def _square(self, n: int, dtype: Any) -> Any:
        import torch

        return torch.empty(n, n, dtype=dtype, device=self._device).normal_(generator=self._random)


class _NotHereError(Exception):
    """A metric that this GPU does not have; the message says why."""


class _NoRoomError(Exception):
    """A metric whose buffers do not fit beside what is on the GPU now."""


def _sm_clock(index: int) -> Callable[[], Iterator[float]]:
    """Reads the SM clock, MHz; nothing where the driver does not tell."""
    from profkit.capture.nvml import ReadingError, find_gpus
    from profkit.record import Metric

    gpus = find_gpus([index]).gpus

    def read() -> Iterator[float]:
        for gpu in gpus:
            try:
                yield gpu.read(Metric.SM_CLOCK)
            except ReadingError:  # then there is no clock beside the figure
                return

    return read


def _spread(times: list[float]) -> float | None:
    if len(times) < _REPEATS[0]:
        return None
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return (tenths[-1] - tenths[0]) / statistics.median(times)


def _unsteady(values: dict[str, Ceiling]) -> Iterator[str]:
    """Figures whose repeats differ too much."""
    for name, found in values.items():
        if found.unit != "ns" and found.spread is not None and found.spread > _STEADY:
            yield (
                f"{METRICS[name]}: repeats differ by {found.spread:.0%}: something else seems to use the GPU, so "
                "these figures are not kept; measure again when it is idle"
            )


def _doubts(gpu: str, values: dict[str, Ceiling]) -> Iterator[str]:
    """Figures that are above what the vendor promises."""
    sheet = datasheet(gpu)
    for name, found in values.items():
        promised = getattr(sheet, name, None)
        if promised is not None and found.value > _TOLERANCE * promised.value:
            yield (
                f"{METRICS[name]}: {found.value:.4g} {found.unit} is above the datasheet's "
                f"{promised.value:.4g}: higher clocks than its, or a figure to doubt"
            )
