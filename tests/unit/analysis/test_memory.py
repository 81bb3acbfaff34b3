"""What filled the memory at its peak, from allocations that a reader can add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit import records
from unit.records import MS

from profkit.analysis.memory import FRAGMENTATION, KINDS, Allocations, memory_curve, memory_peak
from profkit.record import MEMORY, MemoryKind, Record

CACHE = 64 * 131_072


def record_of(*entries):
    """(start, end, size, category[, stack]) of each allocation on GPU 0, in ns."""
    names = ("start", "end", "size", "category", "stack")
    rows = [{"device": 0, **dict(zip(names, entry, strict=False))} for entry in entries]
    return Record(records.meta(), memory=records.rows(MEMORY, rows))


def test_the_peak_is_split_by_what_it_is_for():
    peak = memory_peak(records.gpu_record())
    assert peak.at_ns == 26 * MS
    assert peak.categories == {
        "weights": 2_700_000_000,
        "kv": CACHE,
        "activations": 191_000_000,
        "workspace": 33_000_000,
        "other": 100_000_000,
        "fragmentation": 3_200_000_000 - peak.allocated_bytes,
    }
    assert sum(peak.categories.values()) == peak.reserved_bytes == 3_200_000_000
    assert peak.stack == records.STACK


def test_the_largest_are_grouped_by_their_place():
    peak = memory_peak(
        record_of(
            (None, None, 10, "weights"),
            (1, 9, 3, "activations", "here"),
            (2, 9, 4, "activations", "here"),
            (3, 4, 5, "activations", "there"),
            (5, 9, 1, "kv", "here"),
        )
    )
    assert peak.at_ns == 3
    assert peak.largest == (
        Allocations("weights", 1, 10, None),
        Allocations("activations", 2, 7, "here"),
        Allocations("activations", 1, 5, "there"),
    )
    assert peak.stack == "there"


def test_what_was_there_before_is_one_state():
    curve = memory_curve(record_of((None, None, 10, "weights"), (None, 5, 20, "other"), (None, None, 64, "segment")), 0)
    assert curve["weights"].tolist() == [10, 10]
    assert curve["other"].tolist() == [20, 0]
    assert curve["reserved"].tolist() == [64, 64]
    assert curve[FRAGMENTATION].tolist() == [34, 54]


def test_the_gpu_that_held_most_is_told():
    record = record_of((None, None, 10, "weights"))
    second = {"device": 1, "size": 11, "category": "weights"}
    record.memory = records.rows(MEMORY, [*record.memory.to_pylist(), second])
    assert memory_peak(record).device == 1
    assert memory_peak(record, 0).allocated_bytes == 10


def test_without_a_history_there_is_no_peak():
    assert memory_peak(records.cpu_record()) is None
    assert memory_curve(records.cpu_record(), 0).empty


def test_a_peak_before_the_block_has_no_stack():
    peak = memory_peak(record_of((None, 5, 20, "other"), (7, 9, 1, "activations", "here")))
    assert (peak.at_ns, peak.stack, peak.allocated_bytes) == (0, None, 20)


@pytest.mark.parametrize("points", [3, 10])
def test_a_long_curve_keeps_its_highest_points(points):
    record = record_of(*((10 * at, 10 * at + 5, 100 if at == 57 else 1, "activations") for at in range(100)))
    curve = memory_curve(record, 0, points)
    assert len(curve) == points
    assert curve["allocated"].max() == 100
    assert (np.diff(curve["time"]) > 0).all()


TIMES = st.one_of(st.none(), st.integers(0, 50))


@st.composite
def allocations(draw):
    found = []
    for _ in range(draw(st.integers(1, 12))):
        start, length = draw(TIMES), draw(st.one_of(st.none(), st.integers(1, 30)))
        end = None if length is None else (start or 0) + length
        found.append((start, end, draw(st.integers(0, 100)), str(draw(st.sampled_from(KINDS)))))
    return found


@given(allocations())
def test_the_curve_is_what_lies_there_at_each_of_its_times(found):
    curve = memory_curve(record_of(*found), 0)
    for _, row in curve.groupby("time").last().reset_index().iterrows():
        for kind in KINDS:
            there = sum(
                size
                for start, end, size, category in found
                if category == kind and (start is None or start <= row["time"]) and (end is None or row["time"] < end)
            )
            assert row[str(kind)] == there
    peak = memory_peak(record_of(*found))
    assert peak.allocated_bytes == curve["allocated"].max()
    assert set(peak.categories) == {*map(str, KINDS), FRAGMENTATION}
    assert MemoryKind.SEGMENT not in peak.categories
