"""Snapshots of torch's allocator as intervals: whatever part of the history is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.snapshots import Allocator

from profkit.formats.snapshot import ALLOCATION, SEGMENT, Held, read_snapshot

MIB = 2**20


def test_an_allocation_has_a_beginning_an_end_and_a_stack():
    allocator = Allocator()
    allocator.segment(0, 20 * MIB)
    allocator.alloc(512, 1000, "linear")
    allocator.free(512)
    history = read_snapshot(allocator.snapshot(), 0)
    stack = "linear (functional.py:20) < generate (model.py:7)"
    assert set(history.held) == {
        Held(SEGMENT, 0, 20 * MIB, 1_000_001_000, None),
        Held(ALLOCATION, 512, 1000, 1_000_002_000, 1_000_003_000, stack),
    }
    assert (history.entries, history.unread) == (4, 0)


def test_what_was_there_before_has_no_beginning():
    allocator = Allocator()
    allocator.segment(0, 20 * MIB)
    allocator.alloc(0, 5000, "weights")
    allocator.alloc(512, 1000)
    allocator.free(512)
    held = read_snapshot(allocator.snapshot(lost=3), 0).held
    by_address = {piece.address: piece for piece in held if piece.kind == ALLOCATION}
    assert (by_address[0].start_ns, by_address[0].end_ns) == (None, None)
    assert by_address[0].stack.startswith("weights"), "the block itself knows who made it"
    assert by_address[512].start_ns is None
    assert by_address[512].end_ns is not None


def test_another_gpu_has_its_own():
    assert read_snapshot(Allocator().snapshot(), 1).held == ()
    assert read_snapshot(Allocator().snapshot(), 7).held == ()


def test_events_of_one_microsecond_keep_their_order():
    allocator = Allocator()
    allocator.alloc(0, 10)
    allocator.free(0)
    allocator.alloc(0, 20)
    for entry in allocator.trace:
        entry["time_us"] = 5
    first = read_snapshot(allocator.snapshot(), 0).held[0]
    assert (first.size, first.start_ns, first.end_ns) == (10, 5000, 5001)


@pytest.mark.parametrize(
    "entry",
    [{}, {"action": "alloc"}, {"action": "alloc", "addr": "x", "size": 1, "time_us": 2}, {"action": "free_requested"}],
)
def test_an_entry_that_lacks_something_is_counted(entry):
    snapshot = Allocator().snapshot()
    snapshot["device_traces"][0].append(entry)
    assert read_snapshot(snapshot, 0).unread == (1 if entry else 0)


@pytest.mark.parametrize("action", ["oom", "snapshot", "free_completed", "user_defined", "of a newer torch"])
def test_other_actions_are_left_out(action):
    snapshot = Allocator().snapshot()
    snapshot["device_traces"][0].append({"action": action, "size": 1})
    assert read_snapshot(snapshot, 0).held == ()


@pytest.mark.parametrize("snapshot", [{}, {"segments": [], "device_traces": []}, {"segments": [{}]}])
def test_an_empty_snapshot_has_nothing(snapshot):
    assert read_snapshot(snapshot, 0).held == ()


def test_expandable_segments_grow_and_shrink_by_parts():
    trace = [
        {"action": "segment_map", "addr": 0, "size": 4, "time_us": 1},
        {"action": "segment_map", "addr": 4, "size": 4, "time_us": 2},
        {"action": "segment_unmap", "addr": 2, "size": 4, "time_us": 3},
    ]
    segments = [{"address": 0, "total_size": 2, "blocks": []}, {"address": 6, "total_size": 2, "blocks": []}]
    held = read_snapshot({"segments": segments, "device_traces": [trace]}, 0).held
    assert {(piece.address, piece.size, piece.start_ns, piece.end_ns) for piece in held} == {
        (2, 2, 1000, 3000),
        (4, 2, 2000, 3000),
        (0, 2, 1000, None),
        (6, 2, 2000, None),
    }


@st.composite
def lives(draw):
    """An allocator that did any number of things, and what lay there after each entry of its trace."""
    allocator, states = Allocator(), []
    allocator.segment(0, 64 * MIB)
    states.append({})
    for _ in range(draw(st.integers(0, 30))):
        slot = draw(st.integers(0, 5)) * MIB
        if slot in allocator.blocks:
            allocator.free(slot)
            states.append({at: size for at, (size, _) in allocator.blocks.items()})
        else:
            allocator.alloc(slot, draw(st.integers(1, MIB)))
        states.append({at: size for at, (size, _) in allocator.blocks.items()})
    return allocator, states, draw(st.integers(0, len(states)))


@given(lives())
def test_what_lay_there_at_any_time_is_told_however_much_of_the_history_is_lost(life):
    allocator, states, lost = life
    held = [piece for piece in read_snapshot(allocator.snapshot(lost), 0).held if piece.kind == ALLOCATION]
    for at in range(lost, len(states)):
        time = 1000 * allocator.trace[at]["time_us"]
        there = {
            piece.address: piece.size
            for piece in held
            if (piece.start_ns is None or piece.start_ns <= time) and (piece.end_ns is None or piece.end_ns > time)
        }
        assert there == states[at]
