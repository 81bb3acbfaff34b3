"""How long do a prefill and a decode step take along the batch, and how near is that to the floor?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes

from profkit.analysis.sweep import SLOS, SweepPhase
from profkit.analysis.sweep_curves import PhaseTimes, SweepCurves
from profkit.views import sweep_words as words
from profkit.views.figures.base import SOFT, ReportFigure, style, time_unit
from profkit.views.figures.sweep.base import (
    PLATE,
    Strand,
    draw_curve,
    draw_failed,
    draw_floor,
    draw_knee,
    draw_slo,
    floor_names,
    floor_note,
    label_curves,
    page,
    set_x,
    set_y,
    strands,
)
from profkit.views.format import duration

_PANELS: Final = {
    SweepPhase.DECODE: "decode: time per output token",
    SweepPhase.PREFILL: "prefill: time to first token",
    SweepPhase.TOTAL: "one run of the cell",
}
_TOP: Final = 0.825


def lacks(sweeps: Sequence[SweepCurves]) -> str | None:
    """What the sweeps are short of."""
    return None if any(sweep.phases() for sweep in sweeps) else "no point of the sweep was measured"


def draw(sweeps: Sequence[SweepCurves]) -> ReportFigure:
    """Median times with their p10 to p90 band, floors, SLOs and knees: decode at the left, prefill beside it."""
    drawn = strands(sweeps)
    found = [phase for sweep in sweeps for phase in sweep.phases()]
    phases = [p for p in (SweepPhase.DECODE, SweepPhase.PREFILL) if p in found] or [SweepPhase.TOTAL]
    with style():
        note = f"lines: medians; bands: p10 to p90; {floor_note(sweeps)}"
        figure, low = page(_title(sweeps[0]), _subtitle(sweeps), sweeps, note)
        width = 0.285 if len(phases) > 1 else 0.74
        for at, phase in enumerate(phases):
            axes = figure.add_axes((0.065 + 0.495 * at, low, width, _TOP - low))
            axes.set_title(_PANELS[phase], loc="left", fontsize=10, color=SOFT)
            _panel(axes, drawn, phase)
    return figure


def _title(sweep: SweepCurves) -> str:
    what = "A decode step" if sweep.throughput == SweepPhase.DECODE else "A run"
    known = [pair for series in sweep.series for pair in series.measured(sweep.throughput)]
    if not known:
        return "How long each point took"
    fastest = min(known, key=lambda pair: pair[1].median_ns)
    slowest = max(known, key=lambda pair: pair[1].median_ns)
    said = f"{what} takes {duration(fastest[1].median_ns)} ({fastest[0].label})"
    return said if fastest is slowest else f"{said} to {duration(slowest[1].median_ns)} ({slowest[0].label})"


def _subtitle(sweeps: Sequence[SweepCurves]) -> str:
    sweep = sweeps[0]
    if sweep.verdicts and len(sweeps) == 1:
        said = [
            f"{label}: {words.verdict(answer)}" if label else words.verdict(answer) for label, answer in sweep.verdicts
        ]
        return said[0] if len(said) == 1 else _largest(sweep)
    return words.regime_of_all(sweep, sweep.throughput) if len(sweeps) == 1 else ""


def _largest(sweep: SweepCurves) -> str:
    """What meets the SLOs in each series, in one line."""
    found = [
        f"{answer.largest:g} ({label})" if answer.largest is not None else f"none ({label})"
        for label, answer in sweep.verdicts
    ]
    return f"Largest {sweep.axis} within {words.limits(sweep)}: {', '.join(found)}"


def _panel(axes: Axes, drawn: Sequence[Strand], phase: str) -> None:
    times = [t for strand in drawn for _, t in strand.series.measured(phase)]
    seen = [value for t in times for value in (t.median_ns, t.p10_ns, t.p90_ns, t.floor_ns) if value]
    limits = {
        name: limit for strand in drawn for name, limit in strand.sweep.meta.slo_ns.items() if SLOS.get(name) == phase
    }
    # An SLO far above everything would flatten the curves: it is then named, not drawn.
    near = {name: limit for name, limit in limits.items() if seen and limit < 3 * max(seen)}
    factor, unit = time_unit(max(seen, default=1e6))
    set_x(axes, drawn)
    every = [*seen, *near.values()]
    set_y(axes, min(every, default=0) / factor, max(every, default=1) / factor, f"time ({unit})")
    ends, floor_ends = [], []
    for strand in drawn:
        points = strand.series.measured(phase)
        if not points:
            continue

        def band(t: PhaseTimes) -> tuple[float, float] | None:
            return None if t.p10_ns is None or t.p90_ns is None else (t.p10_ns / factor, t.p90_ns / factor)

        floors = [(p.x, t.floor_ns / factor) for p, t in points if t.floor_ns is not None]
        if floors:
            draw_floor(axes, floors, strand.colour)
            floor_ends.append((floors[-1][1], strand.colour))
        draw_curve(axes, points, lambda _, t: t.median_ns / factor, strand.colour, band)
        ends.append((points[-1][1].median_ns / factor, strand.label, strand.colour))
        knee = strand.sweep.knees[strand.series.label]
        if knee.batch is not None and phase == strand.sweep.throughput:
            at = next(t.median_ns for p, t in points if p.x == knee.batch)
            draw_knee(axes, knee.batch, at / factor, strand.colour)
    for name, limit in limits.items():
        text = f"SLO {name} {duration(limit)}"
        if name in near:
            draw_slo(axes, limit / factor, text)
        else:
            axes.text(
                0.02, 0.97, f"{text}: far above", transform=axes.transAxes, va="top", fontsize=8, color=SOFT, bbox=PLATE
            )
    draw_failed(axes, drawn)
    label_curves(axes, [*ends, *floor_names(floor_ends)])
