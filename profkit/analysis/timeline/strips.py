"""What does a row look like from afar: for every small stretch of time the class that fills most of it.

A row is a strip of bins, in a handful of resolutions. Drawing one costs bins, however many events are in it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from profkit.analysis.intervals import Ints
from profkit.analysis.timeline.model import CLASSES, Bytes, Timeline

FIRST_BYTES: Final = 2**20
"""Of the strips that are sent first."""
LEVEL_BYTES: Final = 2**22
"""Of finer ones; what would be larger is drawn from the events themselves."""
FIRST_BINS: Final = 8192
FINEST_BINS: Final = 65536
STEP: Final = 4
"""From one level to the next."""


def first_bins(timeline: Timeline) -> int:
    """Bins of a row in the strips that are sent first: a power of two."""
    most = FIRST_BYTES // (2 * max(len(timeline.rows), 1))
    return int(min(2 ** int(np.log2(most)), FIRST_BINS))


def levels(timeline: Timeline) -> int:
    """How many finer strips there are, each with `STEP` times the bins of the one before."""
    found, bins = 0, first_bins(timeline) * STEP
    while bins <= FINEST_BINS and 2 * bins * len(timeline.rows) <= LEVEL_BYTES:
        found, bins = found + 1, bins * STEP
    return found


def bin_edges(start_ns: int, end_ns: int, bins: int) -> Ints:
    """Where bins begin, and where the last one ends: start + floor(i · span / bins)."""
    at = np.arange(bins + 1)
    whole, rest = divmod(end_ns - start_ns, bins)
    return start_ns + whole * at + rest * at // bins


def strips(timeline: Timeline, bins: int) -> Bytes:
    """[rows, bins, 2]: the class that covers most of each bin, and how much of it anything covers, 0 … 255.

    A bin in which anything lies has at least 1, be it an event without length.
    """
    edges = bin_edges(timeline.start_ns, timeline.end_ns, bins)
    found = np.zeros((len(timeline.rows), bins, 2), np.uint8)
    for at, row in enumerate(timeline.rows):
        of = timeline.of(row)
        found[at] = _strip(timeline.start[of], timeline.duration[of], timeline.kind[of], edges)
    return found


def _strip(start: Ints, duration: Ints, kind: Bytes, edges: Ints) -> Bytes:
    time = covered(start, duration, kind, edges)
    total, winner = time.sum(axis=1), time.argmax(axis=1)
    share = np.rint(255 * total / np.maximum(np.diff(edges), 1))
    share[total > 0] = np.maximum(share[total > 0], 1)
    empty = np.flatnonzero(duration == 0)
    at = bin_of(start[empty], edges)
    bare = total[at] == 0
    share[at[bare]] = 1
    winner[at[bare]] = kind[empty[bare]]
    return np.stack((winner, share), axis=1).astype(np.uint8)


def covered(start: Ints, duration: Ints, kind: Bytes, edges: Ints) -> npt.NDArray[np.float64]:
    """[bins, classes]: how long events of each class cover each bin, ns; exact.

    All events start and end within the edges. Those that overlap count each.
    """
    bins = len(edges) - 1
    if not len(start):
        return np.zeros((bins, len(CLASSES)))
    first = bin_of(start, edges)
    last = bin_of(start + np.maximum(duration, 1) - 1, edges)
    # Each event in the pieces into which the edges cut it.
    pieces = last - first + 1
    whole = pieces == 1
    key = (first * len(CLASSES) + kind)[whole]
    time = duration[whole]
    if not whole.all():
        cut = np.flatnonzero(~whole)
        owner = np.repeat(cut, pieces[cut])
        at = first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(pieces[cut]) - pieces[cut], pieces[cut])
        end = np.minimum(start[owner] + duration[owner], edges[at + 1])
        time = np.concatenate((time, end - np.maximum(start[owner], edges[at])))
        key = np.concatenate((key, at * len(CLASSES) + kind[owner]))
    # Sums of whole nanoseconds below 2^53 are exact in doubles.
    total = np.asarray(np.bincount(key, time, bins * len(CLASSES)), np.float64)
    return total.reshape(bins, len(CLASSES))


def bin_of(time: Ints, edges: Ints) -> Ints:
    """The bin in which each moment lies; all of them lie in one."""
    bins, span = len(edges) - 1, int(edges[-1] - edges[0])
    if span < bins:  # some are empty
        return np.searchsorted(edges, time, side="right") - 1
    at = ((time - edges[0]) * (bins / span)).astype(np.int64)
    np.minimum(at, bins - 1, out=at)
    at -= time < edges[at]  # a double's last digit may round over an edge
    at += time >= edges[at + 1]
    return at
