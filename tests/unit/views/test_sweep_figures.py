"""Figures of sweeps: what they show, what they say, and that they can be read."""

import pytest
from unit import worked
from unit.sweeps import cpu_sweep, gpu_sweep, sweep_meta
from unit.views.drawn import beyond, boxes, overlaps

from profkit.analysis.sweep import SweepData
from profkit.analysis.sweep_curves import sweep_curves
from profkit.errors import OptionError
from profkit.views.figures.base import MissingDataError, rendered
from profkit.views.figures.sweep import FIGURES, available, figure

SWEEPS = {
    "graph": worked.graph,
    "eager": worked.eager,
    "gpu": gpu_sweep,
    "cpu": cpu_sweep,
}


@pytest.fixture(scope="module")
def curves():
    return {name: sweep_curves(make()) for name, make in SWEEPS.items()}


def texts(drawn):
    return [text for text, _ in boxes(drawn)]


def test_a_sweep_is_offered_what_it_can_fill(curves):
    assert available(curves["graph"]) == list(FIGURES)
    assert available(curves["gpu"]) == ["latency", "throughput", "pareto", "energy"]
    assert available(curves["cpu"]) == ["latency", "throughput", "pareto"]


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("name", SWEEPS)
def test_no_text_lies_on_another_or_leaves_the_page(curves, name, kind):
    if kind not in available(curves[name]):
        pytest.skip(f"{name} has no {kind}")
    drawn = figure(curves[name], kind)
    found = boxes(drawn)
    assert len(found) > 5
    assert beyond(drawn, found) == []
    # A knee and an SLO are named where they are, which may be at a curve's or at each other's place.
    free = [(text, box) for text, box in found if text != "knee" and not text.startswith("SLO")]
    assert overlaps(free) == []


@pytest.mark.parametrize("kind", ["latency", "throughput", "pareto", "energy"])
def test_two_sweeps_on_one_graph_are_told_apart(curves, kind):
    drawn = figure(curves["graph"], kind, overlay=curves["eager"])
    found = boxes(drawn)
    assert {"graph, context 512", "eager, context 512"} <= {text for text, _ in found}
    assert beyond(drawn, found) == []
    caption = next(text for text, _ in found if "sweep bbbb" in text)
    assert "sweep aaaa" in caption
    assert caption.count("NVIDIA H200") == 1


def test_sweeps_along_different_axes_share_no_graph(curves):
    meta = sweep_meta(axes={"tokens": [1, 2]}, slo_ns={})
    rows = [{"point": at, "tokens": at + 1, "status": "skipped"} for at in (0, 1)]
    with pytest.raises(OptionError, match="share no x axis"):
        figure(curves["graph"], "latency", overlay=sweep_curves(SweepData.of(meta, rows, [])))


def test_a_floor_is_named_and_says_which_ceilings_it_stands_on(curves):
    said = texts(figure(curves["graph"], "latency"))
    assert said.count("floor") == 2 * 3  # of each series, in both panels
    assert any("floor at 4.20 TB/s and 780 TFLOP/s (measured on NVIDIA H200, 2026-11-24" in text for text in said)


def test_a_missing_floor_says_why(curves):
    said = texts(figure(curves["cpu"], "latency"))
    assert "floor" not in said
    assert any("no floor: no NVIDIA driver on this machine" in text for text in said)


def test_an_slo_is_a_line_and_the_subtitle_says_what_meets_it(curves):
    said = texts(figure(curves["graph"], "latency"))
    assert "SLO tpot 30.0 ms" in said
    assert "SLO ttft 500 ms" in said
    assert any(text.startswith("Largest batch within tpot ≤ 30.0 ms, ttft ≤ 500 ms: 32 (context 512)") for text in said)


def test_points_out_of_memory_are_on_the_axis_with_their_message(curves):
    drawn = figure(curves["gpu"], "latency")
    assert any("× out of memory (batch 512, context 4096: at 140 GB, by plan 143 GB)" in text for text in texts(drawn))
    crosses = [line for axes in drawn.axes for line in axes.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[512], [512]]


def test_a_throttled_point_is_hollow_and_named(curves):
    drawn = figure(curves["gpu"], "latency")
    assert any("○ throttled, or times drifted (batch 64, context 4096)" in text for text in texts(drawn))
    hollow = [
        line for line in drawn.axes[0].lines if line.get_marker() == "o" and line.get_markerfacecolor() == "#ffffff"
    ]
    assert [list(line.get_xdata()) for line in hollow] == [[64]]


def test_bands_are_drawn_where_the_samples_carry_them(curves):
    drawn = figure(curves["gpu"], "latency")
    decode, prefill = drawn.axes[:2]
    assert len(decode.collections) == 2
    assert len(prefill.collections) == 0  # three runs make no p10


def test_the_batch_axis_is_of_base_two_with_a_tick_at_each_batch(curves):
    axes = figure(curves["graph"], "latency").axes[0]
    assert axes.get_xscale() == "log"
    assert [float(tick) for tick in axes.get_xticks()] == [float(batch) for batch in worked.BATCHES]


@pytest.mark.parametrize(
    ("name", "kind", "title"),
    [
        ("eager", "latency", "A decode step takes 52.0 ms (batch 1, context 512)"),
        ("graph", "throughput", "Most throughput: 23 3"),
        ("eager", "throughput", "decode is launch-bound at every batch"),
        ("graph", "roofline", "Decode reaches 70.0 % of the roof at best"),
        ("gpu", "energy", "Least energy: 0.0134 J/token at batch 512, context 512"),
        ("cpu", "pareto", "4 points of 4 that no other beats"),
    ],
)
def test_the_title_is_the_finding(curves, name, kind, title):
    said = [text.replace("\u202f", " ") for text in texts(figure(curves[name], kind))]
    assert any(text.startswith(title) for text in said), said


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("cpu", "energy", "no energy .no NVIDIA driver on this machine."),
        ("cpu", "roofline", "no roof: no NVIDIA driver on this machine"),
        ("gpu", "roofline", "ceilings are not known"),
    ],
)
def test_what_cannot_be_drawn_says_why(curves, name, kind, reason):
    with pytest.raises(MissingDataError, match=reason):
        figure(curves[name], kind)


def test_an_unknown_kind_names_the_nearest(curves):
    with pytest.raises(OptionError, match="did you mean 'latency'"):
        figure(curves["gpu"], "latncy")


@pytest.mark.parametrize("kind", FIGURES)
def test_the_same_sweep_gives_the_same_bytes(curves, kind):
    for form in ("svg", "png"):
        first, second = (rendered(figure(curves["graph"], kind), form) for _ in range(2))
        assert first == second


def test_a_sweep_of_nothing_draws_nothing():
    meta = sweep_meta(axes={"batch": [1]}, slo_ns={})
    empty = sweep_curves(SweepData.of(meta, [{"point": 0, "batch": 1, "status": "error", "message": "boom"}], []))
    assert available(empty) == []
