"""Sliders of `%llmkv` in a real JupyterLab."""

from __future__ import annotations

import browser.needs  # noqa: F401  (skips this file where there is no browser)
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 4096,
}


def test_a_slider_changes_the_plan_on_the_page(lab, other_page):
    page = other_page
    cell = f"%load_ext profkit\ncfg = {CONFIG!r}\n%llmkv cfg --gpu L4 --batch 2 --context 1024"
    lab.open(page, lab.notebook("kv-plan", cell))
    lab.run_all(page)
    widget = page.locator(".widget-vbox")
    shown = widget.locator(".pk-s-sentence")
    expect(shown).to_contain_text("at batch 2 the longest context", timeout=60_000)
    widget.locator(".noUi-handle, .ui-slider-handle").first.press("ArrowRight")
    expect(shown).to_contain_text("at batch 3 the longest context")
    expect(widget.locator("svg")).to_contain_text("batch 3 at 1")
