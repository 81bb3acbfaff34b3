"""The profile's view in a real JupyterLab: mouse, keyboard, themes, reload, and a kernel that goes away."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import browser.needs  # noqa: F401  (skips this file where there is no browser)
import pytest
from browser.lab import Lab
from browser.view import View, pixels, run, told, wait_until
from playwright.sync_api import Page, expect
from unit import records

from profkit.analysis.kernels import kernels
from profkit.analysis.summary import summarize
from profkit.formats import archive
from profkit.record import Record
from profkit.views import format as words
from profkit.views.content import describe

HOSTILE = "<img src=x onerror='window.stranger=1'><b>bold</b>{{7*7}}\u202etxt"
TABS = ("Overview", "Timeline", "Kernels", "Steps", "KV cache", "Telemetry")
SETUP = """
import json
from pathlib import Path
from profkit.formats import archive
from profkit.views.widgets.profile import ProfileView
"""
FIRST = """
first = ProfileView(archive.load("plain.profkit"))
first.observe(lambda change: Path("selection.json").write_text(json.dumps(change.new)), "selection")
first
"""
SECOND = 'ProfileView(archive.load("hostile.profkit"))'
THIRD = 'ProfileView(archive.load("stepless.profkit"))'
BUSY = """
import time
while not Path("go on").exists():
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def plain() -> Record:
    return records.gpu_record()


@pytest.fixture(scope="module")
def folder(lab: Lab, plain: Record) -> Path:
    archive.save(plain, lab.root / "plain.profkit")
    archive.save(records.hostile_record(HOSTILE), lab.root / "hostile.profkit")
    archive.save(records.stepless_record(), lab.root / "stepless.profkit")
    return lab.root


@pytest.fixture(scope="module")
def page(lab: Lab, folder: Path, window: Callable[[], Page]) -> Page:
    """A notebook with three views, which tests leave as they found it."""
    return run(lab, window(), "views", SETUP, FIRST, SECOND, THIRD)


@pytest.fixture
def view(page: Page) -> View:
    page.mouse.move(0, 0)
    view = View(page)
    view.open("Overview")
    return view


def test_overview_says_what_the_summary_says(view: View, plain: Record):
    content = describe(summarize(plain))
    expect(view.panel.locator(".pk-sentence")).to_have_text(content.sentence)
    shown = [figure for figure in content.figures if figure.value != words.NOT_AVAILABLE]
    expect(view.panel.locator(".pk-figures dt")).to_have_text([figure.label for figure in shown])
    expect(view.panel.locator(".pk-figures dd")).to_have_text([figure.value for figure in shown])


def test_tabs_open_with_the_mouse(view: View):
    for name in TABS:
        view.open(name)
        expect(view.root.get_by_role("tabpanel")).to_have_count(1)
        expect(view.root.get_by_role("tab", selected=True)).to_have_text(name)


def test_tabs_open_with_the_keyboard(view: View):
    view.tab("Overview").focus()
    for key, name in (
        ("ArrowRight", "Timeline"),
        ("End", "Telemetry"),
        ("ArrowRight", "Overview"),
        ("ArrowLeft", "Telemetry"),
        ("Home", "Overview"),
    ):
        view.page.keyboard.press(key)
        expect(view.tab(name)).to_be_focused()
        expect(view.tab(name)).to_have_attribute("aria-selected", "true")


def test_tab_key_goes_through_the_view_and_out_again(view: View):
    view.open("Kernels")
    view.tab("Kernels").focus()
    inside = "document.querySelector('.pk').contains(document.activeElement)"
    stops = 0
    while view.page.evaluate(inside):
        view.page.keyboard.press("Tab")
        stops += 1
        assert stops < 40, "the keyboard is trapped"
    assert stops > 10  # panel, switch, filter, heads of columns, rows
    back = (view.page.keyboard.press("Shift+Tab") or view.page.evaluate(inside) for _ in range(5))
    assert any(back)


def test_keys_meant_for_the_view_do_nothing_to_the_notebook(view: View):
    view.open("Kernels")
    cells = view.page.locator(".jp-Notebook-cell")
    count = cells.count()
    view.panel.locator("tbody tr").first.focus()
    for key in ("a", "b", "x", "d", "d", "ArrowDown", "Enter"):
        view.page.keyboard.press(key)
    expect(cells).to_have_count(count)
    expect(view.panel.locator(".pk-detail")).to_have_count(1)
    view.page.keyboard.press("Enter")
    expect(view.panel.locator(".pk-detail")).to_have_count(0)


def test_shortcuts_with_a_modifier_stay_the_notebooks(view: View, folder: Path):
    notebook = folder / "views.ipynb"
    before = notebook.stat().st_mtime_ns
    view.tab("Overview").focus()
    view.page.keyboard.press("Control+s")
    wait_until(lambda: notebook.stat().st_mtime_ns != before)


def test_kernels_are_sorted_by_any_column(view: View, plain: Record):
    frame = kernels(plain)
    panel = view.open("Kernels")
    assert view.names() == frame["name"].tolist()
    for label, column in (("Calls", "count"), ("Mean", "mean_ns"), ("Max", "max_ns"), ("Total", "total_ns")):
        panel.get_by_role("button", name=label).click()
        head = panel.get_by_role("columnheader", name=label)
        expect(head).to_have_attribute("aria-sort", "descending")
        values = frame.set_index("name")[column]
        found = [values[name] for name in view.names()]
        assert found == sorted(found, reverse=True), column
        panel.get_by_role("button", name=label).press("Enter")
        expect(head).to_have_attribute("aria-sort", "ascending")
        assert view.names() == view.names()
        found = [values[name] for name in view.names()]
        assert found == sorted(found), column
    panel.get_by_role("button", name="Total").click()


def test_kernels_read_as_everywhere_else(view: View, plain: Record):
    frame = kernels(plain)
    cells = view.open("Kernels").locator("tbody tr").first.locator("td, th")
    row = frame.iloc[0]
    numbers = [
        words.count(int(row["count"])),
        *(words.duration(row[f"{name}_ns"]) for name in ("total", "mean", "min", "max")),
    ]
    expect(cells).to_have_text([row["kind"], words.short_name(row["name"], 160), *numbers, words.share(row["share"])])


def test_kernels_are_filtered_by_name_and_kind(view: View, plain: Record):
    panel = view.open("Kernels")
    box = panel.get_by_role("searchbox")
    box.fill("FLASH")
    assert view.names() == [records.ATTENTION]
    expect(panel.locator(".pk-status")).to_contain_text("1 of 3 kernels")
    box.fill("elementwise")
    assert view.names() == [records.ELEMENTWISE]
    box.fill("no such kernel")
    expect(panel).to_contain_text("No name or kind contains that.")
    box.fill("")
    assert len(view.names()) == 3


def test_kernels_are_grouped_by_kind_and_by_operator(view: View, plain: Record):
    panel = view.open("Kernels")
    for label, by in (("By kind", "kind"), ("By operator", "op"), ("By kernel", "name")):
        panel.get_by_role("button", name=label).click()
        wait_until(lambda by=by: view.names() == kernels(plain, by)["name"].tolist())


def test_names_from_a_trace_are_text_and_run_nothing(page: Page):
    view = View(page, 1)
    view.open("Kernels")
    row = view.panel.locator("tbody tr[title*='img src=x']").first
    row.click()
    expect(view.panel.locator(".pk-detail")).to_have_text(HOSTILE)
    row.click()
    for name in TABS:
        view.open(name)
        assert view.root.locator("img, b, script").count() == 0
    assert page.evaluate("window.stranger") is None
    expect(view.root.locator(".pk-title")).to_contain_text("<img src=x")


def test_step_is_selected_with_the_mouse_and_told_to_the_kernel(view: View, folder: Path):
    panel = view.open("Steps")
    expect(panel.locator(".pk-legend button")).to_have_text(
        [re.compile(label) for label in ("token gap", "host in forward", "GPU span in forward", "GPU busy")]
    )
    box = panel.locator(".pk-over").bounding_box()
    assert box
    view.page.mouse.click(box["x"] + box["width"] * 3 / 8, box["y"] + 20)  # the second of four
    expect(panel.locator(".pk-step h4")).to_contain_text("Step 1")
    expect(panel.locator(".pk-step")).to_contain_text("64 in the cache")
    expect(panel.locator(".pk-step tr", has_text="GPU busy")).to_contain_text(words.duration(6e6))
    assert told(folder) == {"what": "step", "row": 1}
    panel.get_by_role("button", name="Clear").click()
    expect(panel.locator(".pk-step")).to_contain_text("Click a step")
    assert told(folder) is None


def test_step_is_selected_with_the_keyboard(view: View, folder: Path):
    panel = view.open("Steps")
    curve = panel.get_by_role("slider")
    curve.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Enter"):
        view.page.keyboard.press(key)
    expect(curve).to_have_attribute("aria-valuenow", "2")
    expect(curve).to_have_attribute("aria-valuetext", re.compile("step 2, token gap 20.0 ms"))
    expect(panel.locator(".pk-step h4")).to_contain_text("Step 2")
    view.open("Telemetry")
    view.open("Steps")
    panel.get_by_role("button", name="Clear").click()


def test_lines_are_hidden_and_scales_switched(view: View):
    panel = view.open("Steps")
    for button in (panel.get_by_role("button", name="token gap"), panel.get_by_role("button", name="Log scale")):
        before = pixels(panel)
        was = button.get_attribute("aria-pressed")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "false" if was == "true" else "true")
        assert pixels(panel) != before
        button.click()


def test_tracks_share_their_cursor(view: View):
    panel = view.open("Telemetry")
    tracks = panel.locator(".pk-track")
    expect(tracks).to_have_count(4)  # W, MHz, % and bytes
    box = tracks.first.locator(".pk-over").bounding_box()
    assert box
    view.page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + 20)
    read = {"power": "90.0 W", "SM clock": "1\u202f980 MHz", "memory used": "4.00 GB", "SMs active": "38.0 %"}
    for label, value in read.items():
        expect(panel.get_by_role("button", name=label).locator("output")).to_have_text(value)


def test_theme_is_followed(view: View, lab: Lab):
    view.open("Steps")
    light = pixels(view.panel)
    lab.execute(view.page, "apputils:change-theme", theme="JupyterLab Dark")
    expect(view.root).to_have_attribute("data-theme", "dark")
    expect(view.root).to_have_css("background-color", "rgb(17, 17, 17)")
    wait_until(lambda: pixels(view.panel) != light)
    lab.execute(view.page, "apputils:change-theme", theme="JupyterLab Light")
    expect(view.root).to_have_attribute("data-theme", "light")
    expect(view.root).to_have_css("background-color", "rgb(255, 255, 255)")


def test_plots_fit_a_window_that_changes(view: View):
    view.open("Telemetry")
    fits = """curve => Math.abs(curve.querySelector("canvas").clientWidth - curve.clientWidth) < 2
        && curve.closest(".pk").scrollWidth <= curve.closest(".pk").clientWidth"""
    for width in (900, 1900, 1500):
        view.page.set_viewport_size({"width": width, "height": 1400})
        wait_until(lambda: view.panel.locator(".pk-curve").first.evaluate(fits))


def test_two_views_are_independent(page: Page):
    first, second = View(page, 0), View(page, 1)
    first.open("Kernels")
    second.open("Steps")
    expect(first.tab("Kernels")).to_have_attribute("aria-selected", "true")
    first.panel.get_by_role("searchbox").fill("flash")
    second.open("Kernels")
    wait_until(lambda: len(first.names()) == 1)
    wait_until(lambda: len(second.names()) == 3)
    first.panel.get_by_role("searchbox").fill("")


def test_record_without_steps_says_why(page: Page):
    view = View(page, 2)
    view.tab("Steps").click()
    expect(view.panel).to_contain_text("name it with --model")


def test_first_tab_is_there_while_the_kernel_runs_the_next_cell(lab: Lab, folder: Path, other_page: Page):
    page = run(lab, other_page, "busy", SETUP, FIRST, BUSY)
    view = View(page)
    expect(view.panel.locator(".pk-figures")).to_be_visible()
    view.tab("Steps").click()
    expect(view.panel).to_contain_text("Loading")
    expect(page.locator(".jp-InputPrompt").nth(2)).to_have_text("[*]:")
    (lab.root / "go on").touch()
    expect(view.panel.locator("canvas")).to_be_visible(timeout=10_000)


def test_reloaded_page_shows_the_view_and_its_tab_again(lab: Lab, folder: Path, other_page: Page):
    page = run(lab, other_page, "reload", SETUP, FIRST)
    View(page).open("Kernels")
    lab.execute(page, "docmanager:save")
    page.reload()
    view = View(page)
    expect(view.tab("Kernels")).to_have_attribute("aria-selected", "true", timeout=30_000)
    expect(view.panel.locator("tbody tr").first).to_be_visible()
    view.open("Steps")


def test_view_outlives_its_kernel(lab: Lab, folder: Path, other_page: Page):
    page = run(lab, other_page, "gone", SETUP, FIRST)
    view = View(page)
    view.open("Kernels")
    lab.execute(page, "kernelmenu:shutdown")
    expect(page.locator("#jp-main-statusbar")).to_contain_text("No Kernel", timeout=30_000)
    expect(view.panel.locator("tbody tr")).to_have_count(3)
    view.panel.get_by_role("button", name="Calls").click()
    expect(view.panel.get_by_role("columnheader", name="Calls")).to_have_attribute("aria-sort", "descending")
    view.open("Overview")
    view.tab("Steps").click()
    expect(view.panel).to_contain_text("The kernel that held this profile is gone.")
    expect(view.panel).to_contain_text("profkit.load(")
    view.open("Kernels").get_by_role("button", name="By kind").click()
    expect(view.panel).to_contain_text("The kernel that held this profile is gone.")
    view.panel.get_by_role("button", name="By kernel").click()
    expect(view.panel.locator("tbody tr")).to_have_count(3)


def test_restarted_kernel_is_noticed(lab: Lab, folder: Path, other_page: Page):
    page = run(lab, other_page, "restarted", SETUP, FIRST)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    view = View(page)
    expect(view.panel.locator(".pk-figures")).to_be_visible()
    view.tab("Telemetry").click()
    expect(view.panel).to_contain_text("The kernel that held this profile is gone.", timeout=10_000)
