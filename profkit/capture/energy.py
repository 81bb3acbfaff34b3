"""What energy does one run of repeated work take? From the edges of the hardware's counter.

The counter steps every 100 ms (measured on an H200, driver 580), so a plain difference is off by up to a step
at either end. A thread reads it while the work repeats and notes when it steps; between steps power is taken as
even. A run's energy is that of a whole number of runs over at least 2 s; the error of the sensors comes on top
(arXiv 2312.02741).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from profkit.capture.nvml import ReadingError, find_gpus

MIN_WINDOW_NS: Final = 2_000_000_000
"""A shorter window is worth ± 10 % or worse."""
_PAUSE_S: Final = 0.001  # between two readings, of which each takes 2.8 ms, while a step is due
_DUE: Final = 0.8  # of the shortest time between two steps seen so far: until then none is looked for
_LOST_NS: Final = 1_000_000_000
"""A counter that has not moved for so long stands still."""


class Counter(Protocol):
    """What is asked of one GPU (`nvml.Gpu`)."""

    @property
    def device(self) -> int:
        """The GPU's index as torch counts."""

    def energy_j(self) -> float:
        """Energy since some moment in the past, J.

        Raises:
            ReadingError: it cannot be had; the message says why.
        """


@dataclass(frozen=True)
class Edge:
    """A step of the counter."""

    time_ns: int
    error_ns: int  # ±: it lies between two readings
    joules: float  # the counter behind it


@dataclass(frozen=True)
class RunEnergy:
    """Energy of one run, mean over the runs of a window."""

    joules: float
    error_j: float  # ±
    window_ns: int
    runs: int


class EnergyWatch:
    """Notes the counters' steps between `start` and `stop`, on a thread of its own.

    Args:
        counters: of the GPUs that do the work.
        now: the clock in which runs are told, ns.
    """

    def __init__(self, counters: Sequence[Counter], now: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now = now
        self._logs = [_Log(counter, now) for counter in counters]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read."""
        if self._logs:
            self._thread = threading.Thread(target=self._run, name="profkit-energy", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def wait_for_step(self) -> None:
        """Wait until every counter has stepped once more, or stands still."""
        since = self._now()
        while any(log.waits_for_step(since) for log in self._logs) and not self._stopping.is_set():
            time.sleep(_PAUSE_S)

    def of_runs(self, runs: Sequence[tuple[int, int]]) -> RunEnergy | str:
        """Energy of one of these runs (start and end, ns, in order) on all GPUs together, or why there is none."""
        failures = [log.failure for log in self._logs if log.failure]
        if failures or not self._logs:
            return failures[0] if failures else "no GPU's counter could be read"
        parts = [run_energy(log.edges, runs) for log in self._logs]
        found = [part for part in parts if isinstance(part, RunEnergy)]
        if len(found) < len(parts):
            return next(part for part in parts if isinstance(part, str))
        joules, error = sum(part.joules for part in found), sum(part.error_j for part in found)
        return RunEnergy(joules, error, min(part.window_ns for part in found), min(part.runs for part in found))

    def power_w(self) -> float | str:
        """Mean power of all GPUs together from the first to the last step seen, or why there is none."""
        total = 0.0
        for log in self._logs:
            if log.failure:
                return log.failure
            if len(log.edges) < 2:
                return "the energy counter did not move"
            first, last = log.edges[0], log.edges[-1]
            total += (last.joules - first.joules) / ((last.time_ns - first.time_ns) / 1e9)
        return total if self._logs else "no GPU's counter could be read"

    def _run(self) -> None:
        while not self._stopping.is_set():
            due = min(log.poll() for log in self._logs)
            self._stopping.wait(max(_PAUSE_S, (due - self._now()) / 1e9))


class _Log:
    """The steps of one counter."""

    def __init__(self, counter: Counter, now: Callable[[], int]) -> None:
        self._counter, self._now = counter, now
        self._last: tuple[int, float] | None = None  # when the newest reading began, and what it gave
        self._period_ns = 0
        self.edges: list[Edge] = []
        self.failure: str | None = None

    def poll(self) -> int:
        """Read once. Returns when to read again."""
        began = self._now()
        if self.failure is not None:
            return began + _LOST_NS
        try:
            joules = self._counter.energy_j()
        except ReadingError as error:
            self.failure = str(error)
            return began + _LOST_NS
        ended = self._now()
        before, self._last = self._last, (began, joules)
        if before is None or joules == before[1]:
            return ended
        middle = (before[0] + ended) // 2
        if self.edges:
            gap = middle - self.edges[-1].time_ns
            self._period_ns = min(self._period_ns or gap, gap)
        self.edges.append(Edge(middle, (ended - before[0]) // 2, joules))
        return ended + round(_DUE * self._period_ns)

    def waits_for_step(self, since: int) -> bool:
        stepped = bool(self.edges) and self.edges[-1].time_ns >= since
        return not stepped and self.failure is None and self._now() - since < _LOST_NS


def run_energy(edges: Sequence[Edge], runs: Sequence[tuple[int, int]]) -> RunEnergy | str:
    """Energy of one run from a counter's steps; the runs' whole number that lies between two steps counts.

    The error has two parts at either end of the window: how exactly the time of a step is known, times power; and
    how far power changed from one step to the next, for between steps it is taken as even.

    Args:
        edges: in order of time.
        runs: start and end of each run on the same clock, ns, in order, one following the other.
    """
    if len(edges) < 2:
        return "the energy counter did not step twice meanwhile"
    inside = [run for run in runs if edges[0].time_ns <= run[0] and run[1] <= edges[-1].time_ns]
    if not inside:
        return "no whole run lies between two steps of the energy counter"
    begin, end = inside[0][0], inside[-1][1]
    window = end - begin
    if window < MIN_WINDOW_NS:
        return f"too short: {window / 1e9:.1f} s of runs, and an energy needs {MIN_WINDOW_NS / 1e9:.0f} s"
    (first, first_error), (last, last_error) = _at(edges, begin), _at(edges, end)
    if last <= first:
        return f"the energy counter stood still for {window / 1e9:.1f} s"
    count = len(inside)
    return RunEnergy((last - first) / count, (first_error + last_error) / count, window, count)


def _at(edges: Sequence[Edge], moment: int) -> tuple[float, float]:
    """The counter at a moment between its first and its last step, J, and ± of it."""
    after = next(at for at, edge in enumerate(edges) if at and edge.time_ns >= moment)
    left, right = edges[after - 1], edges[after]
    span = max(right.time_ns - left.time_ns, 1)
    step = right.joules - left.joules
    neighbours = [
        (b.joules - a.joules) / max(b.time_ns - a.time_ns, 1) * span
        for a, b in zip(edges[max(after - 2, 0) : after + 2], edges[max(after - 1, 1) : after + 2], strict=False)
    ]
    uneven = max(abs(step - other) for other in neighbours) / 2
    timing = step / span * max(left.error_ns, right.error_ns)
    return left.joules + step * (moment - left.time_ns) / span, timing + uneven


def counters(devices: Sequence[int]) -> tuple[list[Counter], str | None]:
    """The energy counters of these GPUs, or why they cannot be read."""
    found = find_gpus(devices)
    missing = "; ".join(found.not_measured.values())
    if missing or not found.gpus:
        return [], missing or "no GPU"
    try:
        for gpu in found.gpus:
            gpu.energy_j()
    except ReadingError as error:
        return [], str(error)
    return list(found.gpus), None


def idle_power_w(sources: Sequence[Counter], seconds: float = MIN_WINDOW_NS / 1e9) -> float | str:
    """Mean power of these GPUs while this process gives them nothing to do, W, or why it is not known."""
    watch = EnergyWatch(sources)
    watch.start()
    time.sleep(seconds)
    watch.wait_for_step()
    watch.stop()
    return watch.power_w()
