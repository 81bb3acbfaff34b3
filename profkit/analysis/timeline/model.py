"""The timeline as data: rows of events that do not overlap, each event with its class and its name."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from profkit.analysis.idle import Cause
from profkit.analysis.intervals import Ints
from profkit.analysis.kernels import WorkKind
from profkit.record import Phase

Int32s = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


class TrackKind(enum.StrEnum):
    """What a row's events are."""

    STEPS = "steps"  # forward passes
    REGIONS = "regions"  # profkit.region, record_function
    GAPS = "gaps"  # idle stretches of one GPU
    GPU = "gpu"  # work of one stream
    HOST = "host"  # operators and runtime calls of one thread
    PYTHON = "python"  # Python frames of one thread


CALL: Final = ("host", "call")
REGION: Final = ("host", "region")
FRAME: Final = ("host", "python")
PROFILER: Final = ("host", "profiler")
CLASSES: Final[tuple[tuple[str, str], ...]] = (
    *(("work", str(kind)) for kind in WorkKind),
    *(("idle", str(cause)) for cause in Cause),
    *(("phase", str(phase)) for phase in Phase),
    CALL,
    REGION,
    FRAME,
    PROFILER,
)
"""What an event counts as, and is coloured by; an event's class is an index into this."""
CLASS: Final = {meaning: code for code, meaning in enumerate(CLASSES)}
_EDGE: Final = CLASS["idle", str(Cause.EDGE)]


@dataclass(frozen=True)
class Group:
    """Rows that are drawn together under one label."""

    label: str
    kind: TrackKind
    device: int  # HOST where it is no GPU's


@dataclass(frozen=True)
class Row:
    """Events that do not overlap, in order of start: `first` to `first + count` of the timeline's arrays."""

    group: int
    depth: int  # within the group, 0 at the top
    lane: int  # stream or thread; -1: neither
    first: int
    count: int
    first_tile: int
    tiles: int


@dataclass(frozen=True)
class Timeline:
    """A record laid out in rows. Arrays have one entry per drawn event, row after row, by start in each.

    Times are ns since the record's start, all below 2^53: a double holds them exactly.
    """

    start_ns: int  # of the view: 0, or the first event where one is earlier
    end_ns: int  # the wall time, or what lies beyond it; every event starts before it
    wall_ns: int
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    start: Ints
    duration: Ints
    kind: Bytes  # index into CLASSES
    name: Int32s  # index into `names`
    event: Int32s  # row of `events`; of `steps` for a step; for a gap the event that ended it, -1: none
    names: tuple[str, ...]
    name_kind: Bytes  # class of each name
    name_of_event: Int32s  # for each row of `events`, drawn or not
    tile_first: Ints  # index of the first event of each tile; one more at the end
    left_out: tuple[str, ...]  # sentences
    reason: str | None  # why there is nothing to draw

    def of(self, row: Row) -> slice:
        """Where the row's events are in the arrays."""
        return slice(row.first, row.first + row.count)

    def longest(self, kind: TrackKind, most: int = 20) -> Ints:
        """Indices of the longest events in rows of this kind, longest first; of gaps those between work."""
        of = [np.arange(row.first, row.first + row.count) for row in self.rows if self.groups[row.group].kind is kind]
        if not of:
            return np.empty(0, np.int64)
        index = np.concatenate(of)
        index = index[self.kind[index] != _EDGE]  # before the first and after the last work nothing waits
        length = self.duration[index]
        if len(index) > most:
            index = index[np.argpartition(-length, most - 1)[:most]]
        return index[np.lexsort((index, -self.duration[index]))]

    def row_of(self, index: Ints) -> Ints:
        """The row in which each of these events lies."""
        return np.searchsorted([row.first for row in self.rows], index, side="right") - 1
