"""Rows from afar."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import records
from unit.analysis.trace import kernel, record

from profkit.analysis.timeline import CLASSES, bin_edges, first_bins, levels, strips, timeline
from profkit.analysis.timeline.strips import FIRST_BYTES, LEVEL_BYTES, STEP, bin_of

NAMES = ("gemm", "softmax_kernel", "copy_kernel")
WALL = 120
kernels = st.lists(
    st.tuples(st.integers(-10, WALL + 10), st.integers(0, 30), st.sampled_from(NAMES), st.integers(1, 2)), max_size=12
)


def brute(found, bins):
    """Class and cover of every bin, nanosecond by nanosecond."""
    edges = [found.start_ns + i * (found.end_ns - found.start_ns) // bins for i in range(bins + 1)]
    for row in found.rows:
        of = found.of(row)
        events = list(zip(found.start[of].tolist(), found.duration[of].tolist(), found.kind[of].tolist(), strict=True))
        for low, high in itertools.pairwise(edges):
            time = np.zeros(len(CLASSES), int)
            for start, duration, kind in events:
                time[kind] += sum(start <= at < start + duration for at in range(low, high))
            touched = [kind for start, _, kind in events if low <= start < high]
            yield time, high - low, touched


@given(kernels, st.sampled_from([1, 4, 16, 64, 256]))
def test_a_bin_shows_what_brute_force_finds(events, bins):
    rows = [kernel(start, start + length, name=name, lane=lane) for start, length, name, lane in events]
    found = timeline(record(*rows, wall_ns=WALL))
    drawn = strips(found, bins).reshape(-1, 2).tolist()
    for (kind, cover), (time, width, touched) in zip(drawn, brute(found, bins), strict=True):
        if not time.any():
            assert cover == (1 if touched else 0)
            assert not touched or kind in touched
            continue
        assert cover == max(round(255 * time.sum() / width), 1)
        assert time[kind] == time.max()


@given(st.integers(-(2**52), 2**52), st.integers(1, 2**52), st.sampled_from([1, 2, 1024, 65536]), st.data())
def test_every_moment_lies_in_the_bin_whose_edges_hold_it(start, span, bins, data):
    edges = bin_edges(start, start + span, bins)
    assert edges[0] == start
    assert edges[-1] == start + span
    assert (np.diff(edges) >= 0).all()
    at = np.array(data.draw(st.lists(st.integers(start, start + span - 1), min_size=1, max_size=20)))
    found = bin_of(at, edges)
    assert (edges[found] <= at).all()
    assert (at < edges[found + 1]).all()


def test_an_edge_is_where_integers_put_it():
    start, end, bins = -7, 2**53 - 11, 65536
    edges = bin_edges(start, end, bins)
    for i in (1, 3, 65535, 65536):
        assert edges[i] == start + (end - start) * i // bins


@pytest.mark.parametrize("streams", [1, 40, 256])
def test_strips_stay_within_their_bytes(streams):
    found = timeline(record(*(kernel(i, i + 5, lane=i) for i in range(streams))))
    bins = first_bins(found)
    assert bins & (bins - 1) == 0
    assert strips(found, bins).nbytes <= FIRST_BYTES
    finest = bins * STEP ** levels(found)
    assert 2 * finest * len(found.rows) <= LEVEL_BYTES


def test_the_whole_view_covers_what_the_summary_calls_busy():
    made = records.gpu_record()
    found = timeline(made)
    one = strips(found, 1)
    gpu = next(at for at, row in enumerate(found.rows) if found.groups[row.group].kind == "gpu")
    assert one[gpu, 0, 1] == round(255 * 0.38)
    assert CLASSES[one[gpu, 0, 0]] == ("work", "matmul")
