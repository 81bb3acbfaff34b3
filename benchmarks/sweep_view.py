"""How soon is a sweep's view there: its numbers in the kernel, its picture in the browser? The promise is 0.5 s.

python benchmarks/sweep_view.py        (needs Chromium and Playwright for the browser's half)
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from unit import worked

from profkit.analysis.sweep_curves import sweep_curves
from profkit.views import bundle
from profkit.views.widgets.sweep import TABLES, SweepView

REPEATS = 5


def kernel_s(data) -> tuple[float, float, SweepView]:
    """Curves with floors, regimes and knees; the view with the reply of its first tab."""
    began = time.perf_counter()
    curves = sweep_curves(data)
    analysed = time.perf_counter()
    view = SweepView(curves)
    view._reply("curves", {})
    return analysed - began, time.perf_counter() - analysed, view


def page(view: SweepView) -> str:
    """The view as a page that holds its own replies."""
    replies = []
    for what in TABLES:
        content, buffers = view._reply(what, {})
        packed = [base64.b64encode(buffer).decode() for buffer in buffers]
        key = json.dumps([what, {}], separators=(",", ":"))
        replies.append({"key": key, "content": content, "buffers": packed})
    traits = {name: getattr(view, name) for name in ("kind", "title", "subtitle", "tab", "_palette")}
    source = json.dumps({"traits": traits, "replies": replies}).replace("</", "<\\/")
    return (
        f"<!doctype html><meta charset=utf-8><style>{bundle.STYLE.read_text()}</style><body>"
        f'<script type="application/json" class="profkit-page">{source}</script>'
        f'<script type="module">{bundle.SCRIPT.read_text()}</script>'
    )


def browser_s(view: SweepView) -> float | None:
    """From the page's start to the first frame with all plots; None without a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder, "view.html")
        file.write_text(page(view), encoding="utf-8")
        found = Path("/usr/bin/chromium")
        options = {"executable_path": str(found)} if found.exists() else {}
        browser = playwright.chromium.launch(args=["--no-sandbox", "--disable-gpu"], **options)
        times = []
        for _ in range(REPEATS):
            tab = browser.new_page(viewport={"width": 1100, "height": 900})
            tab.goto(file.as_uri())
            tab.wait_for_selector(".pk-plots canvas")
            drawn = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
            times.append(tab.evaluate(drawn) / 1e3)
            tab.close()
        browser.close()
    return median(times)


def main() -> None:
    rows = []
    for name, data in (("27 points", worked.graph()), ("72 points", worked.graph_of(8))):
        runs = [kernel_s(data) for _ in range(REPEATS)]
        analysis, view = (median(run[at] for run in runs) for at in (0, 1))
        browser = browser_s(runs[-1][2])
        rows.append(
            {
                "sweep": name,
                "curves, floors, fits s": round(analysis, 3),
                "view and first reply s": round(view, 3),
                "browser to first frame s": "no browser" if browser is None else round(browser, 3),
            }
        )
    report("sweep_view", rows)


if __name__ == "__main__":
    main()
