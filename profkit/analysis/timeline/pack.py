"""How deep does each event lie: rows in which events do not overlap, children under their parents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from profkit.analysis.intervals import Ints


def parents_first(start: Ints, duration: Ints) -> Ints | None:
    """The order by start, of equal ones the longest first; None where events in order of start have it already."""
    tied = start[1:] == start[:-1]
    if not (tied & (duration[1:] > duration[:-1])).any():
        return None
    order = np.arange(len(start))
    run = np.flatnonzero(np.concatenate(([False], tied)) | np.concatenate((tied, [False])))
    order[run] = run[np.lexsort((-duration[run], start[run]))]
    return order


def depths(start: Ints, duration: Ints, limit: int) -> npt.NDArray[np.int32]:
    """For each event its depth; events of one depth do not overlap. In the order of `parents_first`.

    A child lies one deeper than its parent. Where events overlap without being nested, each takes the first
    depth that is free when it starts. Depths of `limit` and more are those of events that do not fit.
    """
    end = start + duration
    depth = np.zeros(len(start), np.int32)
    reach = np.maximum.accumulate(end)
    if not len(start) or (start[1:] >= reach[:-1]).all():
        return depth
    # How many are open when each begins; an event without length never is.
    some = duration > 0
    opened: Ints = np.cumsum(some) - some
    depth[:] = opened - np.searchsorted(np.sort(end[some]), start, side="right")
    wrong = _overlapping(start, end, depth)
    if len(wrong):
        root = np.concatenate(([True], start[1:] >= reach[:-1]))
        tree = np.cumsum(root) - 1
        again = np.flatnonzero(np.isin(tree, tree[wrong]))
        depth[again] = _first_fit(start[again], end[again], limit)
    return depth


def _overlapping(start: Ints, end: Ints, depth: npt.NDArray[np.int32]) -> Ints:
    """Events that start before one of their own depth has ended."""
    order = np.argsort(depth.astype(np.int16) if depth.max() < 2**15 else depth, kind="stable")
    same = depth[order[1:]] == depth[order[:-1]]
    return order[1:][same & (start[order[1:]] < end[order[:-1]])]


def _first_fit(start: Ints, end: Ints, limit: int) -> npt.NDArray[np.int32]:
    """The first free depth for each event, in order of start: depth after depth, all events at once."""
    depth = np.full(len(start), limit, np.int32)
    left = np.arange(len(start))
    for level in range(limit):
        if not len(left):
            break
        taken = _chain(start[left], end[left])
        depth[left[taken]] = level
        left = left[~taken]
    return depth


def _chain(start: Ints, end: Ints) -> npt.NDArray[np.bool_]:
    """Which events one depth takes: the first, the next that starts when it has ended, and so on.

    Each event points to its successor; the pointers are followed from the first event in doubling strides.
    """
    count = len(start)
    after = np.maximum(np.searchsorted(start, end, side="left"), np.arange(1, count + 1))
    jump = np.append(after, count)
    reached = np.zeros(count + 1, bool)
    reached[0] = True
    while jump[0] < count:
        reached[jump[reached]] = True
        jump = jump[jump]
    return reached[:count]
