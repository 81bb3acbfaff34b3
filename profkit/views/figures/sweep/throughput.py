"""How many tokens a second along the batch, and from where on is more batch worth less?"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from profkit.analysis.sweep import SweepPhase
from profkit.analysis.sweep_curves import CurvePoint, PhaseTimes, SweepCurves
from profkit.views import sweep_words as words
from profkit.views.figures.base import ReportFigure, style
from profkit.views.figures.sweep.base import (
    Strand,
    draw_curve,
    draw_failed,
    draw_floor,
    draw_knee,
    floor_names,
    floor_note,
    label_curves,
    page,
    set_x,
    set_y,
    strands,
)
from profkit.views.format import rate


def lacks(sweeps: Sequence[SweepCurves]) -> str | None:
    """What the sweeps are short of."""
    for sweep in sweeps:
        if any(t.tokens_per_s for series in sweep.series for _, t in series.measured(sweep.throughput)):
            return None
    return "no tokens were counted: tokens= says how many a run makes"


def draw(sweeps: Sequence[SweepCurves]) -> ReportFigure:
    """Tokens per second of decode (of whole runs where no decode step was seen), and what the floor would give."""
    drawn = strands(sweeps)
    with style():
        floor = floor_note(sweeps).replace("dashed: ", "dashed: as if each step took its ")
        note = f"bands: p10 to p90 of the time; {floor}"
        subtitle = words.regime_of_all(sweeps[0], sweeps[0].throughput) if len(sweeps) == 1 else ""
        figure, low = page(_title(sweeps), subtitle, sweeps, note)
        axes = figure.add_axes((0.085, low, 0.735, 0.855 - low))
        _curves(axes, drawn)
    return figure


def _title(sweeps: Sequence[SweepCurves]) -> str:
    sweep = sweeps[0]
    known = [
        (p, t.tokens_per_s) for series in sweep.series for p, t in series.measured(sweep.throughput) if t.tokens_per_s
    ]
    best, most = max(known, key=lambda pair: pair[1])
    knees = {f"{knee.batch:g}" for knee in sweep.knees.values() if knee.batch is not None}
    title = f"Most throughput: {rate(most)} at {best.label}"
    if len(knees) == 1:
        title += f"; the knee is at {sweep.axis} {knees.pop()}"
    return title


def _curves(axes: Axes, drawn: Sequence[Strand]) -> None:
    lines = [(strand, strand.series.measured(strand.sweep.throughput)) for strand in drawn]
    seen = [rate for _, points in lines for _, t in points for rate in (t.tokens_per_s, _floor(t)) if rate]
    set_x(axes, drawn)
    phase = "decode" if drawn[0].sweep.throughput == SweepPhase.DECODE else "whole run"
    set_y(axes, min(seen), max(seen), f"output tokens/s ({phase})")
    ends, floor_ends = [], []
    for strand, points in lines:
        floors = [(p.x, value) for p, t in points if (value := _floor(t)) is not None]
        if floors:
            draw_floor(axes, floors, strand.colour)
            floor_ends.append((floors[-1][1], strand.colour))
        known = [(p, t) for p, t in points if t.tokens_per_s]
        if not known:
            continue
        draw_curve(axes, known, _rate, strand.colour, _band)
        ends.append((known[-1][1].tokens_per_s or 0.0, strand.label, strand.colour))
        knee = strand.sweep.knees[strand.series.label]
        if knee.batch is not None:
            draw_knee(
                axes, knee.batch, next(t.tokens_per_s or 0.0 for p, t in known if p.x == knee.batch), strand.colour
            )
    draw_failed(axes, drawn)
    label_curves(axes, [*ends, *floor_names(floor_ends, "at the floor")])


def _rate(_: CurvePoint, times: PhaseTimes) -> float | None:
    return times.tokens_per_s


def _floor(times: PhaseTimes) -> float | None:
    """Tokens per second if the step took its floor."""
    if times.floor_ns is None or not times.tokens_per_s:
        return None
    return times.tokens_per_s * times.median_ns / times.floor_ns


def _band(times: PhaseTimes) -> tuple[float, float] | None:
    if times.p10_ns is None or times.p90_ns is None or not times.tokens_per_s:
        return None
    tokens = times.tokens_per_s * times.median_ns
    return tokens / times.p90_ns, tokens / times.p10_ns
