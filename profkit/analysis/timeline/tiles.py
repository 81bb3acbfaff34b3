"""The events themselves, in pieces of a row that are fetched when they are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from profkit.analysis.events import dictionary_codes, launch_rows
from profkit.analysis.intervals import Ints
from profkit.analysis.timeline.model import Int32s, Row, Timeline, TrackKind
from profkit.record import Record

EVENTS: Final = 16_384
"""Events of a tile, at most."""
_NONE: Final = -(2**63)
_NUMBERS: Final = (
    *(("grid", axis) for axis in range(3)),
    *(("block", axis) for axis in range(3)),
    ("registers", None),
    ("shared_memory", None),
    ("bytes", None),
)
"""Attributes that are numbers: their column in `kernels`, and which of a triple."""
_FARTHEST: Final = 2**32
"""Starts travel as the distance from the one before, in 32 bits."""


def cut(start: Ints, rows: list[Row]) -> tuple[Ints, list[Row]]:
    """The index of each tile's first event, with the end of the last behind; and the rows with their tiles."""
    if not rows:
        return np.zeros(1, np.int64), rows
    of_row = np.array([row.first for row in rows])
    far = np.flatnonzero(np.diff(start) >= _FARTHEST) + 1
    stretch = np.unique(np.concatenate((of_row, far)))
    length = np.diff(stretch, append=len(start))
    tiles = -(-length // EVENTS)
    within = np.arange(tiles.sum()) - np.repeat(np.cumsum(tiles) - tiles, tiles)
    first = np.repeat(stretch, tiles) + within * EVENTS
    first_tile = np.searchsorted(first, of_row)
    counts = np.diff(first_tile, append=len(first))
    with_tiles = [
        replace(row, first_tile=int(at), tiles=int(count))
        for row, at, count in zip(rows, first_tile, counts, strict=True)
    ]
    return np.append(first, len(start)), with_tiles


@dataclass(frozen=True)
class Details:
    """What is known of each drawn event beside its time: one entry per event of the timeline.

    `attributes` has one row per distinct tuple; columns grid, block (text, "" where absent), registers,
    shared_memory, bytes (absent where unknown), inputs (text).
    """

    attribute: Int32s  # row of `attributes`, -1: none
    operator: Int32s  # name of the operator that launched it, -1: none known
    step: Int32s  # row of `steps` in which it began or was launched, -1: none
    link_row: Int32s  # row of the launch of GPU work, or of the first work of a launch; -1: none
    link_delay: npt.NDArray[np.float64]  # ns from the start of the launch to that of the work; NaN without link
    attributes: pd.DataFrame


@dataclass(frozen=True)
class Tile:
    """Consecutive events of one row: slices of the timeline's arrays."""

    index: int
    row: int
    of: slice


def tile(timeline: Timeline, index: int) -> Tile:
    """One tile by its index."""
    first, end = (int(timeline.tile_first[at]) for at in (index, index + 1))
    return Tile(index, int(timeline.row_of(np.array([first]))[0]), slice(first, end))


def details(timeline: Timeline, record: Record) -> Details:
    """Attributes, launching operators and links of all drawn events."""
    events = record.events
    counts = [row.count for row in timeline.rows]
    kinds = [timeline.groups[row.group].kind for row in timeline.rows]
    row_of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    drawn = np.flatnonzero(np.repeat([kind not in (TrackKind.STEPS, TrackKind.GAPS) for kind in kinds], counts))
    row = timeline.event[drawn]
    attribute, operator, step, link_row = (np.full(len(timeline.start), -1, np.int32) for _ in range(4))
    delay = np.full(len(timeline.start), np.nan)

    of_event, attributes = _attributes(record)
    attribute[drawn] = of_event[row]
    step[drawn] = events["step"].to_numpy()[row]
    op = events["op"].to_numpy()[row]
    operator[drawn[op >= 0]] = timeline.name_of_event[op[op >= 0]]

    place = np.full(len(events) + 1, -1, np.int64)  # where each event is drawn; of -1 the last, which is nowhere
    place[row] = drawn
    work = np.flatnonzero(np.repeat([kind is TrackKind.GPU for kind in kinds], counts))
    launch = place[launch_rows(events, timeline.event[work].astype(np.int64))]
    work, launch = work[launch >= 0], launch[launch >= 0]
    # One launch of a graph has many kernels: the first of them is written last, and stays.
    order = np.argsort(-timeline.start[work], kind="stable")
    work, launch = work[order], launch[order]
    for here, there in ((work, launch), (launch, work)):
        link_row[here] = row_of[there]
        delay[here] = timeline.start[work] - timeline.start[launch]
    return Details(attribute, operator, step, link_row, delay, attributes)


def _attributes(record: Record) -> tuple[Int32s, pd.DataFrame]:
    """For each row of `events` its row among the distinct tuples of attributes, -1: none; and these tuples."""
    kernels, count = record.kernels, len(record.events)
    words, code = dictionary_codes(record.ops["inputs"])
    inputs = np.full(count + 1, -1, np.int64)  # of -1 the last: none
    inputs[record.ops["event"].to_numpy()] = code
    of_kernel = kernels["event"].to_numpy()
    of_op = np.setdiff1d(np.flatnonzero(inputs >= 0), of_kernel)
    event = np.concatenate((of_kernel, of_op))
    values = [np.append(_numbers(kernels, *where), np.full(len(of_op), _NONE)) for where in _NUMBERS]
    own = inputs[event]
    values.append(np.where(own >= 0, own, inputs[record.events["op"].to_numpy()[event]]))
    key = np.zeros(len(event), np.int64)
    for column in values:
        code, distinct = pd.factorize(column)
        key = pd.factorize(key * max(len(distinct), 1) + code)[0]
    found = np.full(count, -1, np.int32)
    found[event] = key
    first = np.unique(key, return_index=True)[1]
    table = np.stack([column[first] for column in values], axis=1)
    return found, pd.DataFrame(
        {
            "grid": [_triple(row) for row in table[:, 0:3].tolist()],
            "block": [_triple(row) for row in table[:, 3:6].tolist()],
            **{
                name: pd.arrays.IntegerArray(table[:, at].copy(), table[:, at] == _NONE)
                for at, name in enumerate(("registers", "shared_memory", "bytes"), 6)
            },
            "inputs": ["" if at < 0 else words[at] for at in table[:, -1].tolist()],
        }
    )


def _numbers(kernels: pa.Table, column: str, axis: int | None) -> Ints:
    values = kernels[column] if axis is None else pc.list_element(kernels[column], axis)
    return values.cast(pa.int64()).fill_null(_NONE).to_numpy()


def _triple(values: list[int]) -> str:
    return "" if values[0] == _NONE else ",".join(map(str, values))
