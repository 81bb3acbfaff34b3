"""What do our widgets share: one bundle, a title, tabs, and an answer to every request."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from profkit.errors import ProfkitError
from profkit.views import bundle, palette
from profkit.views.format import clean
from profkit.views.widgets import protocol


class TabbedView(anywidget.AnyWidget):
    """Tabs over numbers that are computed when a tab asks for them.

    They travel as binary messages: a saved notebook holds the code of the view and none of the data. A subclass has a
    trait `tab` and answers in `_reply`; `kind` tells the browser which tabs there are.
    """

    _esm = bundle.SCRIPT
    _css = bundle.STYLE

    kind = traitlets.Unicode("profile").tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    subtitle = traitlets.Unicode().tag(sync=True)
    tab: str | traitlets.Enum[str]
    _palette = traitlets.Dict().tag(sync=True)

    def __init__(self, title: str, subtitle: str, **traits: Any) -> None:
        super().__init__(title=clean(title), subtitle=clean(subtitle), _palette=palette.as_json(), **traits)
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.title!r}: run the cell, or profkit.load(...) its file, to see it>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        # The first tab travels ahead of its request: in a Run All the kernel answers none until the last cell.
        self._answer(protocol.UNASKED, self.tab, {})
        return super()._repr_mimebundle_(**kwargs)

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        match content:
            case {"kind": "get", "id": str(identity), **request}:
                self._answer(identity, request.pop("what", None), request)

    def _answer(self, identity: str, what: object, options: dict[Any, Any]) -> None:
        """Reply to a request for a table; every request gets a reply."""
        try:
            content, buffers = self._reply(what, options)
        except ProfkitError as error:
            self.send({"kind": "error", "id": identity, "message": str(error)})
        except Exception as error:
            self.send({"kind": "error", "id": identity, "message": f"{type(error).__name__}: {error}"})
            raise
        else:
            self.send({**content, "id": identity}, buffers)

    def _reply(self, what: object, options: dict[Any, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """The message that answers a request, but for its id, and its buffers."""
        raise NotImplementedError
