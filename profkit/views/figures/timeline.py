"""What ran when, and why was the GPU idle in between: coverage of small time slots, row by row.

A slot shows what share of it each kind of work covered, so a quarter of a million events draw as fast as
ten, and nothing that is smaller than a pixel is lost or drawn too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from profkit.analysis.events import kind_rows, launch_calls, names_and_codes
from profkit.analysis.idle import Cause, gaps, idle, traced_gpu
from profkit.analysis.intervals import Ints, union
from profkit.analysis.kernels import WorkKind, work_kind
from profkit.errors import OptionError
from profkit.record import GPU_WORK, EventKind, Record
from profkit.views import palette
from profkit.views.content import sentence
from profkit.views.figures.base import (
    INK,
    LABEL_SIZE,
    SOFT,
    ReportFigure,
    canvas,
    drawable,
    fill,
    legend,
    style,
    time_unit,
)
from profkit.views.format import duration, plural, share

SLOTS: Final = 400
"""Time slots over the width: 50 an inch, where an eye at reading distance still tells two apart."""
STREAMS: Final = 4
"""Streams with a row each, the busiest."""
_LEFT, _WIDTH = 0.16, 0.81


@dataclass(frozen=True)
class _Part:
    """What covers a row: share of each slot, and how it is drawn."""

    covered: npt.NDArray[np.float64]
    label: str
    colour: str
    idle: bool = False


@dataclass(frozen=True)
class _Row:
    name: str
    note: str
    parts: list[_Part]
    edges: Ints  # of its slots


def lacks(record: Record) -> str | None:
    """What the record is short of."""
    if not len(record.events):
        why = record.meta.not_measured.get("gpu_busy", "nothing ran in it, or the trace was off (--no-trace)")
        return f"the record holds no events: {why}"
    return None


def draw(record: Record, window: tuple[int, int] | None = None) -> ReportFigure:
    """The rows of a record between two times in ns; `window` None: all of it.

    Raises:
        OptionError: a window that is empty or outside the record.
    """
    start, end = _window(record, window)
    edges = np.linspace(start, end, SLOTS + 1).astype(np.int64)
    factor, unit = time_unit(end - start)
    rows = [row for row in _rows(record, edges) if row.parts]
    with style():
        figure = canvas(_title(record, window), record)
        axes = figure.add_axes((_LEFT, 0.14, _WIDTH, 0.66))
        for at, row in enumerate(rows):
            _draw_row(axes, row, len(rows) - 1 - at, factor)
        axes.set_ylim(-0.12, len(rows))
        axes.set_xlim(start / factor, end / factor)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"time ({unit})")
        parts = [part for row in rows for part in row.parts if part.label]
        legend(figure, _keys(parts, idle=False), y=0.885)
        legend(figure, _keys(parts, idle=True), y=0.845)
    return figure


def _keys(parts: list[_Part], idle: bool) -> list[tuple[str, str, bool]]:
    keys = {part.label: part.colour for part in parts if part.idle == idle}
    return [(f"idle: {label}" if idle else label, colour, idle) for label, colour in keys.items()]


def _window(record: Record, window: tuple[int, int] | None) -> tuple[int, int]:
    whole = (0, max(record.meta.wall_ns, 1))
    if window is None:
        return whole
    start, end = max(int(window[0]), whole[0]), min(int(window[1]), whole[1])
    if end <= start:
        raise OptionError(f"window={window!r} ns holds nothing of the record, which lasts {whole[1]} ns")
    return start, end


def _title(record: Record, window: tuple[int, int] | None) -> str:
    if window is not None:
        start, end = _window(record, window)
        return f"From {duration(start)} to {duration(end)} of {record.meta.name}"
    from profkit.analysis.summary import summarize

    return sentence(summarize(record)).rstrip(".")


def _rows(record: Record, edges: Ints) -> list[_Row]:
    rows = [_phases(record, edges), _launches(record, edges)]
    if traced_gpu(record):
        device = idle(record).device
        rows += _streams(record, device, edges)
        rows.append(_idle(record, device, edges))
    else:
        rows += _threads(record, edges)
    return rows


def _phases(record: Record, edges: Ints) -> _Row:
    start, end = record.steps["start"].to_numpy(), record.steps["end"].to_numpy()
    phase = np.array(record.steps["phase"].to_pylist(), object)
    inside = (start < edges[-1]) & (end > edges[0])
    # Up to so many steps are drawn as they are, not slot by slot.
    exact = np.unique(np.concatenate((edges[[0, -1]], np.clip((start, end), edges[0], edges[-1]).ravel())))
    edges = exact if inside.sum() <= SLOTS else edges
    parts = [
        _Part(_covered(start[of], end[of], edges), str(name), colour.light)
        for name, colour in palette.PHASES.items()
        if (of := inside & (phase == str(name))).any()
    ]
    return _Row("steps", plural(int(inside.sum()), "forward"), parts, edges)


def _launches(record: Record, edges: Ints) -> _Row:
    calls = _within(record, launch_calls(record.events), edges)
    parts = [_Part(_covered(*_bounds(record, calls), edges), "", SOFT)] if len(calls) else []
    return _Row("host launches", plural(len(calls), "call"), parts, edges)


def _streams(record: Record, device: int, edges: Ints) -> list[_Row]:
    """The busiest streams of a GPU, each with its kinds of work."""
    rows = kind_rows(record.events, *GPU_WORK)
    rows = rows[record.events["device"].to_numpy()[rows] == device]
    return _lanes(record, rows, edges, "stream", STREAMS)


def _threads(record: Record, edges: Ints) -> list[_Row]:
    """Host threads with the operators that call no other: those do the work."""
    rows = kind_rows(record.events, EventKind.OP)
    return _lanes(record, _leaves(record, rows), edges, "thread", STREAMS)


def _lanes(record: Record, rows: Ints, edges: Ints, what: str, most: int) -> list[_Row]:
    rows = _within(record, rows, edges)
    lane = record.events["lane"].to_numpy()[rows]
    start, end = _bounds(record, rows)
    busy = {int(one): _share(start[lane == one], end[lane == one], edges) for one in np.unique(lane)}
    busiest = sorted(busy, key=lambda one: (-busy[one], one))[:most]
    names, codes = names_and_codes(record.events)
    kind = np.array([str(work_kind(name)) for name in names] or [""], object)[codes[rows]]
    found = []
    for one in sorted(busiest):
        parts = [
            _Part(_covered(start[of], end[of], edges), str(known), palette.WORK[known].light)
            for known in WorkKind
            if (of := (lane == one) & (kind == str(known))).any()
        ]
        found.append(_Row(f"{what} {one}", f"{share(busy[one])} busy", parts, edges))
    return found


def _idle(record: Record, device: int, edges: Ints) -> _Row:
    found = gaps(record, device)
    inside = (found.start < edges[-1]) & (found.end > edges[0])
    parts = [
        _Part(
            _covered(found.start[of], found.end[of], edges), palette.IDLE_LABELS[cause], palette.IDLE[cause].light, True
        )
        for code, cause in enumerate(Cause)
        if (of := inside & (found.cause == code)).any()
    ]
    return _Row("GPU idle", share(_share(found.start, found.end, edges)), parts, edges)


def _within(record: Record, rows: Ints, edges: Ints) -> Ints:
    """Of these rows of `events` those that the window shows."""
    start, end = _bounds(record, rows)
    inside: npt.NDArray[np.bool_] = (start < edges[-1]) & (end > edges[0])
    return rows[inside]


def _share(start: Ints, end: Ints, edges: Ints) -> float:
    """Share of the window that the intervals cover."""
    return float(union(start, end).covered(edges[:1], edges[-1:])[0] / (edges[-1] - edges[0]))


def _covered(start: Ints, end: Ints, edges: Ints) -> npt.NDArray[np.float64]:
    """Share of each slot that the intervals cover."""
    covered = union(start, end).covered(edges[:-1], edges[1:])
    return np.asarray(covered / np.maximum(np.diff(edges), 1), float)


def _bounds(record: Record, rows: Ints) -> tuple[Ints, Ints]:
    start = record.events["start"].to_numpy()[rows]
    return start, start + record.events["duration"].to_numpy()[rows]


def _leaves(record: Record, rows: Ints) -> Ints:
    """Of operators those inside which no other runs; an operator's first child is the next on its thread."""
    if not len(rows):
        return rows
    start, end = _bounds(record, rows)
    lane = record.events["lane"].to_numpy()[rows]
    order = np.lexsort((-end, start, lane))
    after = np.roll(order, -1)
    inside = (lane[after] == lane[order]) & (start[after] < end[order])
    inside[-1] = False
    return np.sort(rows[order[~inside]])


def _draw_row(axes: Axes, row: _Row, y: int, factor: float) -> None:
    """Parts stacked on each other: a full slot reaches the row's top."""
    height = 0.8
    low: npt.NDArray[np.float64] = np.zeros(len(row.edges) - 1)
    for part in row.parts:
        high = np.minimum(low + part.covered, 1.0)
        # NaN breaks the outline: an empty slot costs nothing in the file.
        seen = np.where(high > low, y + height * high, np.nan)
        axes.stairs(seen, row.edges / factor, baseline=y + height * low, fill=True, **fill(part.colour, part.idle))
        low = high
    axes.axhline(y, color=palette.GRID.light, linewidth=0.7, zorder=0)
    for text, above, colour in ((row.name, 0.52, INK), (row.note, 0.18, SOFT)):
        axes.text(
            -0.012,
            y + above,
            drawable(text),
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=LABEL_SIZE,
            color=colour,
        )
