"""What the timeline's tab is given: its rows with their strips, and the events tile by tile."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from profkit.analysis import timeline as analysis
from profkit.analysis.timeline import CLASSES, Timeline, TrackKind
from profkit.errors import OptionError
from profkit.record import Record
from profkit.views import palette
from profkit.views.format import short_name
from profkit.views.timeline import layout, meaning
from profkit.views.widgets.protocol import NAME_WIDTH, Column, Table, strings

LONGEST: Final = 20
_FULL: Final = 2**32 - 1


def timeline(record: Record) -> Table:
    """The rows from top to bottom, each with its strip of the whole view."""
    found = layout(record).timeline
    rows, groups = found.rows, found.groups
    bins = analysis.first_bins(found)
    return Table(
        (
            _strings("kind", [str(groups[row.group].kind) for row in rows]),
            _int32s("group", [row.group for row in rows]),
            _int32s("depth", [row.depth for row in rows]),
            _strings("label", [groups[row.group].label for row in rows]),
            _int32s("device", [groups[row.group].device for row in rows]),
            Column("lane", "int64", "", np.array([row.lane for row in rows], "<i8").tobytes()),
            _int32s("count", [row.count for row in rows]),
            _int32s("first_tile", [row.first_tile for row in rows]),
            _int32s("tiles", [row.tiles for row in rows]),
            _strips(found, bins),
        ),
        len(rows),
        {
            "range": [found.start_ns, found.end_ns],
            "wall_ns": found.wall_ns,
            "bins": bins,
            "levels": analysis.levels(found),
            "classes": [list(meaning(code)[0]) for code in range(len(CLASSES))],
            "class_labels": [meaning(code)[1] for code in range(len(CLASSES))],
            "groups": [{"label": one.label, "kind": str(one.kind), "device": one.device} for one in groups],
            "tiles": _tiles(found),
            "longest": {
                "gaps": _longest(found, TrackKind.GAPS, "class", found.kind),
                "kernels": _longest(found, TrackKind.GPU, "name", found.name),
            },
            "left_out": list(found.left_out),
            "reason": found.reason,
        },
    )


def strips(record: Record, level: int) -> Table:
    """The strips of a finer level: 1 is the first."""
    found = layout(record).timeline
    bins = analysis.first_bins(found) * analysis.STEP ** _within("strips", "level", level, 1, analysis.levels(found))
    return Table((_strips(found, bins),), len(found.rows), {"level": level, "bins": bins})


def names(record: Record) -> Table:
    """The names that tiles point to, with how often and how long each is drawn."""
    found = layout(record).timeline
    count = np.bincount(found.name, minlength=len(found.names))
    total = np.bincount(found.name, found.duration, len(found.names))  # of whole ns below 2^53: exact
    idle = {CLASSES.index(("idle", str(cause))): label for cause, label in palette.IDLE_LABELS.items()}
    short = [
        idle.get(kind) or short_name(name, NAME_WIDTH) for name, kind in zip(found.names, found.name_kind, strict=True)
    ]
    columns = (
        _strings("name", found.names),
        _strings("short", short),
        _int32s("class", found.name_kind),
        _int32s("count", count),
        Column("total_ns", "int64", "ns", total.astype("<i8").tobytes()),
    )
    return Table(columns, len(found.names))


def attributes(record: Record) -> Table:
    """The distinct attributes that tiles point to."""
    frame = layout(record).details.attributes
    units = {"grid": "", "block": "", "registers": "", "shared_memory": "bytes", "bytes": "bytes", "inputs": ""}
    return Table.of(frame.astype({"registers": "Int32"}), units, {})


def tile(record: Record, index: int) -> Table:
    """Consecutive events of one row; what none of them has is no column."""
    shown = layout(record)
    found, details = shown.timeline, shown.details
    at = analysis.tile(found, _within("tile", "index", index, 0, len(found.tile_first) - 2))
    start, duration = found.start[at.of], found.duration[at.of]
    base = int(start[0])
    long = np.flatnonzero(duration >= _FULL)
    columns = [
        Column.packed("start", np.diff(start, prepend=base).astype("<u4"), "ns"),
        Column.packed("duration", np.minimum(duration, _FULL).astype("<u4"), "ns"),
        Column.packed("name", found.name[at.of]),
        Column.packed("class", found.kind[at.of]),
    ]
    for name, values in (
        ("event", found.event),
        ("attribute", details.attribute),
        ("op", details.operator),
        ("step", details.step),
        ("link_row", details.link_row),
    ):
        if (values[at.of] >= 0).any():
            columns.append(Column.packed(name, values[at.of]))
    if (details.link_row[at.of] >= 0).any():
        columns.append(Column.packed("link_delay", details.link_delay[at.of], "ns"))
    info = {
        "index": at.index,
        "row": at.row,
        "base": str(base),
        "long": [[int(i), str(int(duration[i]))] for i in long],
    }
    return Table(columns, len(start), info)


def _tiles(found: Timeline) -> list[list[int]]:
    """From, to and number of events of each tile."""
    if not len(found.start):
        return []
    first = found.tile_first[:-1]
    end = np.maximum.reduceat(found.start + found.duration, first)
    return np.stack((found.start[first], end, np.diff(found.tile_first)), axis=1).tolist()


def _longest(found: Timeline, kind: TrackKind, key: str, values: Any) -> list[dict[str, int]]:
    index = found.longest(kind, LONGEST)
    row = found.row_of(index)
    return [
        {"row": int(row[i]), "start": int(found.start[at]), "duration": int(found.duration[at]), key: int(values[at])}
        for i, at in enumerate(index)
    ]


def _within(what: str, option: str, value: object, lowest: int, highest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        there = f"{lowest} to {highest}" if highest >= lowest else "none"
        raise OptionError(f"table {what!r} has no {option} {value!r}: there are {there}")
    return value


def _strips(found: Timeline, bins: int) -> Column:
    values = analysis.strips(found, bins)
    return Column.packed("strips", values, length=values.size)


def _int32s(name: str, values: Any) -> Column:
    return Column(name, "int32", "", np.asarray(values, "<i4").tobytes())


def _strings(name: str, values: Any) -> Column:
    return Column(name, "string", "", strings(values))
