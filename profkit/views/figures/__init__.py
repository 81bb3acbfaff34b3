"""Figures for print and review: which kinds there are, and which of them a record can fill.

A figure is a module of its kind's name with two functions: `lacks(record)`, what the record is short of
or None, and `draw(record, ...)`. matplotlib is imported when the first one is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, Protocol, cast

from profkit.errors import OptionError, nearest
from profkit.record import Record

if TYPE_CHECKING:
    from profkit.views.figures.base import ReportFigure

FIGURES: Final[dict[str, str]] = {
    "timeline": "What ran when, and why was the GPU idle in between?",
    "kernels": "Which kernels took the time?",
    "steps": "How long did each step take, and what of it was work?",
    "kv": "How did the KV cache grow, and what else is in the GPU's memory?",
    "memory": "What filled the GPU's memory?",
    "telemetry": "What did the GPU draw and do meanwhile?",
}
"""Kinds of figures and the question that each answers, in the order of a report."""


class _Figure(Protocol):
    def lacks(self, record: Record) -> str | None: ...
    def draw(self, record: Record, window: tuple[int, int] | None = None) -> ReportFigure: ...


def figure(record: Record, kind: str, window: tuple[int, int] | None = None) -> ReportFigure:
    """One figure of a record, a `matplotlib.figure.Figure`.

    Args:
        record: the profile.
        kind: one of `FIGURES`.
        window: of "timeline": from when to when, ns.

    Raises:
        OptionError: no such kind, or a window that is not in the record.
        MissingDataError: the record cannot fill it; the message says what is missing and what to do.
    """
    if kind not in FIGURES:
        raise OptionError(f"no figure {kind!r}{nearest(kind, FIGURES)}")
    module = _module(kind)
    reason = module.lacks(record)
    if reason is not None:
        from profkit.views.figures.base import MissingDataError

        raise MissingDataError(f"figure {kind!r}: {reason}")
    if window is None:
        return module.draw(record)
    if kind != "timeline":
        raise OptionError(f"figure {kind!r} takes no window: only 'timeline' does")
    return module.draw(record, window)


def available(record: Record) -> list[str]:
    """The kinds that a record can fill."""
    return [kind for kind in FIGURES if _module(kind).lacks(record) is None]


def _module(kind: str) -> _Figure:
    return cast(_Figure, importlib.import_module(f"profkit.views.figures.{kind}"))
