"""Which events of a thread may stand on one track of a viewer: only those that nest.

Perfetto drops an event that begins inside another and ends after it. Kernels of one stream overlap so where a
launch is programmed to begin early; such events go to a further track.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from profkit.analysis.intervals import Ints
from profkit.analysis.timeline.pack import parents_first


def tracks(start: Ints, duration: Ints) -> npt.NDArray[np.int32]:
    """For each event of one thread, in order of start, its track: 0 but for those that nest nowhere before."""
    found = np.zeros(len(start), np.int32)
    again = parents_first(start, duration)
    order = np.arange(len(start)) if again is None else again
    start, end = start[order], (start + duration)[order]
    crossing = _crossing(start, end)
    if len(crossing):
        reach = np.maximum.accumulate(end)
        tree = np.cumsum(np.concatenate(([False], start[1:] >= reach[:-1])))
        some = np.flatnonzero(np.isin(tree, tree[crossing]))
        found[order[some]] = _first_fit(start[some].tolist(), end[some].tolist())
    return found


def _crossing(start: Ints, end: Ints) -> Ints:
    """Events that outlive the one in which they begin: the first of each tree for certain, others perhaps."""
    some = np.flatnonzero(end > start)
    begin, stop = start[some], end[some]
    depth = np.arange(len(some)) - np.searchsorted(np.sort(stop), begin, side="right")
    outer = np.flatnonzero(depth == 0)
    found = [np.empty(0, np.int64)]
    for level in range(1, int(depth.max(initial=0)) + 1):
        inner = np.flatnonzero(depth == level)
        parent = outer[np.searchsorted(outer, inner) - 1]
        found.append(some[inner[stop[inner] > stop[parent]]])
        outer = inner
    return np.concatenate(found)


def _first_fit(start: list[int], end: list[int]) -> list[int]:
    """The first track whose innermost open event holds each event."""
    open_ends: list[list[int]] = []
    found = []
    for begin, stop in zip(start, end, strict=True):
        for track, ends in enumerate(open_ends):  # noqa: B007 - read below
            while ends and ends[-1] <= begin:
                ends.pop()
            if not ends or stop <= ends[-1]:
                break
        else:
            track, ends = len(open_ends), []
            open_ends.append(ends)
        if stop > begin:
            ends.append(stop)
        found.append(track)
    return found
