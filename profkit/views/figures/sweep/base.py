"""What do the figures of a sweep share: strands of curves, the batch axis, bands, failed points, notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from profkit.analysis.sweep import Status
from profkit.analysis.sweep_curves import CurvePoint, PhaseTimes, Series, SweepCurves
from profkit.views import palette
from profkit.views import sweep_words as words
from profkit.views.caption import software
from profkit.views.figures.base import LEFT, SOFT, ReportFigure, drawable, label_ends, sheet
from profkit.views.format import clean, count, cut, date, number

MAX_STRANDS: Final = len(palette.SERIES)
"""More curves than colours are not drawn, which a note says."""
DASHES: Final = (0, (4, 2.5))
"""A floor."""
DOTS: Final = (0, (1, 1.6))
"""An SLO."""
_BAND: Final = 0.16
_NOTES: Final = 4
_NAMED: Final = 3
_NAMED_WITH_SIZES: Final = 2
_NOTE_COLUMNS: Final = 165
_SUBTITLE_COLUMNS: Final = 135
_NOTE_SIZE: Final = 7.5
_LINE: Final = 0.026
"""Of the figure's height."""
PLATE: Final[dict[str, Any]] = {"facecolor": palette.BACKGROUND.light, "alpha": 0.75, "linewidth": 0, "pad": 0.6}
"""Under names that lie on curves."""
_FLOORS: Final = 3
"""Up to so many floors are each named; more are named together."""
_TICKS: Final = 12
_LOG_FROM: Final = 12.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


@dataclass(frozen=True)
class Strand:
    """One series of one sweep, as it is drawn."""

    label: str
    colour: str
    series: Series
    sweep: SweepCurves


def strands(sweeps: Sequence[SweepCurves]) -> list[Strand]:
    """The series of the sweeps, each with a colour and a name; those beyond `MAX_STRANDS` are left out."""
    every = [(series, sweep) for sweep in sweeps for series in sweep.series]
    return [
        Strand(name, colour.light, series, sweep)
        for name, colour, (series, sweep) in zip(words.names(sweeps), palette.SERIES, every, strict=False)
    ]


def page(title: str, subtitle: str, sweeps: Sequence[SweepCurves], *notes: str) -> tuple[ReportFigure, float]:
    """An empty figure with its titles and caption, and above the caption `notes` and what failed.

    Returns:
        The figure, and where in its height axes may begin.
    """
    lines = [*filter(None, notes), *_left_out(sweeps), *_failures(sweeps), *_doubts(sweeps)]
    if len(lines) > _NOTES:
        lines = [*lines[: _NOTES - 1], f"and {len(lines) - _NOTES + 1} more notes: the table has them"]
    figure = sheet(title, _caption(sweeps))
    figure.text(LEFT, 0.905, cut(drawable(subtitle), _SUBTITLE_COLUMNS), fontsize=9.5, color=SOFT, va="top")
    for row, line in enumerate(reversed(lines)):
        text = cut(drawable(line), _NOTE_COLUMNS)
        figure.text(LEFT, 0.052 + row * _LINE, text, fontsize=_NOTE_SIZE, color=SOFT, va="bottom")
    return figure, 0.15 + len(lines) * _LINE


def floor_note(sweeps: Sequence[SweepCurves]) -> str:
    """Which ceilings the floors stand on, or why there are none."""
    said = ("dashed: " * bool(sweep.floors.floors) + words.floor(sweep) for sweep in sweeps)
    return "  |  ".join(dict.fromkeys(said))


def set_x(axes: Axes, drawn: Sequence[Strand]) -> None:
    """The shared axis: base 2 where values are spread so, with a tick at each measured value."""
    sweep = drawn[0].sweep
    values = sorted({point.x for strand in drawn for point in strand.series.points})
    if is_log(values):
        axes.set_xscale("log", base=2)
        room = (values[-1] / values[0]) ** 0.04
        axes.set_xlim(values[0] / room, values[-1] * room)
    else:
        room = 0.04 * (values[-1] - values[0]) or 0.5
        axes.set_xlim(values[0] - room, values[-1] + room)
    each = -(-len(values) // _TICKS)
    axes.xaxis.set_major_locator(FixedLocator(values[::each]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    unit = sweep.meta.units.get(sweep.axis, "")
    axes.set_xlabel(drawable(f"{sweep.axis} ({unit})" if unit else sweep.axis))


def set_y(axes: Axes, low: float, high: float, label: str) -> None:
    """From zero, or logarithmic where values span much; `low` and `high` are the values in sight."""
    axes.set_ylabel(label)
    axes.grid(axis="y")
    if low > 0 and high / low >= _LOG_FROM:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.25, high * 1.25)
        axes.yaxis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    else:
        axes.set_ylim(0, 1.12 * high or 1)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def is_log(values: Sequence[float]) -> bool:
    """Whether values are a matter of doublings: positive, and the largest four times the smallest or more."""
    return values[0] > 0 and values[-1] / values[0] >= 4


def draw_curve(
    axes: Axes,
    points: Sequence[tuple[CurvePoint, PhaseTimes]],
    value: Callable[[CurvePoint, PhaseTimes], float | None],
    colour: str,
    band: Callable[[PhaseTimes], tuple[float, float] | None] | None = None,
) -> None:
    """A line with a dot at each point; hollow where the GPU was throttled or times drifted."""
    known = [(p, t, v) for p, t in points if (v := value(p, t)) is not None]
    if band is not None:
        edges = [(p.x, found) for p, t, _ in known if (found := band(t)) is not None]
        if len(edges) > 1:
            low, high = zip(*(edge for _, edge in edges), strict=True)
            axes.fill_between([x for x, _ in edges], low, high, color=colour, alpha=_BAND, linewidth=0)
    axes.plot([p.x for p, _, _ in known], [v for _, _, v in known], color=colour, linewidth=1.6)
    for hollow in (False, True):
        some = [(p.x, v) for p, _, v in known if p.doubtful is hollow]
        if some:
            face = palette.BACKGROUND.light if hollow else colour
            x, y = zip(*some, strict=True)
            axes.plot(x, y, "o", markersize=5, color=colour, markerfacecolor=face, markeredgewidth=1.3)


def draw_floor(axes: Axes, points: Sequence[tuple[float, float]], colour: str) -> None:
    """A dashed line in a lighter tone of the curve's colour, named by `floor_names`."""
    axes.plot([x for x, _ in points], [y for _, y in points], color=tinted(colour), linewidth=1.1, linestyle=DASHES)


def floor_names(ends: Sequence[tuple[float, str]], name: str = "floor") -> list[tuple[float, str, str]]:
    """What `label_curves` takes for floors that end at these values in these colours."""
    if len(ends) <= _FLOORS:
        return [(value, name, colour) for value, colour in ends]
    return [(max(value for value, _ in ends), f"{name} (dashed)", SOFT)]


def draw_knee(axes: Axes, x: float, y: float, colour: str) -> None:
    """A diamond around the last batch that was worth its size."""
    axes.plot([x], [y], "D", markersize=10, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.3)
    axes.annotate("knee", (x, y), (-4, 9), textcoords="offset points", ha="right", color=colour, fontsize=8)


def draw_slo(axes: Axes, value: float, text: str, horizontal: bool = True) -> None:
    """A dotted line at a limit with its name on it."""
    colour = palette.ERROR.light
    if horizontal:
        axes.axhline(value, color=colour, linewidth=1.3, linestyle=DOTS)
        axes.annotate(
            text,
            (0.012, value),
            (0, 2.5),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            va="bottom",
            bbox=PLATE,
        )
    else:
        axes.axvline(value, color=colour, linewidth=1.3, linestyle=DOTS)
        axes.annotate(
            text,
            (value, 0.015),
            (3, 0),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            va="bottom",
            bbox=PLATE,
        )


def draw_failed(axes: Axes, drawn: Sequence[Strand]) -> None:
    """A cross on the axis for each point that ran out of memory or raised."""
    for strand in drawn:
        x = [p.x for p in strand.series.points if p.status in (Status.OUT_OF_MEMORY, Status.ERROR)]
        if x:
            axes.plot(
                x,
                [0] * len(x),
                "x",
                color=strand.colour,
                markersize=8,
                markeredgewidth=2,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                zorder=5,
            )


def label_curves(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names at the right edge, on logarithmic axes too."""
    if axes.get_yscale() == "log":
        # `label_ends` reckons in the axis' own units, which are not even here.
        low, high = (float(np.log(value)) for value in axes.get_ylim())
        twin = axes.twinx()
        twin.set_ylim(low, high)
        twin.set_axis_off()
        label_ends(twin, [(float(np.log(value)), text, colour) for value, text, colour in ends], size=8.5)
    else:
        label_ends(axes, ends, size=8.5)


def plain(value: float) -> str:
    """A tick: no more digits than it needs."""
    return count(int(value)) if float(value).is_integer() else number(value).rstrip("0").rstrip(".")


def tinted(colour: str) -> Any:
    """A floor's colour: that of its curve, lighter."""
    from matplotlib.colors import to_rgb

    return tuple(0.45 + 0.55 * part for part in to_rgb(colour))


def _caption(sweeps: Sequence[SweepCurves]) -> str:
    """Hardware, software, dates and ids; what two sweeps have in common is said once."""
    parts: list[str] = []
    for sweep in sweeps:
        meta: Any = sweep.meta
        hardware = meta.gpu_name or meta.environment.get("cpu") or "no GPU"
        parts += [str(hardware), software(meta), date(meta.created), f"sweep {meta.id}"]
    return " · ".join(dict.fromkeys(clean(part) for part in parts if part))


def _left_out(sweeps: Sequence[SweepCurves]) -> list[str]:
    more = sum(len(sweep.series) for sweep in sweeps) - MAX_STRANDS
    return [f"{more} more curves than there are colours: they are in the table"] if more > 0 else []


def _failures(sweeps: Sequence[SweepCurves]) -> list[str]:
    """The points that brought no times: those that ran out of memory in one line, others by what they said."""
    found: dict[str, list[str]] = {}
    for sweep in sweeps:
        for point in sweep.all_points():
            label, said = clean(point.label), words.failure(point)
            if point.status == Status.OUT_OF_MEMORY:
                sizes = said.removeprefix(point.status).lstrip(": ")
                found.setdefault(point.status, []).append(f"{label}: {sizes}" if sizes else label)
            elif point.status == Status.ERROR:
                found.setdefault(said, []).append(label)
    most = {str(Status.OUT_OF_MEMORY): _NAMED_WITH_SIZES}
    return [f"× {said} ({_some(labels, most.get(said, _NAMED))})" for said, labels in found.items()]


def _some(labels: Sequence[str], most: int = _NAMED) -> str:
    unique = list(dict.fromkeys(labels))
    return "; ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


def _doubts(sweeps: Sequence[SweepCurves]) -> list[str]:
    labels = [clean(point.label) for sweep in sweeps for point in sweep.all_points() if point.doubtful and point.phases]
    return [f"○ throttled, or times drifted ({_some(labels)})"] if labels else []
