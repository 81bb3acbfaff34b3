"""Errors that profkit raises: what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ProfkitError(Exception):
    """Root of every error that profkit raises on purpose."""


class OptionError(ProfkitError):
    """An option or an argument that is unknown or has a value it cannot take."""


class ProfilerBusyError(ProfkitError):
    """A second profiler was started while one is running."""


class RecordError(ProfkitError):
    """A file that is not a record, is damaged, or is larger than we unpack."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint ``; did you mean 'x'?`` for a mistyped name, or the list of what is known."""
    options = sorted(known)
    match = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known are {', '.join(options)}" if options else ""
