"""How does a profile show itself: one summary as text, HTML and picture, in one output."""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, Final

from profkit.analysis.summary import Summary
from profkit.views import html, terminal
from profkit.views.content import Content, describe

_KINDS: Final = ("text/plain", "text/html", "image/png")


@dataclass(frozen=True, repr=False)
class SummaryView(Summary):
    """A `Summary` that notebooks, GitHub and terminals can show. The data are those of `Summary`."""

    software: str = ""
    link: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data of the summary, without what belongs to its display."""
        return Summary(**_own(self)).to_dict()

    @property
    def content(self) -> Content:
        """Its words."""
        return describe(self, self.software, self.link)

    def __repr__(self) -> str:
        return terminal.text(self.content)

    def _repr_html_(self) -> str:
        return html.fragment(self.content)

    def _repr_png_(self) -> bytes:
        from profkit.views.picture import png  # matplotlib takes a moment: only who shows a picture waits for it

        return png(self.content)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        wanted = set(include or _KINDS) - set(exclude or ())
        bundle = {}
        if "text/plain" in wanted:
            bundle["text/plain"] = repr(self)
        if "text/html" in wanted:
            bundle["text/html"] = self._repr_html_()
        if "image/png" in wanted:
            bundle["image/png"] = base64.b64encode(self._repr_png_()).decode()
        return bundle


def shown(summary: Summary, link: str | None = None, software: str = "") -> SummaryView:
    """The summary, able to show itself.

    Args:
        summary: of one record.
        link: path to the saved record, relative to the notebook.
        software: versions for the title line (`caption.software`).
    """
    return SummaryView(**_own(summary), software=software, link=link)


def _own(summary: Summary) -> dict[str, Any]:
    return {field.name: getattr(summary, field.name) for field in fields(Summary)}
