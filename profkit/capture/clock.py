"""The record's clock: nanoseconds since the record's start, tied to Unix time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

_ADJUSTED_NS: Final = 1_000_000
"""A drift between the two clocks beyond this is an adjustment of the system's time, not noise."""


class Clock:
    """Maps the monotonic clock and Unix time (Kineto, NVML) onto the record's time.

    The monotonic clock carries the record; Unix time is what the profiler and the driver stamp. The
    offset between them is read at the start and again by `drift_ns`.
    """

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.perf_counter_ns,
        unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._unix_ns = unix_ns
        self.restart()

    def restart(self) -> None:
        """Make this moment time 0."""
        before = self._monotonic_ns()
        self.start_unix_ns = self._unix_ns()
        self._origin = (before + self._monotonic_ns()) // 2

    def now(self) -> int:
        """Record time of this moment, ns."""
        return self._monotonic_ns() - self._origin

    def from_unix_ns(self, unix_ns: int) -> int:
        """Record time of a Unix time in ns."""
        return unix_ns - self.start_unix_ns

    def drift_ns(self) -> int:
        """How far Unix time has moved against the monotonic clock since the start, ns."""
        return self._unix_ns() - self.start_unix_ns - self.now()

    def drift_warning(self) -> str | None:
        """A sentence for the record where the system's time was adjusted meanwhile."""
        drift = self.drift_ns()
        if abs(drift) < _ADJUSTED_NS:
            return None
        return (
            f"The system clock moved by {drift / 1e6:+.1f} ms during the profile: "
            "profiler events and steps may be shifted against each other by as much."
        )


class Stopwatch:
    """Wall time of a block, GPU work that it left behind included."""

    def __init__(self) -> None:
        synchronize()
        self._began = time.perf_counter_ns()

    def stop(self) -> int:
        """Time since the watch was made, ns."""
        synchronize()
        return time.perf_counter_ns() - self._began


def synchronize() -> None:
    """Wait until every GPU that this process uses has done its work."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.synchronize(device)
