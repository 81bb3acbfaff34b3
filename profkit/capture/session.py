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
from profkit.capture.collect import Notes, kv_of, memory_of, note_steps, note_weights, shifted
from profkit.capture.environment import environment
from profkit.capture.forward import ForwardWatcher
from profkit.capture.kineto import Kineto, TraceLostError
from profkit.capture.kineto_columns import columns
from profkit.capture.kvcache import KVRecorder
from profkit.capture.memory import MemoryHistory, MemoryHistoryError
from profkit.capture.nvml import ReadingError, torch_gpus
from profkit.capture.overhead import Overhead
from profkit.capture.redact import redact
from profkit.capture.steps import Step, StepRecorder
from profkit.capture.telemetry import Readings, Telemetry
from profkit.capture.trackers import KVTracker, trackers
from profkit.errors import OptionError, ProfilerBusyError
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
        self._memory: MemoryHistory | None = None
        self._undo = contextlib.ExitStack()
        self._notes = Notes()
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
                self._notes.not_measured["memory"] = str(reason)
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
        return shifted(self._steps.table(), self._begin_ns, "sent", "start", "end")

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
            memory = self._memory_table() if gpu_works else MEMORY.empty_table()
            results = self._stop_trace()
            if drift := self._clock.drift_warning():
                self._notes.warnings.append(drift)
        finally:
            self._undo.close()
        begin = self._begin_ns
        steps = shifted(self._steps.table(timed=gpu_works), begin, "sent", "start", "end")
        steps = steps.filter(pc.less(steps["start"], end - begin))
        note_steps(steps, self._forward, self._modules, self._notes)
        kv, formula = kv_of(self._kv, self._steps.ordered()[: len(steps)], begin, end, gpu_works, self._notes)
        self._steps.drop_masks()
        self._kv.forget()
        self._notes.not_measured |= readings.not_measured
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
            kv_formula=formula,
            options=asdict(self._options),
            source=redact(self._source) if self._source is not None else None,
            error=described(error),
            environment=environment(),
        )
        note_weights(meta, list(self._forward.stepped.values()), self.devices, self._notes)
        events, kernels, ops = self._trace_tables(results, meta, steps)
        meta.warnings = self._notes.warnings + readings.warnings
        meta.not_measured = self._notes.not_measured
        telemetry = shifted(readings.table, begin, "time")
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

    def preparing(self, model: Any) -> contextlib.AbstractContextManager[bool]:
        """Around forward passes that are no steps themselves; declared steps of `model` follow."""
        self._forward.will_step(model)
        return self._forward.declared()

    def _wait(self) -> bool:
        """Wait for the GPUs; False where they fail to answer."""
        try:
            synchronize()
        except RuntimeError as error:
            self._notes.warnings.append(f"The GPU failed at the end, so its times are missing: {_first_line(error)}")
            return False
        return True

    def _find_gpus(self) -> list[int]:
        try:
            return list(range(len(torch_gpus())))
        except ReadingError as reason:
            for what in ("gpu_busy", "peak_memory", "energy", "power"):
                self._notes.not_measured[what] = str(reason)
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
                self._notes.not_measured.setdefault(what, "profiled with --no-trace")
            return None
        kineto, self._kineto = self._kineto, None
        try:
            return kineto.stop()
        except TraceLostError as lost:
            self._notes.warnings.append(str(lost))
            for what in ("gpu_busy", "kernels"):
                self._notes.not_measured.setdefault(what, lost.reason)
            return None

    def _trace_tables(self, results: Any, meta: Meta, steps: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table]:
        """The tables `events`, `kernels` and `ops`, empty without `results`; `meta` gets the profiler's share."""
        if results is None:
            return EVENTS.empty_table(), KERNELS.empty_table(), OPS.empty_table()
        raw = columns(results, meta.started_unix_ns, self._options.shapes)
        events, kernels, ops, losses = assemble(raw, meta.wall_ns, steps)
        self._notes.warnings += losses.warnings()
        missing = self._notes.not_measured
        if self._options.stacks and not (raw.kind == CODE[EventKind.PYTHON]).any():
            missing["stacks"] = "this version of torch gives no frames of Python; 2.13 does"
        meta.profiler_added_ns = self._overhead.added_ns(raw, meta.started_unix_ns, meta.wall_ns)
        if meta.profiler_added_ns is None:
            missing["profiler_share"] = "the host was too busy for an estimate; --repeat N measures it"
        return events, kernels, ops

    def _memory_table(self) -> pa.Table:
        """The table `memory`; empty where that was not asked for, or could not be had."""
        if self._memory is None:
            return MEMORY.empty_table()
        start = self._clock.start_unix_ns
        return memory_of(self._memory, self._kv, self._modules, start, self._begin_ns, self._notes)

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
def unrecorded(model: Any) -> Iterator[None]:
    """Forward passes of this thread in the block are no steps of the running profile: they prepare steps of `model`."""
    with contextlib.nullcontext() if _active is None else _active.preparing(model):
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
