"""What the views of a sweep are given: series, floors, regimes, knees, and what a strange file may hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import worked
from unit.sweeps import cpu_sweep, gpu_sweep, sweep_meta

from profkit.analysis.curves import table
from profkit.analysis.regime import BANDWIDTH, COMPUTE, LAUNCH
from profkit.analysis.sweep import SweepData, x_axis
from profkit.analysis.sweep_curves import pareto, sweep_curves
from profkit.analysis.sweep_floor import sweep_floors


@pytest.fixture(scope="module")
def graph():
    return sweep_curves(worked.graph())


@pytest.fixture(scope="module")
def eager():
    return sweep_curves(worked.eager())


def test_series_run_along_batch_and_are_named_by_the_other_axes(graph):
    assert graph.axis == "batch"
    assert [series.label for series in graph.series] == [f"context {context}" for context in worked.CONTEXTS]
    for series in graph.series:
        assert [point.x for point in series.points] == list(worked.BATCHES)


def test_a_sweep_of_one_axis_is_one_series_without_a_name():
    assert [series.label for series in sweep_curves(cpu_sweep()).series] == [""]


@pytest.mark.parametrize(
    ("axes", "axis"),
    [
        ({"context": [1, 2], "batch": [1]}, "batch"),
        ({"mode": ["a", "b"], "tokens": [8, 16]}, "tokens"),
        ({"flag": [True, False]}, None),
        ({"mode": ["a", "b"]}, None),
    ],
)
def test_the_axis_along_x(axes, axis):
    assert x_axis(sweep_meta(axes=axes)) == axis


def test_floors_are_below_what_was_measured(graph, eager):
    for sweep in (graph, eager):
        times = [t for series in sweep.series for p in series.points for t in p.phases.values() if t.floor_ns]
        assert len(times) > 40
        assert all(t.floor_ns < t.median_ns for t in times)


def test_a_decode_floor_is_the_bytes_of_weights_and_cache_at_the_measured_bandwidth(graph):
    point = graph.series[0].points[0]
    moved = worked.WEIGHTS + (512 + 1) * worked.KV
    assert point.phases["decode"].floor_ns == pytest.approx(moved / 4.2e12 * 1e9, rel=1e-6)


def test_graph_steps_are_bound_by_memory_and_eager_steps_by_launches(graph, eager):
    def regimes(sweep, phase):
        return {p.phases[phase].regime for series in sweep.series for p in series.points if phase in p.phases}

    assert regimes(graph, "decode") == {BANDWIDTH}
    assert regimes(graph, "prefill") == {COMPUTE}
    assert regimes(eager, "decode") == {LAUNCH}
    assert regimes(eager, "prefill") == {LAUNCH, COMPUTE}


def test_a_point_out_of_memory_keeps_its_place_and_its_message(graph):
    failed = [point for point in graph.all_points() if point.status == "out of memory"]
    assert {point.message for point in failed} == {"at 141 GB, by plan 143 GB"}
    assert not any(point.phases for point in failed)


def test_knees_are_where_memory_begins_to_grow(graph, eager):
    assert graph.knees["context 512"].batch > graph.knees["context 4096"].batch > graph.knees["context 16384"].batch
    assert all(knee.batch is None for knee in eager.knees.values())


def test_without_decode_steps_the_whole_run_counts_tokens():
    full = gpu_sweep()
    samples = [row for row in full.samples.to_pylist() if row["phase"] == "total"]
    sweep = sweep_curves(SweepData.of(full.meta, full.points.to_pylist(), samples))
    assert sweep.throughput == "total"
    assert sweep.phases() == ["total"]


def test_the_table_has_the_same_floors_and_regimes(graph):
    frame = table(worked.graph())
    decode = frame[(frame["phase"] == "decode") & (frame["context"] == 512)]
    series = [times for _, times in graph.series[0].measured("decode")]
    assert decode["floor_ns"].tolist() == [times.floor_ns for times in series]
    assert decode["regime"].tolist() == [times.regime for times in series]
    assert frame[frame["phase"] == "total"]["floor_ns"].isna().all()


def test_without_ceilings_there_is_no_floor_and_no_regime_and_the_reason_is_said():
    sweep = sweep_curves(worked.graph(ceilings={}, not_measured={}))
    assert not sweep.floors.floors
    assert "ceilings are not known" in sweep.floors.reason
    assert not any(fit.claims for fit in sweep.fits.values())


@pytest.mark.parametrize(
    "work",
    [
        None,
        "much",
        [1, "x", {}],
        [{"point": 0, "phase": "decode", "ops": [["linear", "many", 1]]}],
        [{"point": 0, "phase": "decode", "ops": [["linear", math.nan, 1.0]]}],
        [{"point": 0, "phase": "decode", "ops": [["linear", -1.0, 1.0]]}],
        [{"point": 0, "phase": "decode", "ops": []}],
    ],
)
def test_work_that_is_none_makes_no_floor(work):
    floors = sweep_floors(worked.graph(model={"dtype": "bfloat16", "work": work}, not_measured={}))
    assert not floors.floors
    assert floors.reason == "the model's shape is not known"


@pytest.mark.parametrize("ceilings", [{"gpu": 1}, {"copy": "fast"}])
def test_ceilings_that_are_none_make_no_floor(ceilings):
    assert not sweep_floors(worked.graph(ceilings=ceilings)).floors


def test_a_dtype_without_a_ceiling_has_no_floor():
    floors = sweep_floors(worked.graph(model={"dtype": "float32", "work": worked.graph().meta.model["work"]}))
    assert "no ceiling is known for matrix products in float32" in floors.reason


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=30))
def test_no_point_beats_one_of_the_front_and_every_other_is_beaten(points):
    front = pareto(points)

    def beats(a, b):
        return a != b and a[0] <= b[0] and a[1] >= b[1]

    for at, point in enumerate(points):
        if at in front:
            assert not any(beats(other, point) for other in points)
        else:
            assert any(beats(points[other], point) or points[other] == point for other in front)
    assert [points[i] for i in front] == sorted(points[i] for i in front)
