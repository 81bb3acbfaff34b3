"""What does a token cost in joules and dollars along the batch?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from profkit.analysis.sweep import SweepPhase
from profkit.analysis.sweep_curves import CurvePoint, PhaseTimes, SweepCurves
from profkit.views.figures.base import SOFT, ReportFigure, style
from profkit.views.figures.sweep.base import (
    Strand,
    draw_curve,
    draw_failed,
    label_curves,
    page,
    set_x,
    set_y,
    strands,
)
from profkit.views.format import energy_per_token, number, power


def lacks(sweeps: Sequence[SweepCurves]) -> str | None:
    """What the sweeps are short of."""
    points = [point for sweep in sweeps for point in sweep.all_points()]
    if any(point.joules_per_token or point.cost_per_mtok for point in points):
        return None
    measured_first = sorted(points, key=lambda point: not point.phases)
    reason = sweeps[0].meta.not_measured.get("energy") or next(
        (point.energy_reason for point in measured_first if point.energy_reason), "no energy counter was read"
    )
    return f"no energy ({reason}), and no price: --price gives dollars per GPU hour"


def draw(sweeps: Sequence[SweepCurves]) -> ReportFigure:
    """Joules per output token, and beside it dollars per million where a price is known; of whole runs."""
    drawn = strands(sweeps)
    points = [point for sweep in sweeps for point in sweep.all_points()]
    panels = [
        panel
        for panel in (
            ("J per output token", lambda p, _: p.joules_per_token),
            ("$ per million output tokens", lambda p, _: p.cost_per_mtok),
        )
        if any(panel[1](point, None) for point in points)
    ]
    with style():
        figure, low = page(_title(sweeps), _subtitle(sweeps[0]), sweeps)
        width = 0.285 if len(panels) > 1 else 0.74
        for at, (label, value) in enumerate(panels):
            axes = figure.add_axes((0.065 + 0.495 * at, low, width, 0.825 - low))
            axes.set_title(label, loc="left", fontsize=10, color=SOFT)
            _panel(axes, drawn, value)
    return figure


def _title(sweeps: Sequence[SweepCurves]) -> str:
    known = [p for p in sweeps[0].all_points() if p.joules_per_token]
    if known:
        best = min(known, key=lambda p: p.joules_per_token or 0.0)
        return f"Least energy: {energy_per_token(best.joules_per_token)} at {best.label}"
    priced = [p for p in sweeps[0].all_points() if p.cost_per_mtok]
    if not priced:
        return "What a token costs"
    best = min(priced, key=lambda p: p.cost_per_mtok or 0.0)
    return f"Least cost: ${number(best.cost_per_mtok)} per million output tokens at {best.label}"


def _subtitle(sweep: SweepCurves) -> str:
    meta = sweep.meta
    said = ["Whole runs, prefill and idle power included"]
    if meta.idle_power_w is not None:
        said.append(f"idle, the GPU draws {power(meta.idle_power_w)}")
    if meta.price_per_gpu_hour is not None:
        gpus = f" × {meta.gpus} GPUs" if meta.gpus > 1 else ""
        said.append(f"price ${meta.price_per_gpu_hour:.2f} per GPU hour{gpus}")
    return " · ".join(said)


def _panel(axes: Axes, drawn: Sequence[Strand], value: Callable[[CurvePoint, PhaseTimes | None], float | None]) -> None:
    lines = [(s, [(p, t) for p, t in s.series.measured(SweepPhase.TOTAL) if value(p, t)]) for s in drawn]
    seen = [value(p, t) or 0.0 for _, points in lines for p, t in points]
    set_x(axes, drawn)
    set_y(axes, min(seen, default=0.0), max(seen, default=1.0), "")
    ends = []
    for strand, points in lines:
        if points:
            draw_curve(axes, points, value, strand.colour)
            ends.append((value(*points[-1]) or 0.0, strand.label, strand.colour))
    draw_failed(axes, drawn)
    label_curves(axes, ends)
