"""The allocator's history on a GPU: the peak is split, and nothing is left switched on."""

import pytest
import torch

import profkit
from profkit.analysis.memory import FRAGMENTATION, memory_curve, memory_peak
from profkit.models import random_llama, random_prompt

GREEDY = {"max_new_tokens": 4, "do_sample": False}
MIB = 2**20


@pytest.fixture(scope="module")
def model():
    return random_llama("tiny")


@pytest.fixture(scope="module")
def run(model):
    inputs = random_prompt(model, 4, 64)
    model.generate(**inputs, **GREEDY)
    with profkit.profile("memory", model=model, trace=False, memory=True) as session:
        model.generate(**inputs, **GREEDY)
        large = torch.empty(64 * MIB, device="cuda", dtype=torch.uint8)
        del large
    return session.run


def test_the_peak_is_that_of_the_allocator(run):
    peak = memory_peak(run.record)
    assert peak.allocated_bytes == pytest.approx(run.meta.peak_memory_bytes[0], rel=0.05)
    assert peak.reserved_bytes >= peak.allocated_bytes
    assert sum(peak.categories.values()) == peak.reserved_bytes


def test_each_part_is_told(run, model):
    peak = memory_peak(run.record)
    weights = {parameter.data_ptr(): parameter.nbytes for parameter in model.parameters()}
    assert peak.categories["weights"] == pytest.approx(sum(weights.values()), rel=0.01)
    assert peak.categories["activations"] >= 64 * MIB
    assert "test_memory.py" in peak.stack, "the large tensor made the peak"
    curve = memory_curve(run.record, 0)
    assert curve["kv"].max() >= run.kv["storage_bytes"].max()
    assert curve["kv"].max() <= 2 * run.kv["storage_bytes"].max(), "old and new while a layer grows, no more"
    assert (curve[FRAGMENTATION] >= 0).all()


def test_the_curve_ends_where_the_allocator_is(run):
    curve = memory_curve(run.record, 0)
    assert curve["reserved"].iloc[-1] <= torch.cuda.get_device_properties(0).total_memory
    assert curve["weights"].nunique() == 1


def test_nothing_is_left_switched_on(model):
    with profkit.profile("memory", model=model, trace=False, memory=True):
        torch.ones(3, device="cuda")
    before = len(torch.cuda.memory._snapshot()["device_traces"][0])
    torch.ones(1000, device="cuda")
    assert len(torch.cuda.memory._snapshot()["device_traces"][0]) == before


def test_a_history_of_somebody_else_is_left_alone():
    torch.cuda.memory._record_memory_history("all", max_entries=1000)
    try:
        with profkit.profile("memory", trace=False, memory=True) as session:
            torch.ones(3, device="cuda")
        assert "already" in session.run.meta.not_measured["memory"]
        assert torch._C._cuda_isHistoryEnabled()
    finally:
        torch.cuda.memory._record_memory_history(None)


def test_with_a_trace_too(model):
    with profkit.profile("memory", model=model, memory=True) as session:
        model.generate(**random_prompt(model, 1, 8), **GREEDY)
    assert memory_peak(session.run.record) is not None
    assert len(session.run.events)
