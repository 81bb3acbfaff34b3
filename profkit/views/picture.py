"""How does a summary or a timeline look as one picture: for mails, chats and viewers that show no HTML."""

from __future__ import annotations

import io
from typing import Any, Final

from matplotlib.axes import Axes

from profkit.record import Record
from profkit.views import palette
from profkit.views.content import Content, KeyFigure, WorkRow
from profkit.views.figures.base import (
    INK,
    LEFT,
    SOFT,
    ReportFigure,
    drawable,
    fill,
    legend,
    style,
)
from profkit.views.format import NOT_AVAILABLE, cut, share, short_name

_SIZE: Final = (9.0, 5.0)
_DPI: Final = 100
_TILES: Final = 6
_ROWS: Final = 2
_TOP: Final = 6
"""Kernels in the picture; the table beside it has more."""
_NAME: Final = 52
_KEYS: Final = 4
_NOTE: Final = 24
"""Letters of a note that fit under its number; a longer one is left to the text."""
_COLOURS: Final = 256


def png(content: Content, dpi: float = _DPI) -> bytes:
    """Head line, key figures, the bar and the top kernels."""
    with style():
        figure = ReportFigure(figsize=_SIZE, facecolor=palette.BACKGROUND.light)
        _head(figure, content)
        known = [entry for entry in content.figures if entry.value != NOT_AVAILABLE]
        for at, entry in enumerate(known[: _TILES * _ROWS]):
            _tile(figure, entry, LEFT + (at % _TILES) * (1 - 2 * LEFT) / _TILES, 0.79 - 0.115 * (at // _TILES))
        if content.bar:
            _bar(figure, content)
        if content.top:
            _top(figure, content)
        return packed(figure, dpi)


def timeline_png(record: Record, dpi: float = _DPI) -> bytes | None:
    """The timeline as it stands in for the view; None of a record that has none."""
    from profkit.views.figures import timeline

    return None if timeline.lacks(record) else packed(timeline.draw(record), dpi)


def packed(figure: ReportFigure, dpi: float = _DPI) -> bytes:
    """As PNG with a palette: a third of the bytes, in every notebook that shows a profile."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    size = canvas.get_width_height()
    picture = Image.frombuffer("RGBA", size, canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB")
    file = io.BytesIO()
    # Median cut would merge a rare kind of work into a frequent one's colour.
    few = picture.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(file, "png", optimize=True)
    return file.getvalue()


def _head(figure: ReportFigure, content: Content) -> None:
    figure.text(LEFT, 0.955, drawable(cut(content.name, 26)), fontsize=14, fontweight="bold", va="center")
    figure.text(1 - LEFT, 0.955, drawable(cut(content.byline, 120)), fontsize=7, color=SOFT, ha="right", va="center")
    line = f"The cell raised {content.error}" if content.error else content.sentence
    colour = palette.ERROR.light if content.error else INK
    figure.text(LEFT, 0.885, drawable(cut(line, 104)), fontsize=9.5, color=colour, va="center")


def _tile(figure: ReportFigure, entry: KeyFigure, x: float, y: float) -> None:
    figure.text(x, y, drawable(entry.label), fontsize=7.5, color=SOFT, va="center")
    figure.text(x, y - 0.047, drawable(entry.value), fontsize=11.5, fontweight="bold", va="center")
    note = entry.note.split(",")[0].split("(")[0].split(";")[0].strip()
    if len(note) <= _NOTE:
        figure.text(x, y - 0.08, drawable(note), fontsize=6.5, color=SOFT, va="center")


def _bar(figure: ReportFigure, content: Content) -> None:
    axes = figure.add_axes((LEFT, 0.475, 1 - 2 * LEFT, 0.06))
    axes.set_axis_off()
    left = 0.0
    for part in content.bar:
        axes.barh(0, part.share, left=left, height=1, **fill(part.colour.light, part.idle))
        left += part.share
    axes.set_xlim(0, max(left, 1e-9))
    axes.set_ylim(-0.5, 0.5)
    figure.text(LEFT, 0.56, drawable(content.bar_title), fontsize=8.5, color=SOFT, va="center")
    largest = sorted(content.bar, key=lambda part: -part.ns)[:_KEYS]
    keys = [(f"{part.label} {share(part.share)}", part.colour.light, part.idle) for part in largest]
    legend(figure, keys, y=0.455)


def _top(figure: ReportFigure, content: Content) -> None:
    rows = content.top[:_TOP]
    axes: Axes = figure.add_axes((0.45, 0.03, 0.53, 0.315))
    axes.set_axis_off()
    axes.set_ylim(len(rows) - 0.4, -0.6)
    figure.text(LEFT, 0.37, drawable(content.top_title), fontsize=8.5, color=SOFT, va="center")
    longest = max(row.part for row in rows) or 1.0
    for y, row in enumerate(rows):
        _work(axes, row, y)
    axes.set_xlim(0, longest * 1.5)


def _work(axes: Axes, row: WorkRow, y: int) -> None:
    axes.barh(y, row.part, height=0.7, color=row.colour.light)
    axes.text(row.part, y, f"  {row.total} · {row.share} · {row.count} ×", va="center", fontsize=8)
    name = drawable(short_name(row.name, _NAME))
    axes.text(-0.012, y, name, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8)
