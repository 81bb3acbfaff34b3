"""A plan as text, page, picture and sliders."""

from __future__ import annotations

import html as html_library
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from unit.models.tiny import CONFIGS, config_dict

import profkit
from profkit.views import kv_plan as words
from profkit.views import kv_plan_chart
from profkit.views.format import clean

PLANS = {name: profkit.kv_plan(config_dict(name), gpu=4e9, context=64, source_tokens=20) for name in CONFIGS}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_plan_is_shown(name):
    plan = PLANS[name]
    text, page = repr(plan), plan._repr_html_()
    assert f"{plan.shape.model_type}, " in text
    assert clean(words.sentence(plan)) in clean(" ".join(text.split("\n")[2:4])).replace("   ", " ")
    assert html_library.escape(clean(words.sentence(plan))) in page
    assert all(len(line) <= 100 for line in text.splitlines())
    for kind in plan.layers["kind"]:
        assert kind in text


def test_the_picture_is_well_formed_and_as_long_as_its_parts():
    plan = PLANS["gemma3_text"]
    picture = ET.fromstring(kv_plan_chart.svg(plan))
    bar = [r for r in picture.iter("rect") if r.get("y") == "18.0"]
    total = sum(part.size for part in kv_plan_chart.parts(plan))
    drawn = sum(float(r.get("width")) for r in bar)
    assert drawn / 718 == pytest.approx(total / plan.gpu.memory_bytes, abs=0.01)


def test_a_plan_that_does_not_fit_says_by_how_much():
    plan = PLANS["llama"].changed(batch=10**7)
    assert plan.fits is False
    assert re.search(r"does not fit: [\d.]+ TiB|does not fit: [\d\u202f.]+ GiB", kv_plan_chart.svg(plan))


def test_a_model_type_is_text_not_markup():
    plan = PLANS["llama"]
    shape = replace(plan.shape, model_type="<script>alert(1)</script>")
    assert "<script" not in words.fragment(replace(plan, shape=shape))


def test_nothing_is_said_of_a_gpu_where_none_was_given():
    text = repr(profkit.kv_plan(config_dict("llama"), context=64))
    assert "Overhead" not in text
    assert "Largest batch n/a" in " ".join(text.split())


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "deepseek_v3", "qwen3_next", "whisper"])
def test_figures_are_drawn_and_reproducible(name):
    first, second = (PLANS[name].figure() for _ in range(2))
    assert first._repr_png_() == second._repr_png_()
    assert profkit.kv_plan(config_dict(name), context=64).figure()._repr_png_()


def test_sliders_change_the_plan_and_the_page():
    view = PLANS["llama"].widget()
    before = view._page.value
    view._batch.value = 64
    assert view.plan.batch == 64
    assert view._page.value != before
    view._kv_dtype.value = "fp8"
    view._gpus.value = 2
    view._gpu.value = "H100 SXM"
    assert (view.plan.kv_dtype, view.plan.request.tensor_parallel, view.plan.gpu.name) == ("fp8", 2, "H100 SXM")
    assert clean(words.sentence(view.plan)) in view._page.value


def test_sliders_offer_only_what_the_heads_allow():
    assert [value for _, value in PLANS["llama"].widget()._gpus.options] == [1, 2, 4]
