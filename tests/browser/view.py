"""One profile on a page, as a test handles it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from browser.lab import Lab
from playwright.sync_api import Locator, Page, expect


class View:
    """One profile on the page."""

    def __init__(self, page: Page, at: int = 0) -> None:
        self.page = page
        self.root = page.locator(".pk").nth(at)
        self.panel = self.root.locator(".pk-panel:visible")

    def tab(self, name: str) -> Locator:
        return self.root.get_by_role("tab", name=name, exact=True)

    def open(self, name: str) -> Locator:
        self.tab(name).click()
        expect(self.tab(name)).to_have_attribute("aria-selected", "true")
        expect(
            self.panel.locator(".pk-figures, .pk-kernels, .pk-curve canvas, .pk-timeline-canvas").first
        ).to_be_visible()
        return self.panel

    def names(self) -> list[str]:
        rows = self.panel.locator("tbody tr[aria-expanded]")
        return rows.evaluate_all("rows => rows.map(row => row.title)")  # at one moment: the table may be redrawn


def run(lab: Lab, page: Page, name: str, *cells: str) -> Page:
    """Open a notebook and run it."""
    lab.open(page, lab.notebook(name, *cells))
    lab.run_all(page)
    expect(page.locator(".pk-figures, .pk-timeline-canvas").last).to_be_visible(timeout=30_000)
    return page


def told(folder: Path) -> object:
    """What the kernel was last told to be selected."""
    file = folder / "selection.json"
    wait_until(file.exists)
    found = json.loads(file.read_text())
    file.unlink()
    return found


def pixels(panel: Locator) -> str:
    """What the first canvas shows."""
    return panel.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")


def wait_until(true: Callable[[], object], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
