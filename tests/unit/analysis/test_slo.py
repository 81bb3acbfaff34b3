"""The largest batch that meets the objectives, or by how much the best misses."""

import pytest
from unit.sweeps import MS, cpu_sweep, decode_ns, gpu_sweep, sweep_meta

from profkit.analysis.slo import verdicts
from profkit.analysis.sweep import SweepData


def by_context(data):
    return {verdict.where["context"]: verdict for verdict in verdicts(data)}


def test_the_largest_batch_that_meets_every_objective():
    found = by_context(gpu_sweep(slo_ns={"tpot": 7 * MS, "ttft": 500 * MS}))
    assert found[512].axis == "batch"
    assert found[512].largest == 64  # batch 512: decode step of 11 ms
    assert found[4096].largest == 64
    assert found[512].best is None


def test_the_objective_that_binds_is_named():
    found = by_context(gpu_sweep(slo_ns={"tpot": 7 * MS, "ttft": 500 * MS}))[512]
    assert found.at_largest.slo == "tpot"
    assert found.at_largest.median_ns == decode_ns(64, 512)
    assert found.at_largest.ratio < 1


def test_when_nothing_meets_it_the_best_says_by_how_much_it_misses():
    found = by_context(gpu_sweep(slo_ns={"tpot": 3 * MS}))[512]
    assert found.largest is None
    assert found.best == 1
    assert found.miss.ratio == pytest.approx(decode_ns(1, 512) / (3 * MS))


def test_an_objective_that_was_not_measured_is_not_met():
    data = gpu_sweep(slo_ns={"tpot": 10**12, "ttft": 10**12})
    data = type(data)(
        data.meta, data.points, data.samples.filter([p != "prefill" for p in data.samples["phase"].to_pylist()])
    )
    found = by_context(data)[512]
    assert found.largest is None
    assert found.best is None
    assert found.unknown == ("ttft",)


def test_a_point_out_of_memory_does_not_meet_anything():
    assert by_context(gpu_sweep(slo_ns={"tpot": 10**12}))[4096].largest == 64
    assert by_context(gpu_sweep(slo_ns={"tpot": 10**12}))[512].largest == 512


def test_one_axis_has_one_verdict():
    (found,) = verdicts(cpu_sweep(slo_ns={"e2e": 10**12}))
    assert found.where == {}
    assert found.largest == 512


def test_without_objectives_or_numbers_there_are_none():
    assert verdicts(gpu_sweep(slo_ns={})) == []
    words = sweep_meta(axes={"attention": ["sdpa", "eager"]}, slo_ns={"tpot": 1})
    assert verdicts(SweepData.of(words, [], [])) == []
