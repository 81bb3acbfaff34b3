"""Interval arithmetic on int64 nanoseconds: unions, and how much of a range they cover. Exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Intervals:
    """Disjoint half-open intervals [start, end) in ascending order."""

    start: Ints
    end: Ints

    @property
    def total(self) -> int:
        """Length of all of them, ns."""
        return int((self.end - self.start).sum())

    def covered(self, start: Ints, end: Ints) -> Ints:
        """How much of each range [start, end) they cover, ns."""
        return self._before(end) - self._before(start)

    def gaps(self) -> Intervals:
        """What lies between one and the next."""
        return Intervals(self.end[:-1], self.start[1:])

    def _before(self, at: Ints) -> Ints:
        """Covered time before each moment."""
        if not len(self.start):
            return np.zeros(len(at), np.int64)
        length = np.concatenate(([0], np.cumsum(self.end - self.start)))
        index = np.searchsorted(self.start, at, side="right")  # intervals that have started
        last = np.maximum(index - 1, 0)
        unfinished = np.maximum(self.end[last] - np.maximum(at, self.start[last]), 0)
        return np.asarray(length[index] - np.where(index > 0, unfinished, 0), np.int64)


def union(start: Ints, end: Ints) -> Intervals:
    """The union of any intervals; those without length add nothing.

    Touching intervals are joined.
    """
    some = end > start
    start, end = start[some], end[some]
    if not len(start):
        return Intervals(start, end)
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)
    first = np.concatenate(([True], start[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Intervals(start[first], reach[last])
