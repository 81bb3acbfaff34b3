"""What ran when, and why was the GPU idle in between: coverage of small time slots, row by row.

A slot shows what share of it each kind of work covered, so a quarter of a million events draw as fast as
ten, and nothing that is smaller than a pixel is lost or drawn too large.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from profkit.analysis.events import LAUNCHING
from profkit.analysis.idle import idle, traced_gpu
from profkit.analysis.intervals import Ints, union
from profkit.analysis.timeline import CLASSES, Timeline, TrackKind, covered
from profkit.analysis.timeline.model import Bytes
from profkit.errors import OptionError
from profkit.record import Record
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
from profkit.views.timeline import layout, meaning

SLOTS: Final = 400
"""Time slots over the width: 50 an inch, where an eye at reading distance still tells two apart."""
STREAMS: Final = 4
"""Streams with a row each, the busiest."""
_LEFT, _WIDTH = 0.16, 0.81
_CALL: Final = CLASSES.index(("host", "call"))


@dataclass(frozen=True)
class Lane:
    """A row of the figure: how much of each slot every class covers."""

    name: str
    note: str
    covered: npt.NDArray[np.float64]  # [slots, CLASSES], ns
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
    rows = [row for row in lanes(record, edges) if row.covered.any()]
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
        shown = list(dict.fromkeys(code for row in rows for code in _classes(row) if code != _CALL))
        legend(figure, [_look(code) for code in shown if not _is_idle(code)], y=0.885)
        legend(figure, [_look(code) for code in shown if _is_idle(code)], y=0.845)
    return figure


def _classes(row: Lane) -> list[int]:
    """The classes that a row shows, the first at the bottom."""
    return np.flatnonzero(row.covered.any(axis=0)).tolist()


def _look(code: int) -> tuple[str, str, bool]:
    """A class's label and colour, and whether it is idle time."""
    if code == _CALL:  # alone on its row, which says what it is
        return "", SOFT, False
    (group, name), label = meaning(code)
    return label, palette.as_json()[group][name]["light"], _is_idle(code)


def _is_idle(code: int) -> bool:
    return CLASSES[code][0] == "idle"


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
        return f"{duration(end - start)} of {record.meta.name}, from {duration(start)} on"
    from profkit.analysis.summary import summarize

    return sentence(summarize(record)).rstrip(".")


def lanes(record: Record, edges: Ints) -> list[Lane]:
    """The rows from the top, taken from the layout that the interactive view draws."""
    found = layout(record).timeline
    rows = [_steps(found, edges), _launches(found, edges)]
    if traced_gpu(record):
        device = idle(record).device
        rows += _busiest(found, TrackKind.GPU, edges, device)
        gaps = _events(found, TrackKind.GAPS, edges, device)
        rows.append(_lane("GPU idle", share(_share(gaps, edges)), gaps, edges))
    else:
        rows += _busiest(found, TrackKind.HOST, edges)
    return rows


@dataclass(frozen=True)
class _Events:
    """Some of a timeline's events, cut at the window's ends."""

    index: Ints
    start: Ints
    duration: Ints
    kind: Bytes

    def only(self, mask: npt.NDArray[np.bool_]) -> _Events:
        return _Events(self.index[mask], self.start[mask], self.duration[mask], self.kind[mask])


def _events(
    found: Timeline, kind: TrackKind, edges: Ints, device: int | None = None, lane: int | None = None
) -> _Events:
    """The events of these rows that the window shows."""
    index = np.concatenate(
        [np.empty(0, np.int64)]
        + [
            np.arange(row.first, row.first + row.count)
            for row in found.rows
            if (group := found.groups[row.group]).kind is kind
            and device in (None, group.device)
            and lane in (None, row.lane)
        ]
    )
    start, end = found.start[index], (found.start + found.duration)[index]
    inside = (start < edges[-1]) & (end > edges[0])
    start, end = np.clip(start, edges[0], edges[-1]), np.clip(end, edges[0], edges[-1])
    return _Events(index, start, end - start, found.kind[index]).only(inside)


def _lane(name: str, note: str, events: _Events, edges: Ints) -> Lane:
    return Lane(name, note, covered(events.start, events.duration, events.kind, edges), edges)


def _steps(found: Timeline, edges: Ints) -> Lane:
    events = _events(found, TrackKind.STEPS, edges)
    note = plural(len(events.start), "forward")
    if len(events.start) <= SLOTS:  # so many are drawn as they are, not slot by slot
        edges = np.unique(np.concatenate((edges[[0, -1]], events.start, events.start + events.duration)))
    return _lane("steps", note, events, edges)


def _launches(found: Timeline, edges: Ints) -> Lane:
    events = _events(found, TrackKind.HOST, edges)
    launching = np.array([re.search(LAUNCHING, name) is not None for name in found.names], bool)
    calls = events.only((events.kind == _CALL) & launching[found.name[events.index]])
    return _lane("host launches", plural(len(calls.start), "call"), calls, edges)


def _busiest(found: Timeline, kind: TrackKind, edges: Ints, device: int | None = None) -> list[Lane]:
    """The busiest streams of a GPU with their kinds of work; or threads with the operators that call no other."""
    work = np.array([group == "work" for group, _ in CLASSES])
    busy: dict[int, tuple[float, _Events]] = {}
    for lane in {row.lane for row in found.rows if found.groups[row.group].kind is kind}:
        events = _events(found, kind, edges, device, lane)
        events = events.only(work[events.kind])
        events = _leaves(events) if kind is TrackKind.HOST else events
        if len(events.start):
            busy[lane] = _share(events, edges), events
    most = sorted(busy, key=lambda lane: (-busy[lane][0], lane))[:STREAMS]
    what = "stream" if kind is TrackKind.GPU else "thread"
    return [_lane(f"{what} {lane}", f"{share(busy[lane][0])} busy", busy[lane][1], edges) for lane in sorted(most)]


def _share(events: _Events, edges: Ints) -> float:
    """Share of the window that the events cover."""
    return union(events.start, events.start + events.duration).total / int(edges[-1] - edges[0])


def _leaves(events: _Events) -> _Events:
    """Of one thread's operators those inside which no other runs; the first child is the next that starts."""
    end = events.start + events.duration
    order = np.lexsort((-end, events.start))
    parent = np.zeros(len(order), bool)
    parent[order[:-1]] = events.start[order[1:]] < end[order[:-1]]
    return events.only(~parent)


def _draw_row(axes: Axes, row: Lane, y: int, factor: float) -> None:
    """Parts stacked on each other: a full slot reaches the row's top."""
    height = 0.8
    low: npt.NDArray[np.float64] = np.zeros(len(row.edges) - 1)
    width = np.maximum(np.diff(row.edges), 1)
    for code in _classes(row):
        high = np.minimum(low + row.covered[:, code] / width, 1.0)
        # NaN breaks the outline: an empty slot costs nothing in the file.
        seen = np.where(high > low, y + height * high, np.nan)
        axes.stairs(seen, row.edges / factor, baseline=y + height * low, fill=True, **fill(*_look(code)[1:]))
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
