"""A profile in tabs: overview, kernels, steps, telemetry."""

from __future__ import annotations

from typing import Any, Final

import anywidget
import traitlets

from profkit.errors import OptionError, ProfkitError, nearest
from profkit.record import Record
from profkit.views import bundle, palette
from profkit.views.widgets.protocol import Table
from profkit.views.widgets.tables import table

TABS: Final = ("overview", "kernels", "steps", "telemetry")


class ProfileView(anywidget.AnyWidget):
    """One record. The numbers are computed when a tab asks for them, and travel as binary messages:
    a saved notebook holds the code of the view and none of the data.
    """

    _esm = bundle.SCRIPT
    _css = bundle.STYLE

    title = traitlets.Unicode().tag(sync=True)
    subtitle = traitlets.Unicode().tag(sync=True)
    tab = traitlets.Enum(TABS, default_value="overview").tag(sync=True)
    _palette = traitlets.Dict().tag(sync=True)

    selection = traitlets.Dict(allow_none=True, default_value=None)
    """What was last selected in the browser: {"what": "step", "row": 12}. Observe it."""

    def __init__(self, record: Record, tab: str = "overview") -> None:
        if tab not in TABS:
            raise OptionError(f"ProfileView(tab={tab!r}): no such tab{nearest(tab, TABS)}")
        self._record = record
        self._replies: dict[str, tuple[dict[str, Any], list[bytes]]] = {}
        gpus = record.meta.environment.get("gpus") or []
        super().__init__(
            title=record.meta.name,
            subtitle=", ".join(dict.fromkeys(str(gpu.get("name", "GPU")) for gpu in gpus)) or "no GPU",
            tab=tab,
            _palette=palette.as_json(),
        )
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return f"<ProfileView of {self.title!r}: run the cell, or profkit.load(...) its file, to see it>"

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        match content.get("kind"):
            case "get":
                self._answer(content)
            case "select":
                row = content.get("row")
                self.selection = None if row is None else {"what": content.get("what"), "row": row}

    def _answer(self, request: dict[str, Any]) -> None:
        """Reply to a request for a table; every request gets a reply."""
        options = {key: value for key, value in request.items() if key not in ("kind", "id", "what")}
        identity = {"id": request.get("id")}
        try:
            content, buffers = self._reply(request.get("what"), options)
        except ProfkitError as error:
            self.send({"kind": "error", "message": str(error), **identity})
        except Exception as error:
            self.send({"kind": "error", "message": f"{type(error).__name__}: {error}", **identity})
            raise
        else:
            self.send({**content, **identity}, buffers)

    def _reply(self, what: object, options: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        key = repr((what, sorted(options.items())))
        if key not in self._replies:
            answer: Table = table(self._record, what, options)
            self._replies[key] = answer.message(str(what))
        return self._replies[key]
