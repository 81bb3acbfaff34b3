"""How much of what the GPU allows does each point of a sweep reach, in prefill and in decode?"""

from __future__ import annotations

from collections.abc import Sequence

from profkit.analysis.sweep import SweepPhase
from profkit.analysis.sweep_curves import SweepCurves
from profkit.views import sweep_words as words
from profkit.views.figures.base import ReportFigure, style
from profkit.views.figures.roofline import draw_roofline
from profkit.views.figures.sweep.base import page
from profkit.views.format import share


def lacks(sweeps: Sequence[SweepCurves]) -> str | None:
    """What the sweeps are short of."""
    roof = sweeps[0].roofline
    if roof is None:
        return f"no roof: {sweeps[0].floors.reason}"
    return None if roof.points else "no point with known work was measured"


def draw(sweeps: Sequence[SweepCurves]) -> ReportFigure:
    """The points of the first sweep under its GPU's roof; of a second one too, if the GPU is the same."""
    roof = sweeps[0].roofline
    assert roof is not None
    decode = [point for point in roof.points if point.group == SweepPhase.DECODE] or list(roof.points)
    best = max(decode, key=roof.share)
    with style():
        title = f"{best.group.capitalize()} reaches {share(roof.share(best))} of the roof at best, at {best.label}"
        subtitle = f"Work counted from the model's shape; roof at {words.ceilings(sweeps[0].floors)}"
        figure, low = page(title, subtitle, sweeps[:1])
        draw_roofline(figure.add_axes((0.07, low, 0.8, 0.855 - low)), roof)
    return figure
