"""Interval arithmetic against a bitmap of every nanosecond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profkit.analysis.intervals import Intervals, union

SPAN = 60
FAR = 2**62  # near the end of int64, where a float would lose nanoseconds

pairs = st.lists(st.tuples(st.integers(0, SPAN), st.integers(0, SPAN)), max_size=12)
offsets = st.sampled_from([0, -(2**40), FAR, FAR + 12_345, -FAR])


def columns(intervals, offset=0):
    array = np.array(intervals, np.int64).reshape(-1, 2) + offset
    return array[:, 0], array[:, 1]


def bitmap(intervals):
    covered = np.zeros(SPAN, bool)
    for start, end in intervals:
        covered[start:end] = True
    return covered


@given(pairs, offsets)
def test_union_covers_what_any_interval_covers(intervals, offset):
    found = union(*columns(intervals, offset))
    assert found.total == bitmap(intervals).sum()
    together = [(int(a) - offset, int(b) - offset) for a, b in zip(found.start, found.end, strict=True)]
    assert (bitmap(together) == bitmap(intervals)).all()


@given(pairs, offsets)
def test_union_is_ascending_and_neither_overlaps_nor_touches(intervals, offset):
    found = union(*columns(intervals, offset))
    assert (found.end > found.start).all()
    assert (found.start[1:] > found.end[:-1]).all()


@given(pairs, st.lists(st.tuples(st.integers(-5, SPAN + 5), st.integers(0, SPAN)), max_size=6), offsets)
def test_covered_counts_the_nanoseconds_of_each_range(intervals, ranges, offset):
    start, length = (np.array(column, np.int64) for column in (zip(*ranges, strict=True) if ranges else ([], [])))
    covered = union(*columns(intervals, offset)).covered(start + offset, start + length + offset)
    bits = bitmap(intervals)
    assert covered.tolist() == [
        int(bits[max(a, 0) : max(a + n, 0)].sum()) for a, n in zip(start.tolist(), length.tolist(), strict=True)
    ]


@given(pairs, offsets)
def test_gaps_and_intervals_fill_the_range_between_first_and_last(intervals, offset):
    found = union(*columns(intervals, offset))
    gaps = found.gaps()
    whole = int(found.end[-1] - found.start[0]) if len(found.start) else 0
    assert found.total + gaps.total == whole
    assert not found.covered(gaps.start, gaps.end).any()


def test_lengths_near_the_end_of_int64_are_exact():
    found = union(np.array([FAR, FAR + 3]), np.array([FAR + 1, FAR + 10]))
    assert found.total == 8
    assert found.covered(np.array([FAR - 1]), np.array([FAR + 5])).tolist() == [3]


@pytest.mark.parametrize("intervals", [[], [(7, 7)], [(9, 4)]], ids=["none", "zero length", "backwards"])
def test_nothing_with_a_length_covers_nothing(intervals):
    found = union(*columns(intervals))
    assert found.total == 0
    assert len(found.gaps().start) == 0
    assert found.covered(np.array([0]), np.array([10])).tolist() == [0]


def test_touching_intervals_are_one():
    found = union(*columns([(0, 5), (5, 9)]))
    assert (found.start.tolist(), found.end.tolist()) == ([0], [9])


def test_gaps_lie_between_and_not_around():
    gaps = Intervals(np.array([2, 8]), np.array([5, 9])).gaps()
    assert (gaps.start.tolist(), gaps.end.tolist()) == ([5], [8])
