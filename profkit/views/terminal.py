"""How does a summary look in a terminal: plain text of at most `WIDTH` columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from profkit.views.content import PHASE_HEAD, Content, KeyFigure
from profkit.views.format import columns, cut, duration, pad, share, short_name
from profkit.views.sheet import Sheet

WIDTH: Final = 100
_BAR: Final = 30
_NAME: Final = 50
_NOTE: Final = 52
_INDENT: Final = "  "


def text(content: Content) -> str:
    """The whole summary."""
    return "\n".join(cut(line.rstrip(), WIDTH) for line in _lines(content))


def sheet(content: Sheet) -> str:
    """A result in words and tables."""
    return "\n".join(cut(line.rstrip(), WIDTH) for line in _sheet_lines(content))


def _sheet_lines(content: Sheet) -> Iterator[str]:
    yield from _wrapped(f"{content.title} · {content.byline}")
    yield ""
    yield from _wrapped(content.sentence)
    yield ""
    yield from _aligned([row for figure in content.figures for row in _figure_rows(figure)], right=(1,))
    for table in content.tables:
        yield from ("", table.caption)
        yield from _aligned([table.head, *table.rows], right=tuple(range(table.words, len(table.head))))
    for title, entries in (*content.lists, ("Notes", content.notes)):
        yield from _list(title, [(entry, "") for entry in entries])


def _lines(content: Content) -> Iterator[str]:
    yield from _wrapped(f"{cut(content.name, 40)} · {content.byline}")
    if content.error:
        yield from _wrapped(f"The cell raised {content.error}")
    yield ""
    yield from _wrapped(content.sentence)
    yield from _list("What to change first", content.findings)
    yield ""
    yield from _aligned([row for figure in content.figures for row in _figure_rows(figure)], right=(1,))
    if content.bar:
        yield from ("", content.bar_title)
        yield from _aligned(
            [(part.label, duration(part.ns), share(part.share), _bar(part.share)) for part in content.bar],
            right=(1, 2),
        )
    if content.phases:
        rows = [(row.phase, row.steps, row.tokens, row.time, row.host, row.gpu) for row in content.phases]
        yield ""
        yield from _aligned([PHASE_HEAD, *rows], right=(1, 2, 3, 4, 5))
    if content.top:
        head = ("kind", "name", "count", "total", "mean", "share")
        work = [
            (row.kind, short_name(row.name, _NAME), row.count, row.total, row.mean, row.share) for row in content.top
        ]
        yield from ("", content.top_title)
        yield from _aligned([head, *work], right=(2, 3, 4, 5))
    yield from _list("Memory", [(line, "") for line in content.memory])
    yield from _list("Warnings", [(warning, "") for warning in content.warnings])
    yield from _list("Not measured", content.missing)
    if content.link:
        yield from ("", f"Record: {content.link}")


def _figure_rows(figure: KeyFigure) -> list[tuple[str, str, str]]:
    """One row, and more where the note is long."""
    first, *more = textwrap.wrap(figure.note, _NOTE) or [""]
    return [(figure.label, figure.value, first), *(("", "", line) for line in more)]


def _aligned(rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> Iterator[str]:
    """Rows with their columns under each other; those in `right` end at one edge."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (pad(cell, width, right=at in right) for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
        yield _INDENT + "  ".join(cells)


def _bar(part: float) -> str:
    eighths = round(max(min(part, 1.0), 0.0) * _BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _list(title: str, lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield from ("", title)
    for what, then in lines:
        yield from _wrapped(f"{what}: {then}" if then else what, _INDENT)


def _wrapped(line: str, indent: str = "") -> list[str]:
    return textwrap.wrap(line, WIDTH, initial_indent=indent, subsequent_indent=indent + _INDENT) or [""]
