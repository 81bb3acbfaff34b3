"""Which points trade latency against throughput best?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from profkit.analysis.sweep import SLOS, SweepPhase
from profkit.analysis.sweep_curves import SweepCurves, pareto
from profkit.views.figures.base import INK, ReportFigure, style, time_unit
from profkit.views.figures.sweep.base import Strand, draw_slo, label_curves, page, plain, set_y, strands
from profkit.views.format import duration, plural

_APART_PX: Final = 13.0
"""Of a figure of 100 pixels an inch: a name's height."""


def lacks(sweeps: Sequence[SweepCurves]) -> str | None:
    """What the sweeps are short of."""
    if not any(_points(strand) for strand in strands(sweeps)):
        return "it takes points with a time and with counted tokens: tokens= says how many a run makes"
    return None


def draw(sweeps: Sequence[SweepCurves]) -> ReportFigure:
    """Each point by its time and its throughput; the line joins those that no other point beats in both."""
    drawn = strands(sweeps)
    phase = sweeps[0].throughput
    every = [(*point, strand) for strand in drawn for point in _points(strand)]
    front = [every[i] for i in pareto([(time, rate) for time, rate, *_ in every])]
    with style():
        title = f"{plural(len(front), 'point')} of {len(every)} that no other beats in latency and throughput"
        subtitle = f"The broad line joins them; the numbers at the points are {sweeps[0].axis}"
        figure, low = page(title, subtitle, sweeps)
        axes = figure.add_axes((0.085, low, 0.735, 0.855 - low))
        _panel(axes, drawn, front, phase)
    return figure


def _points(strand: Strand) -> list[tuple[float, float, float]]:
    """Time (ns), tokens/s and x of each."""
    measured = strand.series.measured(strand.sweep.throughput)
    return [(t.median_ns, t.tokens_per_s, p.x) for p, t in measured if t.tokens_per_s]


def _panel(
    axes: Axes, drawn: Sequence[Strand], front: Sequence[tuple[float, float, float, Strand]], phase: str
) -> None:
    every = [point for strand in drawn for point in _points(strand)]
    factor, unit = time_unit(max(time for time, *_ in every))
    slowest, fastest = max(time for time, *_ in every) / factor, min(time for time, *_ in every) / factor
    set_y(axes, min(rate for _, rate, _ in every), max(rate for _, rate, _ in every), "output tokens/s")
    log = slowest / fastest >= 12
    if log:
        axes.set_xscale("log")
        axes.set_xlim(fastest / 1.2, slowest * 1.2)
    else:
        axes.set_xlim(0, 1.08 * slowest)
        axes.xaxis.set_major_locator(MaxNLocator(9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    what = "time per output token" if phase == SweepPhase.DECODE else "time of a run"
    axes.set_xlabel(f"{what} ({unit}), median")
    axes.plot([p[0] / factor for p in front], [p[1] for p in front], color=INK, linewidth=5, alpha=0.14)
    ends, named = [], []
    for strand in drawn:
        points = _points(strand)
        if not points:
            continue
        times, rates, _ = zip(*points, strict=True)
        axes.plot([t / factor for t in times], rates, "o-", color=strand.colour, linewidth=1, markersize=5)
        named += [(time / factor, rate, x, strand.colour) for time, rate, x in points]
        ends.append((rates[-1], strand.label, strand.colour))
    for strand in drawn[:1]:
        for name, limit in strand.sweep.meta.slo_ns.items():
            if SLOS.get(name) == phase and limit / factor <= axes.get_xlim()[1]:
                draw_slo(axes, limit / factor, f"SLO {name} {duration(limit)}", horizontal=False)
    _name(axes, named)
    label_curves(axes, ends)


def _name(axes: Axes, points: Sequence[tuple[float, float, float, str]]) -> None:
    """Each point's x beside it, but where another's name is already."""
    taken: list[tuple[float, float]] = []
    for time, rate, x, colour in points:
        px, py = axes.transData.transform((time, rate))
        if all(abs(px - other_x) > _APART_PX or abs(py - other_y) > _APART_PX for other_x, other_y in taken):
            taken.append((px, py))
            axes.annotate(
                plain(x),
                (time, rate),
                (-5, 4),
                textcoords="offset points",
                ha="right",
                fontsize=7.5,
                color=colour,
            )
