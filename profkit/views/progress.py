"""How far is a sweep: a bar in a notebook, a line in a terminal, one sentence when it is done."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from profkit.views.format import clean, duration

_BAR: Final = 24


class Progress:
    """Shows how many points are done, which one runs, and about how long the rest takes.

    Args:
        shown: False shows nothing.
        now: the clock, ns.
    """

    def __init__(self, shown: bool = True, now: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now = now
        self._began = now()
        self._first: int | None = None  # points that were done when it began
        self._handle: Any = None
        self._notebook = shown and _in_notebook()
        self._terminal = shown and not self._notebook and sys.stderr.isatty()

    def at(self, done: int, total: int, words: str) -> None:
        """A point is about to run."""
        if self._first is None:
            self._first = done
        self._show(f"{done} of {total} points · {words}{self._left(done, total)}", done / max(total, 1))

    def end(self, words: str) -> None:
        """All is done, or was interrupted; the last sentence stays."""
        self._show(words, None)
        if self._terminal:
            sys.stderr.write("\n")

    def _left(self, done: int, total: int) -> str:
        measured = done - (self._first or 0)
        if measured <= 0:
            return ""
        return f" · about {duration((self._now() - self._began) / measured * (total - done))} left"

    def _show(self, words: str, share: float | None) -> None:
        words = clean(words)
        if self._terminal:
            filled = "" if share is None else "█" * round(share * _BAR) + "░" * (_BAR - round(share * _BAR)) + " "
            sys.stderr.write(f"\r\x1b[K{filled}{words}")
            sys.stderr.flush()
        elif self._notebook:
            self._display(words, share)

    def _display(self, words: str, share: float | None) -> None:
        from IPython import display

        bar = "" if share is None else f'<progress value="{share:.4f}" max="1"></progress> '
        bundle = {"text/html": f"<div>{bar}<small>{html.escape(words)}</small></div>", "text/plain": words}
        if self._handle is None:
            self._handle = display.display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


def _in_notebook() -> bool:
    """Whether a kernel runs this code; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
