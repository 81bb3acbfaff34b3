"""Figures of a sweep: which kinds there are, and which of them it can fill.

A figure is a module of its kind's name with two functions: `lacks(sweeps)`, what they are short of or None, and
`draw(sweeps)`. With two sweeps they share the axes, each curve named by its sweep.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from profkit.analysis.sweep_curves import SweepCurves
from profkit.errors import OptionError, nearest

if TYPE_CHECKING:
    from profkit.views.figures.base import ReportFigure

FIGURES: Final[dict[str, str]] = {
    "latency": "How long do a prefill and a decode step take, and how near is that to the floor?",
    "throughput": "How many tokens a second, and from which batch on is more batch worth less?",
    "pareto": "Which points trade latency against throughput best?",
    "energy": "What does a token cost in joules and dollars?",
    "roofline": "How much of what the GPU allows does each point reach?",
}
"""Kinds of figures and the question that each answers, in the order of a report."""


class _Figure(Protocol):
    def lacks(self, sweeps: Sequence[SweepCurves]) -> str | None: ...
    def draw(self, sweeps: Sequence[SweepCurves]) -> ReportFigure: ...


def figure(curves: SweepCurves, kind: str, overlay: SweepCurves | None = None) -> ReportFigure:
    """One figure of a sweep, a `matplotlib.figure.Figure`.

    Args:
        curves: the sweep.
        kind: one of `FIGURES`.
        overlay: another sweep to draw over the first.

    Raises:
        OptionError: no such kind, or the sweeps have different axes along x.
        MissingDataError: the sweep cannot fill it; the message says what is missing and what to do.
    """
    if kind not in FIGURES:
        raise OptionError(f"no figure {kind!r} of a sweep{nearest(kind, FIGURES)}")
    sweeps = [curves] if overlay is None else [curves, overlay]
    if overlay is not None and overlay.axis != curves.axis:
        raise OptionError(
            f"one sweep runs along {curves.axis!r}, the other along {overlay.axis!r}: they share no x axis"
        )
    module = _module(kind)
    reason = module.lacks(sweeps)
    if reason is not None:
        from profkit.views.figures.base import MissingDataError

        raise MissingDataError(f"figure {kind!r}: {reason}")
    return module.draw(sweeps)


def available(curves: SweepCurves) -> list[str]:
    """The kinds that a sweep can fill."""
    return [kind for kind in FIGURES if _module(kind).lacks([curves]) is None]


def _module(kind: str) -> _Figure:
    return cast(_Figure, importlib.import_module(f"profkit.views.figures.sweep.{kind}"))
