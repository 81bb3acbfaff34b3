"""What an allocation is for, told by its address and its time."""

import pytest
import torch
from unit.snapshots import Allocator

import profkit
from profkit.capture.clock import Clock
from profkit.capture.kvcache import KVRecorder
from profkit.capture.memory import MemoryHistory, MemoryHistoryError, memory_table
from profkit.formats.snapshot import read_snapshot
from profkit.models import random_llama, random_prompt

WEIGHT, CACHE, WORK, LIBRARY, RESULT, OLD = (2**20 * at for at in range(6))


@pytest.fixture
def rows():
    """The table of a block that made each kind of allocation."""
    allocator = Allocator()
    allocator.segment(0, 64 * 2**20)
    allocator.alloc(WEIGHT, 100)
    allocator.alloc(OLD, 50)
    lost = len(allocator.trace)
    begin = 1000 * allocator.time_us
    allocator.alloc(CACHE, 10, "update")
    allocator.alloc(WORK, 20)
    read = 1000 * allocator.time_us - begin
    allocator.free(WORK)
    allocator.free(CACHE)
    allocator.alloc(CACHE, 30)  # its address again, for something else
    allocator.free(CACHE)
    allocator.free(OLD)
    allocator.alloc(LIBRARY, 40)
    allocator.alloc(RESULT, 60)
    history = read_snapshot(allocator.snapshot(lost), 0)
    return memory_table({0: history}, begin, {WEIGHT}, [(read, frozenset({CACHE}))], {RESULT, WEIGHT}).to_pylist()


@pytest.mark.parametrize(
    ("size", "category"),
    [
        (100, "weights"),
        (10, "kv"),
        (20, "activations"),
        (30, "activations"),
        (40, "workspace"),
        (60, "other"),
        (50, "other"),
        (64 * 2**20, "segment"),
    ],
)
def test_categories(rows, size, category):
    assert [row["category"] for row in rows if row["size"] == size] == [category]


def test_times_are_those_of_the_record(rows):
    (cache,) = [row for row in rows if row["size"] == 10]
    assert (cache["start"], cache["end"]) == (1000, 5000)
    (weights,) = [row for row in rows if row["size"] == 100]
    assert (weights["start"], weights["end"]) == (None, None)
    assert cache["stack"].startswith("update")


def test_without_a_gpu_there_is_a_reason():
    with pytest.raises(MemoryHistoryError, match="there is no GPU"):
        MemoryHistory([]).start()
    assert MemoryHistory([]).stop() == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests/gpu/test_memory.py has it with a GPU")
@pytest.mark.parametrize("trace", [False, True])
def test_a_profile_without_a_gpu_says_why_it_has_none(trace):
    with profkit.profile("memory", trace=trace, memory=True) as session:
        torch.ones(3)
    assert "there is no GPU" in session.run.meta.not_measured["memory"]
    assert not len(session.run.record.memory)


def test_addresses_of_caches_are_kept_when_they_are_wanted():
    model = random_llama("tiny")
    ids = random_prompt(model, 1, 8)["input_ids"]
    cache = model(ids).past_key_values
    for wanted in (False, True):
        recorder = KVRecorder(Clock(), locate=wanted)
        recorder.read(model, cache, 8)
        found = [addresses for _, addresses in recorder.pointers]
        tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        assert found == ([{tensor.untyped_storage().data_ptr() for tensor in tensors}] if wanted else [])
