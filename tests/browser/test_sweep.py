"""A sweep's view in a real JupyterLab: curves, SLO sliders, Pareto front, table; by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import browser.needs  # noqa: F401  (skips this file where there is no browser)
import pytest
from browser.lab import Lab
from browser.view import pixels, wait_until
from playwright.sync_api import Browser, Locator, Page, expect
from unit import worked

from profkit.analysis.sweep_curves import sweep_curves
from profkit.views.widgets.sweep import points_table

TESTS = str(Path(__file__).parents[1])
SHOW = f"""
import sys
sys.path.insert(0, {TESTS!r})
from unit import worked
from profkit.analysis.sweep_curves import sweep_curves
from profkit.views.widgets.sweep import SweepView
SweepView(sweep_curves(worked.graph()))
"""
OVERLAY = "SweepView(sweep_curves(worked.graph()), overlay=sweep_curves(worked.eager()))"
FROM_HERE = re.compile(r"(http|ws)://127\.0\.0\.1:|data:|blob:")
SENTENCE = (
    "Largest batch within ttft ≤ 500 ms, tpot ≤ 30.0 ms: 32 (context 512); 4 (context 4096); none, batch 1 misses ttft"
)


@pytest.fixture(scope="module")
def page(lab: Lab, chromium: Browser) -> Iterator[Page]:
    """A notebook with two views, in which our script may neither fail nor ask anything of the internet."""
    wrong: list[str] = []
    page = chromium.new_page(viewport={"width": 1500, "height": 1500})
    page.on("pageerror", lambda error: "blob:" in str(error.stack) and wrong.append(str(error.stack)))
    page.on("console", lambda said: said.type == "error" and "profkit" in said.text and wrong.append(said.text))
    page.on("request", lambda request: FROM_HERE.match(request.url) or wrong.append(request.url))
    lab.open(page, lab.notebook("sweep", SHOW, OVERLAY))
    lab.run_all(page)
    expect(page.locator(".pk-plots canvas").nth(5)).to_be_visible(timeout=30_000)
    yield page
    assert wrong == []
    page.close()


@pytest.fixture
def view(page: Page) -> Locator:
    page.mouse.move(0, 0)
    root = page.locator(".pk").first
    opened(root, "Curves")
    return root


def opened(root: Locator, tab: str) -> Locator:
    root.get_by_role("tab", name=tab, exact=True).click()
    panel = root.locator(".pk-panel:visible")
    expect(panel.locator("canvas, table").first).to_be_visible()
    return panel


def slide(slider: Locator, value: int) -> None:
    """As a hand would: the value, and the event that tells of it."""
    slider.evaluate("(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value)


def point_at(curve: Locator, part: float) -> None:
    box = curve.bounding_box()
    assert box is not None
    curve.page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)


def test_it_says_what_meets_the_slos_that_were_given(view: Locator):
    expect(view.locator(".pk-sentence")).to_contain_text(SENTENCE)
    expect(view.get_by_role("slider", name="SLO tpot")).to_have_attribute("aria-valuetext", "≤ 30.0 ms")


def test_a_slider_moves_its_line_and_changes_the_sentence(view: Locator):
    curves = view.locator(".pk-plots")
    before = pixels(curves)
    slider = view.get_by_role("slider", name="SLO tpot")
    start = slider.input_value()
    slide(slider, 150)
    expect(view.locator(".pk-sentence")).not_to_contain_text("tpot ≤ 30.0 ms")
    wait_until(lambda: pixels(curves) != before)
    said = view.locator(".pk-sentence").inner_text()
    slide(slider, 1)
    expect(view.locator(".pk-sentence")).to_contain_text("none, batch 1 misses tpot by")
    assert view.locator(".pk-sentence").inner_text() != said
    slide(slider, int(start))


def test_sliders_at_their_ends_set_no_slo(view: Locator):
    sliders = [view.get_by_role("slider", name=f"SLO {name}") for name in ("tpot", "ttft")]
    starts = [slider.input_value() for slider in sliders]
    for slider in sliders:
        slide(slider, 400)
        expect(slider).to_have_attribute("aria-valuetext", "no limit")
    expect(view.locator(".pk-sentence")).to_have_text("Move a slider to set an SLO.")
    for slider, start in zip(sliders, starts, strict=True):
        slide(slider, int(start))


def test_a_slider_moves_by_the_keyboard(view: Locator):
    slider = view.get_by_role("slider", name="SLO ttft")
    start, said = slider.input_value(), slider.get_attribute("aria-valuetext")
    slider.focus()
    view.page.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == int(start) + 1
    assert slider.get_attribute("aria-valuetext") != said
    view.page.keyboard.press("ArrowLeft")


def test_pointing_at_a_curve_reads_every_series_there(view: Locator):
    curve = view.locator(".pk-plots .pk-curve").first
    point_at(curve, 0.3)
    head = view.locator(".pk-plots h4").last
    at = head.inner_text()
    point_at(curve, 0.7)
    expect(head).not_to_have_text(at)
    expect(view.locator(".pk-read")).to_have_count(3)
    expect(view.locator(".pk-read").first).to_contain_text("context 512 decode")


def test_a_point_out_of_memory_says_so(view: Locator):
    curve = view.locator(".pk-plots .pk-curve").first
    curve.focus()
    view.page.keyboard.press("End")
    expect(view.locator(".pk-plots h4").last).to_have_text("At batch 256")
    expect(view.locator(".pk-read").last).to_contain_text("out of memory at 141 GB, by plan 143 GB")


def test_the_keyboard_moves_along_a_curve(view: Locator):
    view.locator(".pk-plots .pk-curve").first.focus()
    view.page.keyboard.press("Home")
    expect(view.locator(".pk-plots h4").last).to_have_text("At batch 1")
    view.page.keyboard.press("ArrowRight")
    expect(view.locator(".pk-plots h4").last).to_have_text("At batch 2")


def test_the_legend_hides_a_series_in_every_plot(view: Locator):
    plots = view.locator(".pk-plots .pk-curve")
    before = [pixels(plots.nth(at)) for at in range(3)]
    entry = view.get_by_role("button", name="context 512")
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "false")
    wait_until(lambda: all(pixels(plots.nth(at)) != before[at] for at in range(3)))
    entry.click()
    wait_until(lambda: all(pixels(plots.nth(at)) == before[at] for at in range(3)))


def test_the_pareto_tab_tells_each_point(view: Locator):
    panel = opened(view, "Pareto")
    expect(panel.locator(".pk-read")).to_contain_text("no other beats in both")
    panel.locator(".pk-curve").focus()
    view.page.keyboard.press("Home")
    expect(panel.locator(".pk-read")).to_contain_text("batch 1, context 512: decode 5.12 ms")
    expect(panel.locator(".pk-read")).to_contain_text("on the front")


def test_the_table_is_the_one_that_python_makes(view: Locator):
    table = points_table([sweep_curves(worked.graph())])
    panel = opened(view, "Table")
    expect(panel.locator("thead th")).to_have_text(table.info["heads"])
    expect(panel.locator("tbody tr")).to_have_count(table.rows)


def test_two_sweeps_share_the_plots(page: Page):
    root = page.locator(".pk").nth(1)
    expect(root.locator(".pk-legend").first.get_by_role("button")).to_have_text(
        [f"{sweep}, context {context}" for sweep in ("graph", "eager") for context in worked.CONTEXTS]
    )
    expect(root.locator(".pk-hint").last).to_have_text("eager: Decode is launch-bound at every batch.")


def test_nothing_of_it_is_wider_than_its_cell(page: Page):
    for root in page.locator(".pk").all():
        assert root.evaluate("el => el.scrollWidth <= el.clientWidth + 1")
