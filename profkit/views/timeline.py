"""What the views of a timeline share: one layout of a record, and what a class of events looks like."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from profkit.analysis import timeline as analysis
from profkit.analysis.timeline import CLASSES, Details, Timeline
from profkit.record import Record
from profkit.views import palette

_KEPT: Final = 2
"""Layouts that are kept: a view asks for many tiles of one record."""
_HOST: Final = {
    "call": (("side", "host"), "CUDA call"),
    "region": (("page", "faint"), "region"),
    "python": (("page", "faint"), "Python frame"),
    "profiler": (("page", "grid"), "profiler's own work"),
}
"""Colour and label of what is no kind of work, idle time or phase."""


@dataclass(frozen=True)
class Layout:
    """A timeline, and what is found out about its events when one is looked at."""

    timeline: Timeline
    record: weakref.ref[Record]

    @cached_property
    def details(self) -> Details:
        """Attributes, links and operators of the events; the record must be alive."""
        record = self.record()
        assert record is not None  # whoever asks holds it
        return analysis.details(self.timeline, record)


_layouts: dict[int, Layout] = {}
"""By the record's id, the newest last; none outlives its record."""


def layout(record: Record) -> Layout:
    """The record's timeline, laid out once."""
    found = _layouts.pop(id(record), None)
    if found is None or found.record() is not record:
        found = Layout(analysis.timeline(record), weakref.ref(record))
        weakref.finalize(record, _layouts.pop, id(record), None).atexit = False
    _layouts[id(record)] = found
    while len(_layouts) > _KEPT:
        del _layouts[next(iter(_layouts))]
    return found


def meaning(code: int) -> tuple[tuple[str, str], str]:
    """A class's colour, as group and name in the palette, and its label."""
    group, name = CLASSES[code]
    if group == "host":
        return _HOST[name]
    if group == "idle":
        return (group, name), f"idle: {_IDLE[name]}"
    return (group, name), name


_IDLE: Final = {str(cause): label for cause, label in palette.IDLE_LABELS.items()}
