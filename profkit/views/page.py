"""How does the interactive view live on a page without a kernel: its code and every answer lie in the page.

`frontend/src/offline.ts` answers the view's requests from them. Nothing of a trace is markup there: the answers
are JSON in which no "<" is left, and the page runs the one script whose hash its policy names.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, get_args

from profkit.analysis.kernels import By
from profkit.record import Record
from profkit.views import bundle, palette
from profkit.views.format import clean
from profkit.views.widgets import protocol
from profkit.views.widgets.profile import hardware
from profkit.views.widgets.tables import NEEDED, TABLES, table

_CLASS: Final = "profkit-page"


def interactive(record: Record) -> str:
    """The data and the code of the view, as two scripts: it appears between them."""
    source = json.dumps({"traits": _traits(record), "replies": list(_replies(record))})
    return (
        f'<script type="application/json" class="{_CLASS}">{source.replace("<", chr(92) + "u003c")}</script>\n'
        f'<script type="module">{_script()}</script>'
    )


def policy() -> str:
    """The page's content security policy: our script and our styles, pictures in the page, and no request."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"


def view_style() -> str:
    """The view's style sheet."""
    return bundle.STYLE.read_text(encoding="utf-8")


def _script() -> str:
    code = bundle.SCRIPT.read_text(encoding="utf-8").strip()
    assert "</script" not in code.lower()  # it would end there
    return code


def _traits(record: Record) -> dict[str, Any]:
    """What the widget knows before it has asked anything."""
    return {
        "kind": "profile",
        "title": clean(record.meta.name),
        "subtitle": clean(hardware(record)),
        "tab": _first_tab(record),
        "_palette": palette.as_json(),
    }


def _first_tab(record: Record) -> str:
    return "timeline" if len(record.events) else "steps" if len(record.steps) else "overview"


def _replies(record: Record) -> Iterator[dict[str, Any]]:
    """Every answer that the view can ask for, packed."""
    for what, options in _requests(record):
        content, buffers = table(record, what, options).message(what, protocol.SMALL, pack=True)
        yield {
            "key": json.dumps([what, options], separators=(",", ":")),
            "content": content,
            "buffers": [base64.b64encode(data).decode() for data in buffers],
        }


def _requests(record: Record) -> Iterator[tuple[str, dict[str, Any]]]:
    for what in TABLES:
        if what not in NEEDED:
            yield what, {}
    for by in get_args(By):
        yield "kernels", {"by": by}
    about = table(record, "timeline", {}).info
    for level in range(about["levels"]):
        yield "strips", {"level": level + 1}
    for index in range(len(about["tiles"])):
        yield "tile", {"index": index}
