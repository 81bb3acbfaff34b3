"""A profile in tabs: overview, timeline, kernels, steps, telemetry."""

from __future__ import annotations

import base64
import os
import weakref
from collections import Counter
from pathlib import Path
from typing import Any, Final

import traitlets

from profkit.errors import OptionError, RecordError, nearest
from profkit.formats import archive
from profkit.record import Record
from profkit.views.widgets.base import TabbedView
from profkit.views.widgets.tables import table

TABS: Final = ("overview", "timeline", "kernels", "steps", "kv", "telemetry")
_UNKEPT: Final = ("tile",)
"""Replies that are many and soon made again."""
_reopened: list[Record] = []
"""The record that was last read again from its file: a view asks for many parts of it, and nobody else holds it."""


class ProfileView(TabbedView):
    """One record in tabs.

    The numbers are computed when a tab asks for them, and travel as binary messages: a saved notebook holds
    the code of the view and none of the data. A notebook's views live as long as its kernel; one whose record
    is saved at `path` does not keep it in memory, and reads it again if it is asked later. With `picture` a
    static timeline goes with it, for pages on which no widget lives.

    Raises:
        OptionError: there is no such tab.
    """

    tab = traitlets.Enum(TABS, default_value="overview").tag(sync=True)

    selection: Any = traitlets.Dict(allow_none=True, default_value=None)
    """What was last selected in the browser: {"what": "step", "row": 12}. Observe it."""

    def __init__(
        self,
        record: Record,
        tab: str = "overview",
        path: str | os.PathLike[str] | None = None,
        picture: bool = False,
    ) -> None:
        if tab not in TABS:
            raise OptionError(f"ProfileView(tab={tab!r}): no such tab{nearest(tab, TABS)}")
        self._saved = None if path is None else Path(path).absolute()
        self._held = record if path is None else None
        self._seen = weakref.ref(record)
        self._id = record.meta.id
        self._picture = picture
        self._replies: dict[str, tuple[dict[str, Any], list[bytes]]] = {}
        super().__init__(record.meta.name, hardware(record), tab=tab)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if self._picture and bundle is not None:
            from profkit.views.picture import timeline_png

            still = timeline_png(self._record())
            bundle[0].update({"image/png": base64.b64encode(still).decode()} if still else {})
        return bundle

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        match content:
            case {"kind": "select", "what": "step", "row": int(row)}:
                self.selection = {"what": "step", "row": row}
            case {"kind": "select", "row": None}:
                self.selection = None
            case _:
                super()._on_message(_widget, content, _buffers)

    def _reply(self, what: object, options: dict[Any, Any]) -> tuple[dict[str, Any], list[bytes]]:
        key = repr((what, sorted(options.items())))
        reply = self._replies.get(key) or table(self._record(), what, options).message(str(what))
        if self._held is not None and what not in _UNKEPT:
            self._replies[key] = reply
        return reply

    def _record(self) -> Record:
        record = self._held or self._seen()
        if record is None:
            assert self._saved is not None
            record = archive.load(self._saved)
            if record.meta.id != self._id:
                raise RecordError(f"{self._saved} holds a newer profile by now: run the cell again to see this one")
            self._seen = weakref.ref(record)
            _reopened[:] = [record]
        return record


def hardware(record: Record) -> str:
    """The GPUs that a profile saw, in words."""
    gpus = Counter(str(gpu.get("name", "GPU")) for gpu in record.meta.environment.get("gpus") or [])
    return ", ".join(f"{n} × {gpu}" if n > 1 else gpu for gpu, n in gpus.items()) or "no GPU"
