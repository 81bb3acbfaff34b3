"""One profile from start to record: what is switched on, in which order, and how all is put back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from profkit.analysis.events import CODE, assemble
from profkit.capture.clock import Clock, synchronize
from profkit.capture.environment import environment
from profkit.capture.forward import ForwardWatcher
from profkit.capture.kineto import Kineto, TraceLostError, columns
from profkit.capture.kvcache import KVRecorder
from profkit.capture.kvformula import Formula, NoFormulaError, kv_formula
from profkit.capture.kvtable import kv_table, lacks
from profkit.capture.memory import (
    MAX_ENTRIES,
    MemoryHistory,
    MemoryHistoryError,
    addresses_of,
    living_tensors,
    memory_table,
)
from profkit.capture.nvml import ReadingError, torch_gpus
from profkit.capture.overhead import Overhead
from profkit.capture.redact import redact
from profkit.capture.steps import Step, StepRecorder
from profkit.capture.telemetry import Readings, Telemetry
from profkit.capture.trackers import KVTracker, trackers
from profkit.errors import OptionError, ProfilerBusyError
from profkit.models.weights import UnknownWeightsError, decode_weights
from profkit.record import EVENTS, KERNELS, MEMORY, OPS, EventKind, Meta, Phase, Record
from profkit.version import __version__

_active: Session | None = None
_guard: Final = threading.Lock()


@dataclass(frozen=True)
class Options:
    """What a profile records.

    Attributes:
        trace: kernels and operators through torch.profiler. Without it telemetry, steps and CUDA-event
            times remain: the light mode for production-like runs.
        shapes: operators' input shapes.
        stacks: Python stacks of operators.
        memory: the allocator's history: what lay in the GPU's memory and what allocated it.
        telemetry_hz: readings of each GPU per second, above 0 and at most 500.
    """

    trace: bool = True
    shapes: bool = False
    stacks: bool = False
    memory: bool = False
    telemetry_hz: float = 20.0

    def __post_init__(self) -> None:
        wanted = [name for name in ("shapes", "stacks") if getattr(self, name)]
        if wanted and not self.trace:
            raise OptionError(f"{', '.join(wanted)} need the trace: leave out --no-trace (trace=False)")


class _Ended(NamedTuple):
    """The end of a block."""

    host_ns: int  # record time when the host was done
    ns: int  # when the GPUs were, too
    gpu_works: bool
    readings: Readings


class Session:
    """A profile of the block between `start` and `stop`. One runs at a time in a process."""

    def __init__(self, name: str, options: Options, modules: Sequence[Any] = (), source: str | None = None) -> None:
        self._name, self._options, self._source = name, options, source
        self._modules = list(modules)
        self._clock = Clock()
        self._kv_formula: Formula = {}
        self._memory: MemoryHistory | None = None
        self._undo = contextlib.ExitStack()
        self._warnings: list[str] = []
        self._missing: dict[str, str] = {}
        self._ended: _Ended | None = None
        self.unprofiled_wall_ns: list[int] = []

    def start(self) -> None:
        """Switch everything on; the block begins when this returns.

        Raises:
            ProfilerBusyError: a profile, or torch.profiler, is running already.
        """
        global _active  # noqa: PLW0603 - one profiler per process is what torch and CUPTI allow
        with _guard:
            if _active is not None:
                raise ProfilerBusyError(
                    f"profile {_active._name!r} is running already, and only one can: "
                    "end it first, or leave out the inner one"
                )
            _active = self
        self._undo.callback(_release)
        try:
            self._switch_on()
        except BaseException:
            self._undo.close()
            raise

    def _switch_on(self) -> None:
        self.devices = self._find_gpus()
        self._telemetry = Telemetry(self._clock, hz=self._options.telemetry_hz)
        self._steps = StepRecorder(self._clock)
        self._kv = KVRecorder(self._clock, trackers, locate=self._options.memory)
        self._forward = ForwardWatcher(self._steps, self._clock, self._kv)
        self._kineto: Kineto | None = None
        self._overhead = Overhead(self.devices[0] if self.devices else None)
        if self._options.trace:
            self._overhead.before()
            kineto = Kineto(
                cuda=bool(self.devices),
                shapes=self._options.shapes,
                stacks=self._options.stacks,
            )
            kineto.start()
            self._kineto = kineto
            self._undo.callback(self._drop_trace)
            self._overhead.under()
        if self._options.memory:
            self._memory = MemoryHistory(self.devices)
            self._undo.callback(self._memory.drop)
            try:
                self._memory.start()
            except MemoryHistoryError as reason:
                self._missing["memory"] = str(reason)
        self._undo.callback(_close_trackers, set(trackers))
        self._undo.callback(self._kv.paged.detach)
        self._kv.paged.attach()
        self._undo.callback(self._forward.detach)
        self._forward.attach(self._modules)
        self._telemetry.start()
        self._undo.callback(self._drop_telemetry)
        self._telemetry_runs = True
        synchronize()
        self._reset_peaks()
        self._begin_ns = self._clock.now()

    def now(self) -> int:
        """Time since the block began, ns."""
        return self._clock.now() - self._begin_ns

    def steps_so_far(self) -> pa.Table:
        """The table `steps` of what has ended; waits for the GPU's last mark."""
        return _shift(self._steps.table(), self._begin_ns, "sent", "start", "end")

    def block_ended(self) -> None:
        """The block's work is done; what follows until `stop` (showing a value) is not counted to it."""
        if self._ended is None:
            host_end = self._clock.now()
            gpu_works = self._wait()
            end = self._clock.now()
            self._telemetry_runs = False
            self._ended = _Ended(host_end, end, gpu_works, self._telemetry.stop())

    def stop(self, error: BaseException | None = None) -> Record:
        """Switch everything off and build the record; `error` is what ended the block early.

        What fails on the way (a GPU in a bad state) leaves a warning, and the rest of the record.
        """
        try:
            self.block_ended()
            assert self._ended is not None
            host_end, end, gpu_works, readings = self._ended
            peaks = self._peaks() if gpu_works else {}
            self._forward.detach()
            memory = self._memory_table(gpu_works)
            results = self._stop_trace()
            if drift := self._clock.drift_warning():
                self._warnings.append(drift)
        finally:
            self._undo.close()
        begin = self._begin_ns
        steps = _shift(self._steps.table(timed=gpu_works), begin, "sent", "start", "end")
        steps = steps.filter(pc.less(steps["start"], end - begin))
        self._note_steps(steps)
        kv = self._kv_table(len(steps), begin, end, gpu_works)
        self._missing |= readings.not_measured
        meta = Meta(
            name=self._name,
            profkit_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            started_unix_ns=self._clock.start_unix_ns + begin,
            wall_ns=end - begin,
            host_wall_ns=host_end - begin,
            unprofiled_wall_ns=self.unprofiled_wall_ns,
            peak_memory_bytes=peaks,
            energy_j=readings.energy_j,
            energy_error_j=readings.energy_error_j,
            kv_formula=self._kv_formula,
            options=asdict(self._options),
            source=redact(self._source) if self._source is not None else None,
            error=described(error),
            environment=environment(),
        )
        self._note_weights(meta)
        events, kernels, ops = EVENTS.empty_table(), KERNELS.empty_table(), OPS.empty_table()
        if results is not None:
            raw = columns(results, self._clock.start_unix_ns + begin, self._options.shapes)
            events, kernels, ops, losses = assemble(raw, meta.wall_ns, steps)
            self._warnings += losses.warnings()
            if self._options.stacks and not (raw.kind == CODE[EventKind.PYTHON]).any():
                self._missing["stacks"] = "this version of torch gives no frames of Python; 2.13 does"
            meta.profiler_added_ns = self._overhead.added_ns(raw, meta.started_unix_ns, meta.wall_ns)
            if meta.profiler_added_ns is None:
                self._missing["profiler_share"] = "the host was too busy for an estimate; --repeat N measures it"
        meta.warnings = self._warnings + readings.warnings
        meta.not_measured = self._missing
        telemetry = _shift(readings.table, begin, "time")
        tables = {"telemetry": telemetry, "steps": steps, "kv": kv, "ops": ops, "memory": memory}
        return Record(meta, events=events, kernels=kernels, **tables)

    @contextlib.contextmanager
    def step(self, step: Step, device: int | None) -> Iterator[None]:
        """A step that an engine declares by itself."""
        with self._forward.declared() as outermost:
            if not outermost:  # the step around it is the one that counts
                yield
                return
            if device is not None:
                self._steps.prepare(device)
            self._steps.open(step, device)
            try:
                yield
            finally:
                self._steps.close(step, device)
                if self._kv.tracked:
                    step.kv = self._kv.read(None, None, None)

    def _wait(self) -> bool:
        """Wait for the GPUs; False where they fail to answer."""
        try:
            synchronize()
        except RuntimeError as error:
            self._warnings.append(f"The GPU failed at the end, so its times are missing: {_first_line(error)}")
            return False
        return True

    def _find_gpus(self) -> list[int]:
        try:
            return list(range(len(torch_gpus())))
        except ReadingError as reason:
            for what in ("gpu_busy", "peak_memory", "energy", "power"):
                self._missing[what] = str(reason)
            return []

    def _reset_peaks(self) -> None:
        import torch

        for device in self.devices:
            torch.cuda.reset_peak_memory_stats(device)

    def _peaks(self) -> dict[int, int]:
        import torch

        peaks = {device: torch.cuda.max_memory_allocated(device) for device in self.devices}
        return {device: peak for device, peak in peaks.items() if peak}

    def _stop_trace(self) -> Any:
        if self._kineto is None:
            for what in ("gpu_busy", "kernels", "profiler_share"):
                self._missing.setdefault(what, "profiled with --no-trace")
            return None
        kineto, self._kineto = self._kineto, None
        try:
            return kineto.stop()
        except TraceLostError as lost:
            self._warnings.append(str(lost))
            for what in ("gpu_busy", "kernels"):
                self._missing.setdefault(what, lost.reason)
            return None

    def _note_weights(self, meta: Meta) -> None:
        """What a decode step of the model must read, for its floor."""
        models = list(self._forward.stepped.values())
        if not self.devices:
            self._missing["floor"] = self._missing["gpu_busy"]
        elif len(models) != 1:
            self._missing["floor"] = f"{len(models)} models ran steps" if models else "no step of a model was seen"
        else:
            try:
                meta.decode_weight_bytes, meta.decode_device = decode_weights(models[0])
            except UnknownWeightsError as reason:
                self._missing["floor"] = str(reason)

    def _note_steps(self, steps: pa.Table) -> None:
        self._warnings += self._forward.notes
        packed = self._forward.packed_calls
        if len(steps):
            if packed:
                self._warnings.append(f"{packed} calls that pack several requests are not among the steps.")
            return
        if not self._modules:
            reason = (
                "the cell names no model (an nn.Module) that existed when it began: make it in a cell of its own, "
                "name it with --model, or mark steps with profkit.step"
            )
        elif packed:
            reason = (
                "each call of the model packs several requests, some reading their prompt and some decoding "
                "(continuous batching): mark steps with profkit.step"
            )
        elif self._forward.other_calls:
            reason = "the model was called without token ids or embeddings"
        else:
            names = ", ".join(sorted({type(module).__name__ for module in self._modules}))
            reason = (
                f"no forward pass of the {names} that existed when it began was seen: the cell made another, or a "
                "compiled function or a replayed CUDA graph hides it; mark steps with profkit.step"
            )
        self._missing["steps"] = reason

    def _memory_table(self, gpu_works: bool) -> pa.Table:
        """The table `memory`; empty where that was not asked for, or could not be had."""
        if self._memory is None or not gpu_works:
            return MEMORY.empty_table()
        histories = self._memory.stop()
        for device, history in histories.items():
            if history.entries >= MAX_ENTRIES:
                self._warnings.append(
                    f"The allocator of GPU {device} did more than {MAX_ENTRIES:,} things: the history of its memory "
                    "reaches back over the last of them only. Profile fewer steps to have all."
                )
            if history.unread:
                self._warnings.append(
                    f"{history.unread} entries of the history of GPU {device}'s memory do not fit together: "
                    "its curve is off by as many allocations."
                )
        weights = addresses_of(self._modules)
        start = self._clock.start_unix_ns + self._begin_ns
        pointers = [(time - self._begin_ns, addresses) for time, addresses in self._kv.pointers]
        return memory_table(histories, start, weights, pointers, living_tensors() if histories else set())

    def _kv_table(self, steps: int, begin: int, end: int, gpu_works: bool) -> pa.Table:
        """The table `kv` of the first `steps` steps, and of calls that are none."""
        ordered = self._steps.ordered()[:steps]
        loose = [reading for reading in self._kv.loose if reading.time < end]
        table = _shift(kv_table(ordered, loose, masks=gpu_works), begin, "time")
        self._steps.drop_masks()
        try:
            self._kv_formula = kv_formula(self._kv)
        except NoFormulaError as reason:
            if len(table):
                self._missing["kv_formula"] = str(reason)
        self._kv.forget()
        self._warnings += self._kv.notes
        if not len(table):
            self._missing["kv"] = lacks(ordered, self._kv.seen, self._kv.notes)
        return table

    def _drop_trace(self) -> None:
        """Stop a profiler that a failed start left running."""
        kineto, self._kineto = self._kineto, None
        if kineto is not None:
            with contextlib.suppress(TraceLostError):
                kineto.stop()

    def _drop_telemetry(self) -> None:
        if self._telemetry_runs:
            self._telemetry_runs = False
            self._telemetry.stop()


def active() -> Session | None:
    """The running session."""
    return _active


@contextlib.contextmanager
def step(
    phase: str,
    batch: int,
    query_tokens: int = 1,
    context_tokens: int | None = None,
    tokens_out: int | None = None,
    generation: int = 0,
    device: int | None = None,
) -> Iterator[None]:
    """Mark one forward pass of an engine whose steps cannot be found by themselves.

    Outside a profile it does nothing, so it can stay in the engine's loop.

    Args:
        phase: "prefill" or "decode".
        batch: sequences in this step.
        query_tokens: tokens per sequence that this step reads (prefill) or makes (decode: 1).
        context_tokens: tokens per sequence in the cache before it.
        tokens_out: new tokens over the batch; by default one per sequence where a decode step is or follows.
        generation: number of the request or batch that the step belongs to.
        device: GPU on whose current stream the step runs, to time it there.

    Raises:
        OptionError: an unknown phase, or a count that cannot be.
    """
    if phase not in tuple(Phase):
        raise OptionError(f"phase is 'prefill' or 'decode', not {phase!r}")
    _check("batch", batch, least=1)
    _check("query_tokens", query_tokens, least=1)
    _check("generation", generation, least=0)
    for name, value in (("context_tokens", context_tokens), ("tokens_out", tokens_out), ("device", device)):
        if value is not None:
            _check(name, value, least=0)
    session = _active
    if session is None:
        yield
        return
    if device is not None and device not in session.devices:
        raise OptionError(f"device {device}: torch sees {len(session.devices)} GPUs here")
    found = Step(0, Phase(phase), batch, query_tokens, context_tokens, tokens_out, generation)
    with session.step(found, device):
        yield


@contextlib.contextmanager
def region(name: str) -> Iterator[None]:
    """A named range: a row in the timeline, and an NVTX range for other tools."""
    import torch

    nvtx = torch.cuda.is_available()
    with torch.profiler.record_function(name):
        if nvtx:
            torch.cuda.nvtx.range_push(name)
        try:
            yield
        finally:
            if nvtx:
                torch.cuda.nvtx.range_pop()


def described(error: BaseException | None) -> str | None:
    """What ended a block, fit for a record."""
    if error is None:
        return None
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's own class; its name is what can be said
        text = "(its text cannot be had: str() of it raised)"
    return redact(f"{name}: {text}" if text else name)


def _check(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
        raise OptionError(f"{name} is a whole number from {least} to 2^31 − 1, not {value!r}")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _close_trackers(before: set[KVTracker]) -> None:
    """End those that the block has set."""
    for tracker in set(trackers) - before:
        tracker.close()


def _release() -> None:
    global _active  # noqa: PLW0603
    _active = None


def _shift(table: pa.Table, by: int, *names: str) -> pa.Table:
    """The table with these times counted from `by`."""
    for name in names:
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(name), pc.subtract(table[name], pa.scalar(by, pa.int64())))
    return table
