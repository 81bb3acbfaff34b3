"""Sweeps on a real GPU: prefill and decode apart, floors, out of memory, decode as one CUDA graph."""

import pytest
import torch

import profkit
from profkit.models import random_llama
from profkit.models.decode import DecodeLoop, decode, forget, prefill


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return random_llama("tiny")


@pytest.fixture(autouse=True)
def afterwards():
    yield
    forget()


def test_a_replayed_graph_makes_the_tokens_of_the_eager_step(model):
    eager, graph = (DecodeLoop(model, batch=3, context=64, graph=graph) for graph in (False, True))
    for _ in range(4):
        with torch.inference_mode():
            graph.ids.copy_(eager.ids)  # capturing ran steps of its own
        assert torch.equal(eager.step(), graph.step())


def test_decode_steps_have_gpu_times_eager_and_replayed(model):
    for graph in (False, True):
        with profkit.profile(model=model, trace=False) as session:
            decode(model, batch=2, context=64, steps=6, graph=graph)
        marked = session.run.steps[lambda s: s["context_tokens"] == 63]
        assert len(marked) == 6
        assert (marked["device_duration"] > 0).all()


def test_no_point_is_faster_than_its_floor():
    model = random_llama()

    def cell(batch, context, graph):
        prefill(model, batch, context)
        decode(model, batch, context, steps=8, graph=graph)

    made = profkit.sweep(cell, batch=[1, 8], context=[512], graph=[False, True], energy=False, progress=False)
    if made.meta.not_measured.get("floor"):
        pytest.skip(made.meta.not_measured["floor"])
    steps = made.table[made.table["phase"] != "total"]
    assert steps["floor_ns"].notna().all()
    assert (steps["median_ns"] >= steps["floor_ns"]).all(), steps[["batch", "graph", "phase", "median_ns", "floor_ns"]]
    assert made.meta.gpus == 1
    assert made.points["sm_clock_mhz"].notna().all()
    assert made.points["temperature_c"].between(10, 110).all()
    assert (made.points["peak_memory_bytes"] > 0).all()


def test_out_of_memory_is_a_result_and_its_memory_comes_back(model):
    free = torch.cuda.mem_get_info()[0]

    def cell(gib):
        blocks = [torch.empty(1 << 30, dtype=torch.uint8, device="cuda") for _ in range(gib)]
        return len(blocks)

    made = profkit.sweep(
        cell, gib=[1, free // (1 << 30) + 2, 2], model=model, tokens="1", energy=False, precision=1.0, progress=False
    )
    status = dict(zip(made.points["gib"], made.points["status"], strict=True))
    assert list(status.values()) == ["ok", "out of memory", "ok"]
    failed = made.points[made.points["status"] == "out of memory"].iloc[0]
    assert failed["peak_memory_bytes"] > 0.8 * free
    assert "out of memory" in failed["message"]
    assert torch.cuda.memory_reserved() < 4 << 30
    assert torch.cuda.mem_get_info()[0] > 0.9 * free


def test_host_times_of_marked_steps_without_a_device_are_not_taken_for_the_gpus(model):
    a = torch.randn(4096, 4096, device="cuda")

    def cell(x):
        with profkit.step("decode", batch=1, context_tokens=1):
            for _ in range(20):
                a @ a

    made = profkit.sweep(cell, x=[1], energy=False, precision=1.0, progress=False)
    assert made.table["phase"].tolist() == ["total"]
    assert "device=" in made.meta.not_measured["prefill and decode"]
    assert made.points["tokens_out"].tolist() == [1]
