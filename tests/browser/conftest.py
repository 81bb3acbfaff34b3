"""One JupyterLab and one Chromium for all browser tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser.lab import Lab
    from playwright.sync_api import Browser, Page

FROM_HERE = re.compile(r"(http|ws)://127\.0\.0\.1:|data:|blob:|file:")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    from browser.lab import jupyterlab

    with jupyterlab(tmp_path_factory.mktemp("lab") / "lab") as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from browser.lab import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def window(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages that may neither fail in our script, nor ask anything of the internet, nor open a dialog."""
    wrong: list[str] = []

    def opened(**options: object) -> Page:
        page = chromium.new_page(**{"viewport": {"width": 1500, "height": 1400}, **options})
        # Ours is the only script that comes out of a blob; JupyterLab's own mishaps are not for these tests.
        page.on("pageerror", lambda error: "blob:" in str(error.stack) and wrong.append(str(error.stack)))
        page.on("request", lambda request: FROM_HERE.match(request.url) or wrong.append(request.url))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        return page

    yield opened
    assert wrong == []


@pytest.fixture
def other_page(window: Callable[..., Page]) -> Iterator[Page]:
    """For tests that need a notebook of their own: nothing that another left in its page comes back."""
    page = window()
    yield page
    page.close()
