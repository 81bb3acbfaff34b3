"""What a result that is no profile says: a title, a sentence, key figures and tables, the same in text and HTML."""

from __future__ import annotations

from dataclasses import dataclass

from profkit.views.content import KeyFigure


@dataclass(frozen=True)
class Table:
    """Cells as text; the first `words` columns hold words, the others numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


@dataclass(frozen=True)
class Sheet:
    """`html.sheet` and `terminal.sheet` show it."""

    title: str
    byline: str
    sentence: str
    figures: tuple[KeyFigure, ...]
    tables: tuple[Table, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()  # title, lines; without lines it is not shown
    notes: tuple[str, ...] = ()
