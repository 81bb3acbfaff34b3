"""Rows in which events do not overlap."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profkit.analysis.timeline.pack import depths, parents_first

events = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), max_size=40).map(sorted)
LIMIT = 100


def packed(pairs, limit=LIMIT):
    """Start, duration and depth, in the order of `parents_first`."""
    start, duration = (np.array([pair[i] for pair in pairs], np.int64) for i in range(2))
    order = parents_first(start, duration)
    if order is not None:
        start, duration = start[order], duration[order]
    return start, duration, depths(start, duration, limit)


@given(events)
def test_events_of_one_depth_do_not_overlap(pairs):
    start, duration, depth = packed(pairs)
    for level in np.unique(depth):
        of = depth == level
        assert (start[of][1:] >= (start + duration)[of][:-1]).all()


@given(events)
def test_a_depth_is_used_only_where_those_above_are_taken(pairs):
    start, duration, depth = packed(pairs)
    for at in range(len(start)):
        open_at = [i for i in range(at) if start[i] + duration[i] > start[at]]
        assert depth[at] <= len(open_at)


@given(events)
def test_equal_starts_have_the_longest_first(pairs):
    start, duration, _ = packed(pairs)
    assert list(zip(start, -duration, strict=True)) == sorted((s, -d) for s, d in pairs)


@given(events, st.integers(1, 3))
def test_what_does_not_fit_moves_nothing_else(pairs, limit):
    _, _, free = packed(pairs)
    _, _, depth = packed(pairs, limit)
    assert np.minimum(depth, limit).tolist() == np.minimum(free, limit).tolist()


def test_calls_lie_under_their_callers():
    _, _, depth = packed([(0, 100), (10, 40), (20, 10), (60, 30), (60, 10), (100, 5)])
    assert depth.tolist() == [0, 1, 2, 1, 2, 0]


def test_an_event_that_outlives_its_parent_takes_the_next_free_row():
    _, _, depth = packed([(0, 10), (5, 10), (12, 8)])
    assert depth.tolist() == [0, 1, 0]


def test_a_million_events_on_top_of_each_other_do_not_take_a_million_rounds():
    start = np.arange(1_000_000)
    depth = depths(start, np.full(len(start), 2_000_000), 8)
    assert depth[:8].tolist() == list(range(8))
    assert (depth[8:] >= 8).all()
