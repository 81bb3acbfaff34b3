"""How does a summary look on a page: HTML that reads well with our style sheet and without any.

Nothing here is markup that came from a trace: `_text` escapes every string.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

from profkit.views.content import PHASE_HEAD, Content, KeyFigure, PhaseRow, Slice, WorkRow
from profkit.views.format import NOT_AVAILABLE, clean, cut, duration, share, short_name
from profkit.views.sheet import Sheet
from profkit.views.style import css

_NAME_WIDTH: Final = 64
_TOOLTIP: Final = 900
"""Characters of a whole kernel name, as escaped. Longer tooltips hide the table that they explain, and
an output is kept in every notebook."""
_LINE_WIDTH: Final = 600
_LINES: Final = 12
"""A longer warning, and more of them, belong into the record, not on its first page."""
_NUMBER: Final = ' class="pk-s-n"'


def fragment(content: Content) -> str:
    """The whole summary with its style sheet; a `div`, no script."""
    return f'<style>{css()}</style>\n<div class="pk-s">\n{body(content)}\n</div>\n'


def body(content: Content) -> str:
    """The summary without its style sheet."""
    return "\n".join(_parts(content))


def sheet(content: Sheet, picture: str = "") -> str:
    """A result in words and tables, with its style sheet; `picture` is SVG of our own, shown below the figures."""
    lines = [
        f'<p class="pk-s-title"><strong>{_text(content.title, 80)}</strong> <span>{_text(content.byline)}</span></p>'
    ]
    lines.append(f'<p class="pk-s-sentence">{_text(content.sentence)}</p>')
    lines.append(_table("pk-s-figures", "", (), map(_key_figure, content.figures)))
    lines.append(picture)
    for table in content.tables:
        rows = ("".join(_cells(row, table.words)) for row in table.rows)
        lines.append(_table("pk-s-top", table.caption, _head(table.head, table.words), rows))
    for title, entries in (*content.lists, ("Notes", content.notes)):
        lines += _list(title, [(entry, "") for entry in entries])
    return f'<style>{css()}</style>\n<div class="pk-s">\n{"".join(lines)}\n</div>\n'


def _cells(row: tuple[str, ...], words: int) -> Iterator[str]:
    for at, cell in enumerate(row):
        yield f"<td{_NUMBER if at >= words else ''}>{_text(cell)}</td>"


def _parts(content: Content) -> Iterator[str]:
    name, byline = _text(content.name, 80), _text(content.byline)
    yield f'<p class="pk-s-title"><strong>{name}</strong> <span>{byline}</span></p>'
    if content.error:
        yield f'<p class="pk-s-error"><strong>The cell raised</strong> <code>{_text(content.error)}</code></p>'
    yield f'<p class="pk-s-sentence">{_text(content.sentence)}</p>'
    yield from _list("What to change first", content.findings)
    yield _table("pk-s-figures", "", (), map(_key_figure, content.figures))
    if content.bar:
        segments = "".join(map(_segment, content.bar))
        yield f'<div class="pk-s-bar" aria-hidden="true">{segments}</div>'
        yield _table("pk-s-legend", content.bar_title, (), map(_legend, content.bar))
    if content.phases:
        yield _table("pk-s-phases", "Prefill and decode", _head(PHASE_HEAD, 1), map(_phase, content.phases))
    if content.top:
        yield work_table(content.top_title, content.top)
    yield from _list("Memory", [(line, "") for line in content.memory])
    yield from _list("Warnings", [(warning, "") for warning in content.warnings])
    yield from _list("Not measured", content.missing)
    if content.link:
        yield f'<p>Record: <a href="{_text(quote(content.link))}">{_text(content.link)}</a></p>'


def work_table(caption: str, rows: Iterable[WorkRow]) -> str:
    """Kernels or operators with their kind, times and share."""
    head = _head(("kind", "name", "count", "total", "mean", "share"), 2)
    return _table("pk-s-top", caption, head, map(_work, rows))


def _head(names: tuple[str, ...], words: int) -> tuple[str, ...]:
    """Cells of a head whose first `words` columns hold words, the others numbers."""
    return tuple(f'<th scope="col"{_NUMBER if at >= words else ""}>{_text(name)}</th>' for at, name in enumerate(names))


def _table(kind: str, caption: str, head: tuple[str, ...], rows: Iterable[str]) -> str:
    top = f"<caption>{_text(caption)}</caption>" if caption else ""
    top += f"<thead><tr>{''.join(head)}</tr></thead>" if head else ""
    lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="{kind}">{top}<tbody>\n{lines}\n</tbody></table>'


def _key_figure(figure: KeyFigure) -> str:
    note = f" <small>{_text(figure.note)}</small>" if figure.note else ""
    value = _text(figure.value)
    strong = f"<b>{value}</b>" if figure.value != NOT_AVAILABLE else value
    return f'<th scope="row">{_text(figure.label)}</th><td>{strong}{note}</td>'


def _segment(part: Slice) -> str:
    return f'<span class="{_colour_class(part.key, part.idle)}" style="width:{100 * part.share:.3f}%"></span>'


def _legend(part: Slice) -> str:
    chip = _chip(part.key, part.idle)
    return (
        f'<th scope="row">{chip}{_text(part.label)}</th>'
        f"<td{_NUMBER}>{duration(part.ns)}</td><td{_NUMBER}>{share(part.share)}</td>"
    )


def _phase(row: PhaseRow) -> str:
    cells = (row.steps, row.tokens, row.time, row.host, row.gpu)
    return f'<th scope="row">{_text(row.phase)}</th>' + "".join(f"<td{_NUMBER}>{_text(cell)}</td>" for cell in cells)


def _work(row: WorkRow) -> str:
    tooltip = _text(row.name, _TOOLTIP * len(row.name) // max(len(html.escape(row.name)), 1))
    return (
        f"<td>{_chip(row.kind)}{_text(row.kind)}</td>"
        f'<td title="{tooltip}"><code>{_text(short_name(row.name, _NAME_WIDTH))}</code></td>'
        f"{_numbers(row.count, row.total, row.mean, row.share)}"
    )


def _numbers(*cells: str) -> str:
    return "".join(f"<td{_NUMBER}>{_text(cell)}</td>" for cell in cells)


def _chip(key: str, idle: bool = False) -> str:
    return f'<span class="pk-s-chip {_colour_class(key, idle)}"></span>'


def _colour_class(key: str, idle: bool) -> str:
    return f"pk-s-k-{_text(key)}" + (" pk-s-idle" if idle else "")


def _list(title: str, lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    if not lines:
        return
    items = [f"{_text(what)}: {_text(then)}" if then else _text(what) for what, then in lines[:_LINES]]
    if len(lines) > _LINES:
        items.append(f"and {len(lines) - _LINES} more in the record")
    yield f"<p><strong>{title}</strong></p><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _text(text: str, width: int = _LINE_WIDTH) -> str:
    return html.escape(cut(clean(text), width), quote=True)
