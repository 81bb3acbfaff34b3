"""Tracks on which events nest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profkit.formats.chrome.nest import tracks

events = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=30).map(sorted)


def found(pairs):
    start, duration = (np.array([pair[at] for pair in pairs], np.int64) for at in range(2))
    return tracks(start, duration).tolist()


def cross(one, other):
    """Whether the events overlap and neither holds the other."""
    (a, length), (b, other_length) = sorted((one, other), key=lambda pair: (pair[0], -pair[1]))
    return a < b < a + length < b + other_length


@given(events)
def test_events_of_one_track_nest(pairs):
    track = found(pairs)
    for i in range(len(pairs)):
        for j in range(i):
            assert track[i] != track[j] or not cross(pairs[i], pairs[j])


@given(events)
def test_events_that_nest_stay_on_the_first_track(pairs):
    if not any(cross(one, other) for one in pairs for other in pairs):
        assert not any(found(pairs))


def test_an_event_that_outlives_the_one_around_it_moves():
    assert found([(0, 10), (2, 3), (8, 10), (20, 5)]) == [0, 0, 1, 0]
