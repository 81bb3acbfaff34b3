"""The offline page in a real Chromium: no kernel, no network, and nobody's script but ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import browser.needs  # noqa: F401  (skips this file where there is no browser)
import pytest
from browser.view import View
from playwright.sync_api import Browser, Page, expect
from unit import records

from profkit.record import Record
from profkit.run import Run

HOSTILE = "<img src=x onerror='window.stranger=1'></script><script>window.stranger=1</script>{{7*7}}\u202etxt"
TABS = ("Overview", "Timeline", "Kernels", "Steps", "KV cache", "Telemetry")


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page of a record; it may fail in nothing, and ask for nothing but itself."""
    wrong: list[str] = []
    contexts = []

    def open_page(record: Record, **options: object) -> Page:
        path = Run(record).to_html(tmp_path / "page.html")
        contexts.append(chromium.new_context(viewport={"width": 1400, "height": 1600}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("request", lambda request: request.url == path.as_uri() or wrong.append(request.url))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def test_the_view_works_without_a_kernel(opened: Callable[..., Page]):
    page = opened(records.gpu_record())
    expect(page.locator(".pk-s").first).to_contain_text("The GPU was busy 38.0 % of 100 ms")
    view = View(page)
    expect(view.tab("Timeline")).to_have_attribute("aria-selected", "true")
    expect(view.panel.locator(".pk-timeline-canvas")).to_be_visible()
    for name in TABS:
        view.tab(name).click()
        expect(view.panel).not_to_contain_text("Loading")
        expect(view.panel).not_to_contain_text("kernel that held")
        expect(view.panel).not_to_contain_text("does not hold")
    view.open("Kernels").get_by_role("button", name="By kind").click()
    expect(view.panel.locator("tbody tr")).to_have_count(3)


def test_an_event_is_found_in_the_page(opened: Callable[..., Page]):
    page = opened(records.gpu_record())
    view = View(page)
    search = view.panel.get_by_role("searchbox")
    search.fill("flash")
    search.press("Enter")
    expect(view.panel.locator(".pk-event")).to_contain_text("flash_fwd_kernel")


def test_a_strangers_name_is_text(opened: Callable[..., Page]):
    page = opened(records.hostile_record(HOSTILE))
    view = View(page)
    for name in TABS:
        view.tab(name).click()
        assert page.locator(".pk img, .pk script").count() == 0
    assert page.evaluate("window.stranger") is None
    assert page.locator("script").count() == 2


def test_without_scripts_the_page_reads(opened: Callable[..., Page]):
    page = opened(records.gpu_record(), java_script_enabled=False)
    expect(page.locator(".pk-s").first).to_contain_text("The GPU was busy 38.0 % of 100 ms")
    expect(page.locator("noscript img").first).to_be_visible()
    expect(page.get_by_role("heading", name="Kernels")).to_be_visible()


@pytest.mark.parametrize("make", [records.empty_record, records.cpu_record, records.untraced_record])
def test_a_record_that_lacks_something_opens(opened: Callable[..., Page], make: Callable[[], Record]):
    page = opened(make())
    view = View(page)
    for name in TABS:
        view.tab(name).click()
        expect(view.panel).not_to_contain_text("does not hold")
