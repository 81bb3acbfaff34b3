"""What do all figures share: size, fonts, title and caption, and the same bytes every time they are saved."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch

from profkit.analysis.summary import summarize
from profkit.errors import ProfkitError
from profkit.record import Record
from profkit.views import palette
from profkit.views.caption import caption
from profkit.views.format import clean, cut

SLIDE: Final = (10.0, 5.6)
"""Inches: a 16:9 slide; a figure of two columns in print."""
LEFT: Final = 0.02
TITLE_SIZE: Final = 13
LABEL_SIZE: Final = 9
_TITLE_COLUMNS: Final = 92
_CAPTION_COLUMNS: Final = 150
HATCH: Final = "////"
"""Idle time: the palette keeps its colours apart from those of work by this."""

_TINT: Final = 0.25
"""Under the hatch: a stretch too thin for a line of it is still seen."""

INK: Final = palette.TEXT.light
SOFT: Final = palette.FAINT.light
_RC: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": LABEL_SIZE,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a kernel's name is a "$"
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": palette.GRID.light,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": LABEL_SIZE,
    "ytick.labelsize": LABEL_SIZE,
    "hatch.linewidth": 0.9,
    "savefig.dpi": 150,
    "pdf.fonttype": 42,  # TrueType, embedded
    "svg.fonttype": "path",  # letters as shapes: no font is needed to read it
    "svg.hashsalt": "profkit",
}
_UNDATED: Final[dict[str, dict[str, None]]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


class MissingDataError(ProfkitError):
    """A figure that this record cannot fill."""


class ReportFigure(Figure):
    """A matplotlib figure that notebooks show without pyplot, and whose files are reproducible."""

    def savefig(
        self,
        fname: str | os.PathLike[Any] | IO[Any],
        *,
        transparent: bool | None = None,
        **options: Any,
    ) -> None:
        """As `Figure.savefig`, with fonts embedded and without the date."""
        kind = options.get("format") or (Path(fname).suffix[1:] if isinstance(fname, str | os.PathLike) else "png")
        options.setdefault("metadata", _UNDATED.get(str(kind).lower()))
        with style():
            super().savefig(fname, transparent=transparent, **options)

    def _repr_png_(self) -> bytes:
        return rendered(self, "png", dpi=100)


def style() -> AbstractContextManager[None]:
    """Our settings over matplotlib's own, whatever the notebook has set; put back at the end."""
    return matplotlib.style.context(["default", _RC])


def rendered(figure: Figure, kind: str, dpi: float | None = None) -> bytes:
    """The bytes of a figure's file."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=dpi or _RC["savefig.dpi"])
    return file.getvalue()


def canvas(title: str, record: Record) -> ReportFigure:
    """An empty figure with its title and the caption of the record; to be called inside `style()`."""
    return sheet(title, caption(summarize(record), record.meta))


def sheet(title: str, small_print: str) -> ReportFigure:
    """An empty figure with its title and its caption; to be called inside `style()`."""
    figure = ReportFigure(figsize=SLIDE, facecolor=palette.BACKGROUND.light)
    lines = textwrap.wrap(drawable(title), _TITLE_COLUMNS)[:2]
    figure.text(LEFT, 0.965, "\n".join(lines), fontsize=TITLE_SIZE, fontweight="bold", va="top")
    figure.text(LEFT, 0.02, cut(drawable(small_print), _CAPTION_COLUMNS), fontsize=7.5, color=SOFT, va="bottom")
    return figure


def drawable(text: str) -> str:
    """`text` on one line, with □ for what our font has no letter for."""
    letters = _letters()
    return "".join(char if ord(char) in letters else "□" for char in clean(text))


def legend(figure: Figure, entries: Iterable[tuple[str, str, bool]], y: float, x: float = LEFT) -> None:
    """A row of colour keys: label, colour, whether it stands for idle time."""
    patches = [patch(colour, idle, label) for label, colour, idle in entries]
    if patches:
        figure.legend(
            handles=patches,
            loc="upper left",
            bbox_to_anchor=(x - 0.004, y),
            ncols=len(patches),
            frameon=False,
            fontsize=LABEL_SIZE,
            handlelength=1.0,
            handleheight=0.9,
            handletextpad=0.5,
            columnspacing=1.4,
            borderpad=0,
        )


def patch(colour: str, idle: bool, label: str = "") -> Patch:
    """A rectangle as work (solid) or idle time (hatched) looks."""
    return Patch(**fill(colour, idle), label=drawable(label))


def fill(colour: str, idle: bool) -> dict[str, Any]:
    """How an area is drawn: work solid, idle time hatched."""
    if idle:
        # Mixed, not translucent: SVG's hatches know no alpha.
        tint = 1 - _TINT * (1 - np.array(to_rgb(colour)))
        return {"facecolor": tuple(tint), "edgecolor": colour, "hatch": HATCH, "linewidth": 0.0}
    return {"facecolor": colour, "edgecolor": "none", "linewidth": 0.0}


def apart(at: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Positions near `at`, in the same order, at least `distance` from each other, within [low, high].

    Where there is no room for that, they are spread evenly.
    """
    order = np.argsort(np.asarray(at, float), kind="stable")
    if len(order) > 1 and distance * (len(order) - 1) > high - low:
        distance = (high - low) / (len(order) - 1)
    placed = np.clip(np.asarray(at, float)[order], low, high)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + distance)
    if len(placed):
        placed[-1] = min(placed[-1], high)
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - distance)
    result = np.empty(len(placed))
    result[order] = placed
    return [float(value) for value in result]


def label_ends(axes: Axes, labels: Sequence[tuple[float, str, str]], x: float = 1.01, size: float = LABEL_SIZE) -> None:
    """Labels at the right edge of `axes`, beside what they name: value on the y axis, text, colour.

    They move apart where they would overlap.
    """
    low, high = axes.get_ylim()
    height_points = axes.get_position().height * SLIDE[1] * 72
    line = 1.35 * size / height_points * (high - low)
    for y, (_, text, colour) in zip(
        apart([value for value, _, _ in labels], line, low + line / 2, high - line / 2), labels, strict=True
    ):
        axes.text(
            x,
            y,
            drawable(text),
            transform=axes.get_yaxis_transform(),
            color=colour,
            fontsize=size,
            va="center",
        )


def time_unit(span_ns: float) -> tuple[float, str]:
    """Nanoseconds in the unit of a time axis this long: seconds from 10 s on, µs below 1 ms."""
    for limit, unit in ((10e9, (1e9, "s")), (1e6, (1e6, "ms"))):
        if span_ns >= limit:
            return unit
    return 1e3, "µs"


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
