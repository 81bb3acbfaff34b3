"""How long does one call take when it is repeated: warm-up, measured runs until the median is known, energy.

One light session (steps and telemetry, no trace) lies around all runs of a point.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from profkit.analysis.samples import intervals, phase_samples, total_samples
from profkit.capture.clock import synchronize
from profkit.capture.energy import MIN_WINDOW_NS, Counter, EnergyWatch, RunEnergy
from profkit.capture.session import Options, Session
from profkit.record import Record

_STABLE: Final = 0.05
"""Warm-up ends with a pass within this of the fastest before it."""
_MAX_WARM_UP: Final = 10
_MIN_RUNS: Final = 5
_MAX_RUNS: Final = 200
_RESAMPLES: Final = 200
"""For deciding whether to go on; what is shown has more."""
_EDGES_NS: Final = 250_000_000
"""Beyond the window: its ends must lie between two steps of the energy counter."""
_OUT_OF_MEMORY: Final = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Effort:
    """How much a point may cost.

    Attributes:
        precision: relative half-width of the median's 95 % interval at which runs end.
        limit_ns: time for the point; None: as long as it takes. One warm-up pass and one run are made in any case.
        telemetry_hz: readings of each GPU per second.
    """

    precision: float
    limit_ns: int | None
    telemetry_hz: float = 20.0


@dataclass
class Measured:
    """What the runs of a point brought. Times on the record's clock, ns."""

    record: Record | None = None
    passes: list[tuple[int, int]] = field(default_factory=list)  # of the warm-up
    stable: bool = False
    runs: list[tuple[int, int]] = field(default_factory=list)
    tokens: list[int | None] = field(default_factory=list)  # of each run, as `count` says
    energy: RunEnergy | str = ""  # or why there is none; "" where no counter was given
    error: BaseException | None = None

    @property
    def cell_ns(self) -> int:
        """Time inside the call."""
        return sum(end - begin for begin, end in (*self.passes, *self.runs))


def measure_point(
    call: Callable[[], Any],
    count: Callable[[Any], int | None],
    modules: Sequence[Any],
    counters: Sequence[Counter],
    effort: Effort,
) -> Measured:
    """Repeat `call` and measure it.

    Args:
        call: the work, without arguments.
        count: new tokens of a run, from what `call` returned; not timed.
        modules: nn.Modules whose forward passes are steps.
        counters: of the GPUs whose energy is wanted; none: no energy.
        effort: when to stop.

    An exception of the call ends the point and is returned in `error`, KeyboardInterrupt included.
    """
    found = Measured()
    session = Session("point", Options(trace=False, telemetry_hz=effort.telemetry_hz), modules)
    session.start()
    watch = EnergyWatch(counters, session.now)
    watch.start()
    try:
        _warm_up(call, session, effort, found)
        _repeat(call, count, session, effort, found, energy=bool(counters))
        if counters:
            found.energy = watch.of_runs(found.runs)
            if isinstance(found.energy, str) and _window(found.runs) >= MIN_WINDOW_NS:
                watch.wait_for_step()
                found.energy = watch.of_runs(found.runs)
    except BaseException as error:  # noqa: BLE001 - the caller says what becomes of it
        found.error = error
    finally:
        watch.stop()
        found.record = session.stop(found.error)
    return found


def _warm_up(call: Callable[[], Any], session: Session, effort: Effort, found: Measured) -> None:
    """Until a pass takes as long as the fastest before it, or half of the time is spent."""
    fastest = None
    while len(found.passes) < _MAX_WARM_UP:
        begin = session.now()
        call()
        synchronize()
        end = session.now()
        found.passes.append((begin, end))
        took = end - begin
        found.stable = fastest is not None and abs(took - fastest) <= _STABLE * fastest
        fastest = took if fastest is None else min(took, fastest)
        if found.stable or (effort.limit_ns is not None and end > effort.limit_ns / 2):
            return


def _repeat(
    call: Callable[[], Any],
    count: Callable[[Any], int | None],
    session: Session,
    effort: Effort,
    found: Measured,
    energy: bool,
) -> None:
    check_at = _MIN_RUNS
    while len(found.runs) < _MAX_RUNS or (energy and not _has_window(found.runs)):
        begin = session.now()
        value = call()
        synchronize()
        end = session.now()
        found.runs.append((begin, end))
        found.tokens.append(count(value))
        del value  # its memory is the next run's
        if effort.limit_ns is not None and session.now() + (end - begin) > effort.limit_ns:
            return
        if energy and not _has_window(found.runs):
            continue
        if len(found.runs) >= check_at:
            if _precise(session, found.runs, effort.precision):
                return
            check_at = max(check_at + 1, round(1.2 * len(found.runs)))


def _has_window(runs: Sequence[tuple[int, int]]) -> bool:
    return _window(runs) >= MIN_WINDOW_NS + _EDGES_NS


def _window(runs: Sequence[tuple[int, int]]) -> int:
    return runs[-1][1] - runs[0][0] if runs else 0


def _precise(session: Session, runs: Sequence[tuple[int, int]], precision: float) -> bool:
    """Whether the medians of all phases are known to the precision; the cheap question comes first."""
    totals = total_samples(runs, [None] * len(runs))
    if not _narrow(totals, precision):
        return False
    return _narrow(phase_samples(session.steps_so_far(), runs), precision)


def _narrow(samples: Sequence[dict[str, Any]], precision: float) -> bool:
    return all(
        interval is not None and interval.relative_half_width <= precision
        for interval in intervals(samples, _RESAMPLES).values()
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of a GPU or of the host, was short."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def memory_now() -> int | None:
    """Memory of this process's allocator on its GPUs, bytes; None without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return sum(torch.cuda.memory_allocated(device) for device in range(torch.cuda.device_count()))


def release(error: BaseException) -> None:
    """Let go of what the frames of an exception hold, and give the allocator's spare memory back."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for part in chain:
        traceback.clear_frames(part.__traceback__)
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def gpus_in_use() -> list[int]:
    """GPUs on which this process's allocator holds memory."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return []
    return [device for device in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(device)]
