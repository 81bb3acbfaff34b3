"""The timeline in a real JupyterLab: zoom, pan, search, details, totals, and a kernel that goes away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import browser.needs  # noqa: F401  (skips this file where there is no browser)
import nbformat
import pytest
from browser.lab import Lab
from browser.view import View, pixels, run, told, wait_until
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Locator, Page, expect
from unit import records

from profkit.analysis.idle import idle
from profkit.analysis.kernels import kernels
from profkit.formats import archive
from profkit.record import EventKind, Record
from profkit.run import Run
from profkit.views import format as words

MS = records.MS
HOSTILE = "<img src=x onerror='window.stranger=1'><b>bold</b>{{7*7}}\u202etxt \N{ROCKET}" + "x" * 10_000
SETUP = """
import json
from pathlib import Path
import profkit
from profkit.formats import archive
from profkit.views.widgets.profile import ProfileView
"""
FIRST = """
first = ProfileView(archive.load("plain.profkit"), "timeline")
first.observe(lambda change: Path("selection.json").write_text(json.dumps(change.new)), "selection")
first
"""
SECOND = 'ProfileView(archive.load("plain.profkit"), "timeline")'
TEN = "\n".join(["from IPython.display import display", *["display(profkit.load('plain.profkit').timeline())"] * 10])
LISTEN = """() => {
    if (window.seen) return;
    window.seen = new WeakMap();
    addEventListener("pk-painted", (event) => window.seen.set(event.target, event.detail));
}"""
"""Remembers of each view what its last frame showed."""


@dataclass(frozen=True)
class Timeline:
    """One timeline on a page, as a test handles it."""

    view: View

    @property
    def page(self) -> Page:
        return self.view.page

    @property
    def panel(self) -> Locator:
        return self.view.panel

    @property
    def canvas(self) -> Locator:
        return self.panel.locator(".pk-timeline-canvas")

    @property
    def frame(self) -> dict[str, Any]:
        """What the last frame said of itself."""
        wait_until(lambda: self.panel.evaluate("panel => window.seen.has(panel)"))
        found: dict[str, Any] = self.panel.evaluate("panel => window.seen.get(panel)")
        return found

    @property
    def sight(self) -> tuple[float, float]:
        """The range on screen, ns, once it has come to rest."""
        last = None
        while last != (now := (self.frame["from"], self.frame["to"])):
            last = now
            self.page.wait_for_timeout(80)
        return now

    @property
    def span(self) -> float:
        first, last = self.sight
        return last - first

    @property
    def status(self) -> Locator:
        return self.panel.locator(".pk-now")

    def whole(self) -> tuple[float, float]:
        self.panel.get_by_role("button", name="Whole").click()
        return self.sight

    def ready(self) -> None:
        """Until all of it is here."""
        wait_until(lambda: self.frame["pending"] == 0)
        self.page.wait_for_timeout(700)  # what nobody asked for comes once it is quiet

    def at(self, row: str, time: float) -> tuple[float, float]:
        """Where a time of a row is on the page."""
        first, last = self.sight
        box = self.canvas.bounding_box()
        name = self.panel.locator(".pk-row-name", has_text=row).bounding_box()
        assert box is not None
        assert name is not None
        return box["x"] + (time - first) / (last - first) * box["width"], name["y"] + min(name["height"] / 2, 9)

    def click(self, row: str, time: float) -> None:
        self.page.mouse.click(*self.at(row, time))

    def drag(self, start: tuple[float, float], end: tuple[float, float], shift: bool = False) -> None:
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=4)
        self.page.mouse.up()
        if shift:
            self.page.keyboard.up("Shift")


@pytest.fixture(scope="module")
def plain() -> Record:
    return records.gpu_record()


@pytest.fixture(scope="module")
def folder(lab: Lab, plain: Record) -> Path:
    archive.save(plain, lab.root / "plain.profkit")
    archive.save(records.hostile_record(HOSTILE), lab.root / "strange.profkit")
    archive.save(records.empty_record(), lab.root / "empty.profkit")
    archive.save(records.untraced_record(), lab.root / "untraced.profkit")
    return lab.root


@pytest.fixture(scope="module")
def page(lab: Lab, folder: Path, window: Callable[..., Page]) -> Page:
    """A notebook with two timelines of one record, which tests leave as they found it."""
    return listening(run(lab, window(), "timelines", SETUP, FIRST, SECOND))


@pytest.fixture
def timeline(page: Page) -> Timeline:
    page.mouse.move(0, 0)
    found = Timeline(View(page))
    found.view.open("Timeline")
    found.canvas.focus()
    for _ in range(3):
        page.keyboard.press("Escape")
    found.panel.get_by_role("searchbox").fill("")
    found.whole()
    found.canvas.focus()
    return found


def listening(page: Page) -> Page:
    """Frames are remembered from now on, and there is one of each view."""
    page.evaluate(LISTEN)
    page.set_viewport_size({"width": 1480, "height": 1400})
    return page


def test_the_whole_record_is_shown_first(timeline: Timeline, plain: Record):
    assert timeline.sight == (0, plain.meta.wall_ns)
    assert timeline.frame["blank"] == 0
    expect(timeline.panel.locator(".pk-status").first).to_have_text(f"all {words.duration(plain.meta.wall_ns)}")
    names = timeline.panel.locator(".pk-row-name").all_text_contents()
    assert any("stream 7" in name for name in names)
    assert any("power" in name for name in names)


def test_wheel_zooms_at_the_cursor_once_the_canvas_has_the_focus(timeline: Timeline):
    timeline.canvas.blur()
    x, y = timeline.at("stream 7", 30 * MS)
    timeline.page.mouse.move(x, y)
    timeline.page.mouse.wheel(0, -200)
    assert timeline.span == 100 * MS, "the wheel is the page's"
    timeline.page.mouse.move(x, y)
    timeline.canvas.focus()
    timeline.page.mouse.wheel(0, -300)
    assert timeline.span < 60 * MS
    assert timeline.at("stream 7", 30 * MS)[0] == pytest.approx(x, abs=1)
    timeline.page.mouse.wheel(0, 300)
    assert timeline.span == pytest.approx(100 * MS, rel=1e-6)


def test_wheel_with_control_zooms_without_focus(timeline: Timeline):
    timeline.canvas.blur()
    timeline.page.mouse.move(*timeline.at("stream 7", 50 * MS))
    timeline.page.keyboard.down("Control")
    timeline.page.mouse.wheel(0, -300)
    timeline.page.keyboard.up("Control")
    assert timeline.span < 60 * MS


def test_dragging_pans_and_stops_at_the_ends(timeline: Timeline):
    timeline.page.keyboard.press("w")
    timeline.page.keyboard.press("w")
    first, last = timeline.sight
    x, y = timeline.at("stream 7", 50 * MS)
    timeline.drag((x, y), (x - 100, y))
    moved = timeline.sight
    assert moved[0] > first
    assert moved[1] - moved[0] == pytest.approx(last - first, rel=1e-9)
    assert timeline.at("stream 7", 50 * MS)[0] == pytest.approx(x - 100, abs=5)  # less the way to a drag
    for _ in range(12):
        timeline.page.keyboard.press("d")
    assert timeline.sight[1] == 100 * MS


def test_keys_zoom_and_pan_and_show_all_again(timeline: Timeline):
    for key in ("w", "+"):
        before = timeline.span
        timeline.page.keyboard.press(key)
        assert timeline.span < before
    for key, sign in (("a", -1), ("d", 1), ("ArrowLeft", -1), ("ArrowRight", 1)):
        before = timeline.sight[0]
        timeline.page.keyboard.press(key)
        assert (timeline.sight[0] - before) * sign > 0, key
    for key in ("s", "-"):
        before = timeline.span
        timeline.page.keyboard.press(key)
        assert timeline.span > before
    timeline.page.keyboard.press("w")
    timeline.page.keyboard.press("Home")
    assert timeline.sight == (0, 100 * MS)


def test_click_tells_of_a_kernel_and_leads_to_its_launch_and_back(timeline: Timeline):
    timeline.ready()
    timeline.click("stream 7", 20 * MS)
    expect(timeline.status).to_have_text(f"Selected: {words.short_name(records.MATMUL, 160)}, 15.0 ms")
    details = timeline.panel.locator(".pk-event")
    expect(details.locator("div", has_text="Start").locator("dd").first).to_have_text("0.01 s")
    expect(details.locator("div", has_text="Launch to start").locator("dd")).to_have_text("1.00 ms")
    details.get_by_role("button", name="launched it").click()
    expect(timeline.status).to_have_text("Selected: cudaLaunchKernel, 10.0 µs")
    expect(details.locator("div", has_text="Work starts").locator("dd")).to_have_text("1.00 ms after the call")
    timeline.canvas.focus()
    timeline.page.keyboard.press("l")
    expect(timeline.status).to_contain_text(words.short_name(records.MATMUL, 160))


def test_double_click_zooms_to_an_event(timeline: Timeline):
    timeline.ready()
    timeline.page.mouse.dblclick(*timeline.at("stream 7", 27 * MS))  # attention, 25 to 30
    first, last = timeline.sight
    assert 20 * MS < first < 25 * MS
    assert 30 * MS < last < 35 * MS


def test_hover_names_an_event_and_reads_the_tracks(timeline: Timeline):
    timeline.ready()
    timeline.page.mouse.move(*timeline.at("stream 7", 27 * MS))
    tip = timeline.panel.locator(".pk-tip")
    expect(tip).to_have_text(re.compile("flash.*, 5.00 ms"))
    expect(timeline.panel.locator(".pk-track-name", has_text="power").locator("output")).to_have_text("90.0 W")
    timeline.page.mouse.move(0, 0)
    expect(tip).to_be_hidden()


def test_totals_of_the_whole_window_are_those_of_idle(timeline: Timeline, plain: Record):
    timeline.ready()
    timeline.page.keyboard.press("m")
    totals = timeline.panel.locator("section", has=timeline.page.locator(".pk-range"))
    expect(totals.locator(".pk-range")).to_contain_text("Range of 100 ms from 0 ns")
    found = idle(plain)
    assert found.busy_ns is not None
    shown = totals.locator(".pk-legend-table").first
    for label, ns in {
        "GPU busy": found.busy_ns,
        "waits for a launch": found.causes["launch"],
        "host waits for it": found.causes["sync"],
        "between kernels": found.causes["dependency"],
        "start and end": found.causes["edge"],
    }.items():
        expect(shown.locator("tr", has_text=label).locator("td").first).to_have_text(words.duration(ns))
    work = totals.locator(".pk-top tr").first
    for text in (words.short_name(records.MATMUL, 160)[:20], "4 ×", "27.0 ms"):
        expect(work).to_contain_text(text)
    totals.get_by_role("button", name="Clear").click()
    expect(totals).to_be_hidden()


def test_range_is_dragged_with_shift_and_cut_at_its_ends(timeline: Timeline):
    timeline.ready()
    (left, y), (right, _) = timeline.at("stream 7", 20 * MS), timeline.at("stream 7", 40 * MS)
    timeline.drag((left, y), (right, y), shift=True)
    totals = timeline.panel.locator("section", has=timeline.page.locator(".pk-range"))
    shown = totals.locator(".pk-legend-table")
    busy = shown.first.locator("tr", has_text="GPU busy").locator("td").first
    expect(busy).to_have_text(re.compile(r"(9\.9|10\.[01])\d? ms"))  # 20 to 25 matmul, 25 to 30 attention
    work = shown.nth(1).locator("tr", has_text="matmul").locator("td").first
    expect(work).to_have_text(re.compile(r"(4\.9|5\.[01])\d ms"))
    assert timeline.sight == (0, 100 * MS), "it is not panned"
    timeline.page.keyboard.press("Escape")
    expect(totals).to_be_hidden()


def test_search_counts_marks_and_walks_through_what_it_finds(timeline: Timeline, plain: Record):
    timeline.ready()
    before = pixels(timeline.panel)
    box = timeline.panel.get_by_role("searchbox")
    box.fill("FLASH")
    expect(timeline.panel.locator(".pk-toolbar [role=status]")).to_have_text("1 × 1 name, 5.00 ms")
    wait_until(lambda: pixels(timeline.panel) != before)
    box.fill("elementwise")
    expect(timeline.panel.locator(".pk-toolbar [role=status]")).to_have_text("3 × 1 name, 6.00 ms")
    start = plain.events["start"].to_pylist()
    found = [row for row, name in enumerate(plain.events["name"].to_pylist()) if name == records.ELEMENTWISE]
    when = timeline.panel.locator(".pk-event div", has_text="Start").locator("dd").first
    times = [words.number(start[row] / 1e9, 3) for row in found]
    for key, time in (("Enter", times[0]), ("Enter", times[1]), ("Shift+Enter", times[0]), ("Shift+Enter", times[2])):
        box.press(key)
        expect(when).to_have_text(f"{float(time):g} s")
    timeline.canvas.focus()
    timeline.page.keyboard.press("f")
    expect(when).to_have_text(f"{float(times[0]):g} s")
    box.fill("no such name")
    expect(timeline.panel.locator(".pk-toolbar [role=status]")).to_have_text("not found")


def test_buttons_go_to_the_longest(timeline: Timeline, plain: Record):
    timeline.panel.get_by_role("button", name="Longest kernel").click()
    expect(timeline.status).to_contain_text("Kernel 1 of the 8 longest")
    expect(timeline.status).to_contain_text("15.0 ms")
    first, last = timeline.sight
    assert first < 10 * MS
    assert last > 25 * MS
    timeline.panel.get_by_role("button", name="Longest kernel").click()
    expect(timeline.status).to_contain_text("Kernel 2 of the 8 longest")
    timeline.panel.get_by_role("button", name="Longest gap").click()
    expect(timeline.status).to_contain_text("14.0 ms")


def test_keyboard_alone_reaches_events_and_leaves_again(timeline: Timeline):
    timeline.ready()
    timeline.page.keyboard.press("ArrowDown")
    said = set()
    for _ in range(5):
        expect(timeline.status).to_contain_text("Selected")
        said.add(timeline.status.text_content())
        timeline.page.keyboard.press("ArrowDown")
        timeline.page.wait_for_timeout(60)
    assert len(said) > 3
    timeline.page.keyboard.press("Escape")
    expect(timeline.status).to_have_text("")
    timeline.page.keyboard.press("Tab")
    assert timeline.canvas.evaluate("canvas => canvas !== document.activeElement")
    timeline.page.keyboard.press("Shift+Tab")
    assert timeline.canvas.evaluate("canvas => canvas === document.activeElement")


def test_neighbours_of_a_row_are_a_key_away(timeline: Timeline):
    timeline.ready()
    timeline.click("stream 7", 20 * MS)
    for key, name in ((".", records.ATTENTION), (".", records.MATMUL), (",", records.ATTENTION)):
        timeline.page.keyboard.press(key)
        expect(timeline.status).to_contain_text(words.short_name(name, 160))


def test_step_in_the_timeline_is_selected_everywhere(timeline: Timeline, folder: Path):
    timeline.ready()
    timeline.click("steps", 45 * MS)
    expect(timeline.status).to_contain_text("decode 1")
    assert told(folder) == {"what": "step", "row": 1}
    panel = timeline.view.open("Steps")
    expect(panel.locator(".pk-step h4")).to_contain_text("Step 1")
    panel.get_by_role("button", name="Clear").click()


def test_step_in_the_curve_moves_the_timeline(timeline: Timeline):
    panel = timeline.view.open("Steps")
    panel.get_by_role("slider").focus()
    for key in ("End", "Enter"):
        timeline.page.keyboard.press(key)
    timeline.view.open("Timeline")
    first, last = timeline.sight
    assert 75 * MS < first < 80 * MS
    assert 90 * MS < last < 95 * MS
    timeline.view.open("Steps").get_by_role("button", name="Clear").click()
    timeline.view.open("Timeline")


def test_groups_fold(timeline: Timeline):
    group = timeline.panel.locator("button.pk-row-name").first
    if not group.count():
        pytest.skip("no group of several rows in this record")
    height = timeline.canvas.bounding_box()
    group.click()
    expect(group).to_have_attribute("aria-expanded", "false")
    assert (timeline.canvas.bounding_box() or {})["height"] < (height or {})["height"]
    group.click()
    expect(group).to_have_attribute("aria-expanded", "true")


def test_two_timelines_are_independent(page: Page, timeline: Timeline):
    other = Timeline(View(page, 1))
    timeline.canvas.focus()
    page.keyboard.press("w")
    assert timeline.span < 100 * MS
    assert other.span == 100 * MS


def test_theme_is_followed(timeline: Timeline, lab: Lab):
    light = pixels(timeline.panel)
    lab.execute(timeline.page, "apputils:change-theme", theme="JupyterLab Dark")
    wait_until(lambda: pixels(timeline.panel) != light)
    lab.execute(timeline.page, "apputils:change-theme", theme="JupyterLab Light")
    wait_until(lambda: pixels(timeline.panel) == light)


@pytest.mark.parametrize("ratio", [1.5, 2, 3])
def test_canvas_is_as_fine_as_the_screen(ratio: float, lab: Lab, folder: Path, chromium: Browser):
    page = chromium.new_page(viewport={"width": 1300, "height": 1200}, device_scale_factor=ratio)
    run(lab, page, f"fine{ratio}", SETUP, SECOND)
    size = "c => [c.width / c.clientWidth, c.height / c.clientHeight]"
    for found in page.locator(".pk-timeline-canvas").evaluate(size):
        assert found == pytest.approx(ratio, rel=0.01)
    page.close()


def test_names_from_a_trace_are_text_and_run_nothing(lab: Lab, folder: Path, other_page: Page):
    run(lab, other_page, "strange", SETUP, 'ProfileView(archive.load("strange.profkit"), "timeline")')
    timeline = Timeline(View(listening(other_page)))
    timeline.ready()
    timeline.click("stream 7", 20 * MS)
    expect(timeline.panel.locator(".pk-full")).to_have_text(HOSTILE)
    other_page.mouse.move(*timeline.at("stream 7", 20 * MS))
    expect(timeline.panel.locator(".pk-tip")).to_contain_text("xxx")
    assert timeline.panel.locator("img, b, script").count() == 0
    assert other_page.evaluate("window.stranger") is None


def test_what_is_not_there_is_said(lab: Lab, folder: Path, other_page: Page):
    cells = [f'ProfileView(archive.load("{name}.profkit"), "timeline")' for name in ("untraced", "empty")]
    lab.open(other_page, lab.notebook("less", SETUP, *cells))
    lab.run_all(other_page)
    expect(View(other_page, 0).panel.locator(".pk-timeline-canvas")).to_be_visible(timeout=30_000)  # steps, telemetry
    expect(View(other_page, 1).panel.locator(".pk-notice")).to_be_visible()


def test_ten_profiles_in_one_notebook(lab: Lab, folder: Path, other_page: Page):
    run(lab, other_page, "ten", SETUP, TEN)
    canvases = other_page.locator(".pk-timeline-canvas")
    expect(canvases).to_have_count(10, timeout=60_000)
    colours = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    for at in (0, 5, 9):
        canvas = canvases.nth(at)
        canvas.scroll_into_view_if_needed()
        wait_until(lambda canvas=canvas: canvas.evaluate(colours) > 10)


def test_reloaded_page_shows_the_timeline_again(lab: Lab, folder: Path, other_page: Page):
    run(lab, other_page, "again", SETUP, SECOND)
    lab.execute(other_page, "docmanager:save")
    other_page.reload()
    expect(View(other_page).panel.locator(".pk-timeline-canvas")).to_be_visible(timeout=30_000)


def test_timeline_outlives_its_kernel(lab: Lab, folder: Path, other_page: Page):
    run(lab, other_page, "left", SETUP, SECOND)
    timeline = Timeline(View(listening(other_page)))
    timeline.ready()
    lab.execute(other_page, "kernelmenu:shutdown")
    expect(other_page.locator("#jp-main-statusbar")).to_contain_text("No Kernel", timeout=30_000)
    timeline.canvas.focus()
    for key in ("w", "w", "d"):
        other_page.keyboard.press(key)
    assert timeline.span < 60 * MS
    timeline.page.keyboard.press("Home")
    timeline.click("stream 7", 20 * MS)
    expect(timeline.status).to_contain_text("15.0 ms")
    timeline.panel.get_by_role("searchbox").fill("flash")
    expect(timeline.panel.locator(".pk-toolbar [role=status]")).to_have_text("1 × 1 name, 5.00 ms")


def test_kernel_that_goes_before_the_detail_has_come_is_said_in_one_line(lab: Lab, folder: Path, other_page: Page):
    run(lab, other_page, "early", SETUP, 'ProfileView(archive.load("plain.profkit"))')
    timeline = Timeline(View(other_page))
    # The tab's own reply is here before the kernel goes, the tiles are not: they are asked for when it is opened.
    other_page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    timeline.view.tab("Timeline").click()
    expect(timeline.panel).to_contain_text("The kernel that held this profile is gone", timeout=10_000)


def test_kernels_of_the_record_are_all_drawn(plain: Record, timeline: Timeline):
    timeline.ready()
    gpu = plain.events["kind"].to_pylist().count(str(EventKind.KERNEL))
    timeline.panel.get_by_role("searchbox").fill("")
    timeline.canvas.focus()
    timeline.click("stream 7", 20 * MS)
    seen = {timeline.panel.locator(".pk-event div", has_text="Start").locator("dd").first.text_content()}
    for _ in range(gpu - 1):
        timeline.page.keyboard.press(".")
        timeline.page.wait_for_timeout(50)
        seen.add(timeline.panel.locator(".pk-event div", has_text="Start").locator("dd").first.text_content())
    assert len(seen) == gpu


@pytest.fixture
def offline(chromium: Browser, plain: Record, tmp_path: Path) -> Iterator[Page]:
    """The page of `run.to_html`, from a disk, where nothing else can be had."""
    asked: list[str] = []
    path = Run(plain).to_html(tmp_path / "page.html")
    page = chromium.new_page(viewport={"width": 1480, "height": 2000})
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(f"({LISTEN})()")
    page.goto(path.as_uri())
    yield page
    page.close()
    assert asked == [path.as_uri()], "no request leaves the page, and no script fails"


def test_offline_page_is_the_same_view(offline: Page, plain: Record):
    view = View(offline)
    timeline = Timeline(view)
    view.open("Timeline")
    assert timeline.whole() == (0, plain.meta.wall_ns)
    timeline.ready()
    timeline.panel.get_by_role("searchbox").fill("flash")
    expect(timeline.panel.locator(".pk-toolbar [role=status]")).to_have_text("1 × 1 name, 5.00 ms")
    timeline.click("stream 7", 27 * MS)
    expect(timeline.status).to_contain_text("5.00 ms")
    timeline.page.keyboard.press("Enter")
    assert timeline.span < 10 * MS
    for tab in ("Overview", "Kernels", "Steps", "Telemetry"):
        view.open(tab)
    view.open("Kernels").get_by_role("button", name="By kind").click()
    wait_until(lambda: view.names() == kernels(plain, "kind")["name"].tolist())


def test_offline_page_links_its_views_and_follows_the_theme(offline: Page):
    view = View(offline)
    timeline = Timeline(view)
    view.open("Timeline")
    timeline.ready()
    timeline.click("steps", 45 * MS)
    expect(view.open("Steps").locator(".pk-step h4")).to_contain_text("Step 1")
    offline.emulate_media(color_scheme="dark")
    expect(view.root).to_have_attribute("data-theme", "dark")


def test_nbconvert_page_shows_the_timeline_as_a_picture(chromium: Browser, folder: Path, tmp_path: Path):
    cells = ["import profkit", "profkit.load('plain.profkit').timeline()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, store_widget_state=False).execute()
    path = tmp_path / "page.html"
    path.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    page = chromium.new_page()
    page.route(re.compile("^https?:"), lambda route: route.abort())  # as on a plane
    page.goto(path.as_uri())
    picture = page.locator(".jp-OutputArea-output img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 400
    page.close()
