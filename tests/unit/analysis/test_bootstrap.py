"""The interval of a median covers the truth as often as it says, and trends are told from noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profkit.analysis.bootstrap import MIN_BLOCKS, _t_quantile, drifts, median_interval

blocks = st.lists(st.lists(st.integers(1, 10**9), min_size=1, max_size=20), min_size=MIN_BLOCKS, max_size=10)


@given(blocks)
def test_the_interval_lies_around_the_median_and_within_the_sample(values):
    interval = median_interval(values, resamples=200)
    pooled = np.concatenate(values)
    assert interval.median == np.median(pooled)
    assert pooled.min() <= interval.low <= interval.high <= pooled.max()


@given(blocks, st.floats(0.5, 0.8), st.floats(0.9, 0.99))
def test_more_confidence_needs_a_wider_interval(values, less, more):
    narrow, wide = (median_interval(values, confidence, resamples=200) for confidence in (less, more))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@given(blocks, st.integers(1, 1000))
def test_the_interval_scales_with_the_values(values, factor):
    one = median_interval(values, resamples=100)
    other = median_interval([[value * factor for value in block] for block in values], resamples=100)
    assert other.low == pytest.approx(one.low * factor)
    assert other.high == pytest.approx(one.high * factor)


@given(st.integers(1, 10**9), st.integers(MIN_BLOCKS, 20))
def test_equal_values_have_an_interval_of_no_width(value, count):
    interval = median_interval([[value] * 3] * count)
    assert (interval.low, interval.median, interval.high) == (value, value, value)
    assert interval.relative_half_width == 0


def test_fewer_than_five_runs_have_no_interval():
    assert median_interval([[1.0, 2.0]] * 4) is None
    assert median_interval([[1.0]] * 4 + [[]]) is None


def test_runs_may_differ_in_length():
    assert median_interval([[1] * 100, [2], [3], [4], [5]]).median == 1


def coverage(count, per_block, between, within, trials=300):
    """How often the interval of the median holds the true median of 100."""
    random = np.random.default_rng(1)
    held = 0
    for trial in range(trials):
        centres = random.normal(100, between, size=(count, 1))
        values = centres + random.normal(0, within, size=(count, per_block))
        interval = median_interval(list(values), resamples=300, seed=trial)
        held += interval.low <= 100 <= interval.high
    return held / trials


@settings(deadline=None, max_examples=6)
@given(st.integers(6, 16), st.sampled_from([1, 8, 31]), st.sampled_from([0.0, 1.0, 3.0]))
def test_the_interval_covers_the_truth_about_as_often_as_it_says(count, per_block, between):
    # 300 trials of 95 %: four standard deviations are 5 points; medians of few runs lie a little below.
    assert coverage(count, per_block, between, within=1.0) >= 0.87


def test_steps_of_one_run_are_not_taken_for_independent_ones():
    # 40 runs of 30 steps that differ between runs only are 40 observations, not 1200.
    random = np.random.default_rng(0)
    runs = [np.full(30, value) for value in random.normal(100, 1, size=40)]
    apart = median_interval(runs)
    pooled = median_interval([[value] for value in np.concatenate(runs)])
    assert apart.relative_half_width > 2 * pooled.relative_half_width


@pytest.mark.parametrize(("freedom", "exact"), [(4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042)])
def test_students_t(freedom, exact):  # two-sided 95 %, from tables
    assert _t_quantile(0.975, freedom) == pytest.approx(exact, rel=0.01)


@given(st.lists(st.integers(1, 10**6), min_size=6, max_size=30, unique=True))
def test_a_series_that_only_rises_or_falls_drifts(values):
    assert drifts(sorted(values)) is True
    assert drifts(sorted(values, reverse=True)) is True


def test_noise_rarely_drifts():
    random = np.random.default_rng(0)
    found = [drifts(random.normal(size=12)) for _ in range(500)]
    assert sum(found) / len(found) <= 0.03


@given(st.lists(st.integers(1, 10**6), max_size=5))
def test_too_few_values_cannot_show_a_drift(values):
    assert drifts(values) is None


def test_equal_values_do_not_drift():
    assert drifts([5.0] * 20) is False
