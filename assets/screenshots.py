"""Pictures of the profile's tabs in a real JupyterLab: python assets/screenshots.py RECORD [OUTPUT]."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser.lab import Lab, chromium, jupyterlab  # noqa: E402  (the tests' own JupyterLab)
from playwright.sync_api import Browser, Page  # noqa: E402

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
TABS = ("Overview", "Timeline", "Kernels", "Steps", "KV cache", "Telemetry")
CELL = """
from profkit.formats import archive
from profkit.views.widgets.profile import ProfileView
ProfileView(archive.load("record.profkit"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path, help="a .profkit file")
    parser.add_argument("output", type=Path, nargs="?", default=ROOT / "assets", help="folder for the pictures")
    parser.add_argument("--width", type=int, default=1180, help="of the window, CSS pixels")
    parser.add_argument("--scale", type=float, default=2, help="device pixels per CSS pixel")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, theme in THEMES.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            jupyterlab(Path(folder) / "lab", theme) as lab,
            chromium() as browser,
        ):
            shutil.copy(options.record, lab.root / "record.profkit")
            page = open_view(lab, browser, options.width, options.scale)
            for tab in TABS:
                show(page, tab)
                file = options.output / f"profile-{tab.lower().replace(' ', '-')}-{name}.png"
                page.locator(".pk").screenshot(path=file)
                print(file)


def open_view(lab: Lab, browser: Browser, width: int, scale: float) -> Page:
    """A notebook with one profile, run, and nothing else beside it."""
    page = browser.new_page(viewport={"width": width, "height": 1600}, device_scale_factor=scale)
    lab.open(page, lab.notebook("profile", CELL))
    page.keyboard.press("Control+b")  # the file browser
    lab.run_all(page)
    page.locator(".pk-panel:visible :is(.pk-figures, .pk-notice)").first.wait_for(timeout=20_000)
    lab.wait_idle(page)
    return page


def show(page: Page, tab: str) -> None:
    """Open a tab, with something under the cursor where there are curves."""
    page.locator(".pk-tab", has_text=tab).click()
    page.mouse.move(0, 0)
    panel = page.locator(".pk-panel:visible")
    panel.locator(".pk-figures, .pk-kernels, .pk-curve canvas, .pk-timeline-canvas, .pk-notice").first.wait_for()
    if tab == "Timeline":
        timeline(page)
        return
    plot = panel.locator(".pk-over").first
    if plot.count():
        box = plot.bounding_box()
        if tab == "Steps":
            page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + 40)
        page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + box["height"] / 2)
    page.wait_for_timeout(300)


def timeline(page: Page) -> None:
    """A few steps, with the longest kernel selected and the arrow from its launch."""
    panel = page.locator(".pk-panel:visible")
    panel.get_by_role("button", name="Longest kernel").click()
    panel.locator(".pk-event").wait_for()
    page.wait_for_timeout(1500)  # until all its events are here
    panel.locator(".pk-timeline-canvas").focus()
    for _ in range(5):
        page.keyboard.press("s")
        page.wait_for_timeout(300)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
