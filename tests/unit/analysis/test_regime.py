"""Regimes: found where they are, not claimed where the times do not tell."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profkit.analysis.regime import (
    BANDWIDTH,
    COMPUTE,
    LAUNCH,
    MAX_ERROR,
    MIN_POINTS,
    TERMS,
    StepPoint,
    fit_regimes,
    knee,
)

BANDWIDTH_CEILING, RATE_CEILING = 4.3e12, 790e12
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS = (512, 4096)
WEIGHTS, KV, PARAMETERS = 16e9, 131_072, 8e9


def decode(batches, contexts, launch_ns, bandwidth, rate):
    """Steps of an 8B shape under these three limits, and the limit that holds with its lead over the next."""
    points, truth = [], []
    for batch in batches:
        for context in contexts:
            moved = WEIGHTS + batch * context * KV
            flops = 2 * PARAMETERS * batch + 4 * batch * 32 * 128 * 32 * context
            times = (launch_ns, moved / bandwidth * 1e9, flops / rate * 1e9)
            points.append(StepPoint(batch, flops, moved, max(times)))
            truth.append((TERMS[int(np.argmax(times))], max(times) / sorted(times)[1]))
    return points, truth


def noisy(points, sigma, seed):
    rng = np.random.default_rng(seed)
    return [StepPoint(p.batch, p.flops, p.bytes, p.ns * math.exp(rng.normal(0, sigma))) for p in points]


@settings(max_examples=40, deadline=None)
@given(
    launch_ms=st.floats(1, 80),
    bandwidth_share=st.floats(0.45, 0.95),
    rate_share=st.floats(0.4, 0.95),
    sigma=st.floats(0, 0.04),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_regime_that_is_claimed_is_the_true_one(launch_ms, bandwidth_share, rate_share, sigma, seed):
    points, truth = decode(
        BATCHES, (512, 4096, 16384), launch_ms * 1e6, bandwidth_share * BANDWIDTH_CEILING, rate_share * RATE_CEILING
    )
    fit = fit_regimes(noisy(points, sigma, seed), BANDWIDTH_CEILING, RATE_CEILING)
    for claimed, (true, lead) in zip(fit.regimes, truth, strict=True):
        if claimed is not None and lead > 1.3:  # nearer than that, both hold the step up
            assert claimed == true
    clear = [claimed for claimed, (_, lead) in zip(fit.regimes, truth, strict=True) if lead > 2]
    assert sum(claimed is not None for claimed in clear) >= 0.8 * len(clear)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("contexts", [(512,), CONTEXTS])
def test_nothing_is_claimed_of_times_that_have_nothing_to_do_with_the_work(seed, contexts):
    rng = np.random.default_rng(seed)
    points, _ = decode(BATCHES, contexts, 1, 1e30, 1e30)
    points = [StepPoint(p.batch, p.flops, p.bytes, math.exp(rng.uniform(math.log(1e6), math.log(2e7)))) for p in points]
    fit = fit_regimes(points, BANDWIDTH_CEILING, RATE_CEILING)
    assert not fit.claims
    assert "misses points by" in fit.reason
    assert fit.error > math.expm1(MAX_ERROR)


def test_eager_steps_are_flat_because_of_launches():
    points, _ = decode(BATCHES[:8], (512,), 52e6, 3e12, 500e12)
    fit = fit_regimes(noisy(points, 0.01, 0), BANDWIDTH_CEILING, RATE_CEILING)
    assert set(fit.regimes) == {LAUNCH}
    assert fit.launch_ns == pytest.approx(52e6, rel=0.02)
    assert fit.bandwidth is None


def test_graph_steps_grow_with_the_cache_because_of_memory():
    points, _ = decode(BATCHES, CONTEXTS, 2e6, 3e12, 500e12)
    fit = fit_regimes(noisy(points, 0.01, 0), BANDWIDTH_CEILING, RATE_CEILING)
    assert set(fit.regimes) == {BANDWIDTH}
    assert fit.bandwidth == pytest.approx(3e12, rel=0.02)
    assert max(map(abs, fit.residuals)) < 0.05


def test_three_regimes_meet_in_one_sweep():
    # Contexts so short that arithmetic overtakes memory.
    points, truth = decode((1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048), (16, 2048), 8e6, 3e12, 500e12)
    fit = fit_regimes(noisy(points, 0.01, 0), BANDWIDTH_CEILING, RATE_CEILING)
    assert {true for true, _ in truth} == set(TERMS)
    assert set(fit.regimes) - {None} == set(TERMS)
    assert fit.rate == pytest.approx(500e12, rel=0.05)


def test_prefill_is_bound_by_arithmetic():
    points = [
        StepPoint(b, 2 * PARAMETERS * b * s, WEIGHTS + b * s * KV, 2 * PARAMETERS * b * s / 0.5e6)
        for b in (1, 2, 4, 8)
        for s in (512, 2048)
    ]
    fit = fit_regimes(points, BANDWIDTH_CEILING, RATE_CEILING)
    assert set(fit.regimes) == {COMPUTE}


def test_flat_times_that_memory_and_launches_explain_alike_are_not_claimed():
    # One context, batches whose caches are small beside the weights: bytes hardly change, and 60 % of the ceiling.
    points, _ = decode((1, 2, 3, 4, 5, 6), (16,), 1, 0.6 * BANDWIDTH_CEILING, 1e30)
    fit = fit_regimes(noisy(points, 0.02, 1), BANDWIDTH_CEILING, RATE_CEILING)
    assert not fit.claims
    assert "launch or bandwidth" in fit.reason


def test_memory_that_could_be_three_times_as_fast_is_not_the_bound():
    points, _ = decode(BATCHES[:6], (16,), 1, 0.1 * BANDWIDTH_CEILING, 1e30)
    fit = fit_regimes(points, BANDWIDTH_CEILING, RATE_CEILING)
    assert BANDWIDTH not in fit.regimes


def test_one_point_far_off_is_not_claimed_and_does_not_bend_the_others():
    points, _ = decode(BATCHES, CONTEXTS, 52e6, 3e12, 500e12)
    points[4] = StepPoint(points[4].batch, points[4].flops, points[4].bytes, 2 * points[4].ns)
    fit = fit_regimes(noisy(points, 0.01, 0), BANDWIDTH_CEILING, RATE_CEILING)
    assert fit.regimes[4] is None
    assert fit.residuals[4] == pytest.approx(1, abs=0.1)
    assert fit.regimes[0] == LAUNCH
    assert fit.launch_ns == pytest.approx(52e6, rel=0.02)


@pytest.mark.parametrize(
    ("points", "ceilings", "reason"),
    [
        (decode(BATCHES, CONTEXTS, 1e6, 3e12, 5e14)[0], (None, RATE_CEILING), "ceilings are not known"),
        (decode(BATCHES, CONTEXTS, 1e6, 3e12, 5e14)[0], (BANDWIDTH_CEILING, None), "ceilings are not known"),
        (decode(BATCHES[:5], (512,), 1e6, 3e12, 5e14)[0], (1e12, 1e14), f"takes {MIN_POINTS} measured points"),
        (decode((1, 2), (16, 512, 4096), 1e6, 3e12, 5e14)[0], (1e12, 1e14), "different batches, there are 2"),
        ([StepPoint(b, 0, 1e9, 1e6) for b in BATCHES], (1e12, 1e14), "work of a step is not known"),
        ([], (1e12, 1e14), "there are 0"),
    ],
)
def test_a_fit_that_cannot_be_says_why(points, ceilings, reason):
    fit = fit_regimes(points, *ceilings)
    assert not fit.claims
    assert len(fit.regimes) == len(points)
    assert reason in fit.reason


def test_the_knee_is_the_last_batch_that_was_worth_its_size():
    # Steps take 10 ms up to batch 16, and then as long as the batch is.
    found = knee([1, 4, 16, 64, 256], [100, 400, 1600, 1600, 1600], [LAUNCH, LAUNCH, LAUNCH, COMPUTE, COMPUTE])
    assert found.batch == 16
    assert found.growth == pytest.approx((1, 1, 0, 0))
    assert found.why == (
        "beyond batch 16 a doubled batch gives 1.00 × the throughput at most: steps are launch-bound there, "
        "then compute-bound"
    )


def test_growth_to_the_end_has_no_knee():
    found = knee([1, 2, 4], [10, 20, 39], [None] * 3)
    assert found.batch is None
    assert "still grows near-linearly at batch 4" in found.why


def test_no_growth_at_all_has_its_knee_at_the_smallest_batch():
    found = knee([8, 16, 32], [100, 101, 102], [BANDWIDTH] * 3)
    assert found.batch == 8
    assert "from the smallest batch, 8, on" in found.why


def test_a_dip_that_growth_recovers_from_is_no_knee():
    assert knee([1, 2, 4, 8, 16], [10, 12, 40, 80, 90], [None] * 5).batch == 8


def test_two_batches_are_no_curve():
    assert knee([1, 2], [1, 2], [None, None]).batch is None


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=12))
def test_beyond_the_knee_no_step_is_near_linear(throughput):
    batches = [2.0**i for i in range(len(throughput))]
    found = knee(batches, throughput, [None] * len(batches))
    if found.batch is not None:
        at = batches.index(found.batch)
        assert all(growth < 0.75 for growth in found.growth[at:])
        assert at == 0 or found.growth[at - 1] >= 0.75
