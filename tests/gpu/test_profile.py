"""Profiles of real work on a real GPU: what the record says against what is known of the work."""

from __future__ import annotations

import threading

import pytest
import torch

import profkit
from profkit.models import random_llama, random_prompt


@pytest.fixture(scope="module")
def llama():
    model = random_llama("tiny", device="cuda", dtype=torch.bfloat16)
    model.generate(**random_prompt(model, 2, 32), max_new_tokens=4, do_sample=False)
    return model


@pytest.fixture(scope="module")
def matrix():
    matrix = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    (matrix @ matrix).sum().item()
    return matrix


def generate(model, batch, tokens, new_tokens):
    return lambda: model.generate(**random_prompt(model, batch, tokens), max_new_tokens=new_tokens, do_sample=False)


def profile_of(work, **options):
    with profkit.profile("test", **options) as session:
        work()
    return session.run


def test_busy_and_idle_time_fill_the_window_and_every_step(llama):
    run = profile_of(generate(llama, 2, 32, 8), model=llama)
    idle = run.idle()
    assert idle.busy_ns > 0
    assert idle.busy_ns + sum(idle.causes.values()) == idle.window_ns == run.meta.wall_ns
    by_step = run.idle_by_step()
    assert len(by_step) == 8
    length = (run.steps["end"] - run.steps["start"]).to_numpy()
    assert (by_step.drop(columns="step").sum(axis=1).to_numpy() == length).all()


def test_no_launch_is_without_its_gpu_record(llama):
    for _ in range(4):  # later sessions of a process are the ones that lose records
        run = profile_of(generate(llama, 1, 16, 4))
        assert run.warnings == []


def test_steps_are_timed_on_the_gpu_inside_the_window(llama):
    run = profile_of(generate(llama, 2, 32, 8), model=llama)
    steps = run.steps
    assert steps["phase"].tolist() == ["prefill"] + ["decode"] * 7
    assert (steps["device_duration"] > 0).all()
    assert (steps["end"] >= steps["start"]).all()
    assert steps["end"].max() <= run.meta.wall_ns + 1_000_000
    gpu = run.events[run.events["device"] >= 0]
    last = (gpu["start"] + gpu["duration"]).groupby(gpu["step"]).max()
    # The step's end by CUDA events and by the trace's clock are two measurements of one moment.
    for step, end in last.items():
        if step >= 0:
            assert abs(int(steps["end"][step]) - int(end)) < 1_000_000


def test_matmul_kernel_times_agree_with_cuda_events(matrix):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def work():
        start.record()
        for _ in range(50):
            matrix @ matrix
        end.record()

    run = profile_of(work)
    kernels = run.kernels()
    assert kernels["kind"][0] == "matmul"
    assert kernels["count"][0] == 50
    by_events = start.elapsed_time(end) * 1e6
    assert kernels["total_ns"][0] == pytest.approx(by_events, rel=0.1)
    assert run.summary().gpu_busy_share > 0.5


def test_kernels_carry_grid_registers_and_their_operator(matrix):
    run = profile_of(lambda: matrix @ matrix)
    attributes = {run.events["kind"][row["event"]]: row for row in run.record.kernels.to_pylist()}
    kernel = attributes["kernel"]
    event = run.events.iloc[kernel["event"]]
    assert min(kernel["grid"]) >= 1
    assert kernel["registers"] > 0
    assert run.events["name"][event["op"]] == "aten::mm"


def test_a_wait_for_the_gpu_is_called_sync(matrix):
    def work():
        for _ in range(10):
            (matrix @ matrix).sum().item()

    causes = profile_of(work).idle().causes
    assert causes["sync"] > causes["launch"]


def test_small_operators_are_launch_bound():
    small = torch.zeros(64, device="cuda")
    small.add_(1)

    def work():
        for _ in range(2000):
            small.add_(1)

    idle = profile_of(work).idle()
    assert idle.causes["launch"] > 0.5 * idle.window_ns


def test_a_graph_replay_is_one_launch_whose_kernels_belong_to_it(matrix):
    graph = torch.cuda.CUDAGraph()
    small = torch.randn(64, 64, device="cuda")
    out = small.clone()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            out.copy_(torch.relu(small @ small))
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(20):
            out.copy_(torch.relu(small @ small))

    def work():
        for step in range(5):
            with profkit.step("prefill" if step == 0 else "decode", batch=1, device=0):
                graph.replay()

    run = profile_of(work)
    summary = run.summary()
    assert summary.kernel_count >= 5 * 40
    assert summary.launches_per_token == pytest.approx(1, abs=0.3)
    gpu = run.events[run.events["device"] >= 0]
    assert (gpu["step"] >= 0).all()
    assert run.idle().causes.get("unknown", 0) == 0


def test_work_on_two_streams_counts_once_in_busy_time(matrix):
    streams = [torch.cuda.Stream() for _ in range(2)]

    def work():
        for _ in range(20):
            for stream in streams:
                with torch.cuda.stream(stream):
                    matrix @ matrix

    run = profile_of(work)
    assert run.events.loc[run.events["kind"] == "kernel", "lane"].nunique() >= 2
    assert run.idle().busy_ns <= run.kernels()["total_ns"].sum()


def test_operators_of_threads_are_linked_to_their_kernels(matrix):
    def work():
        thread = threading.Thread(target=lambda: matrix @ matrix)
        thread.start()
        thread.join()

    run = profile_of(work)
    assert "aten::mm" in run.kernels(by="op")["name"].tolist()


def test_without_a_trace_steps_and_times_remain(llama):
    run = profile_of(generate(llama, 1, 16, 8), model=llama, trace=False)
    summary = run.summary()
    assert len(run.events) == 0
    assert summary.gpu_busy_ns is None
    assert summary.tpot_ns > 0
    assert "no-trace" in summary.not_measured["gpu_busy"]


def test_torch_profiler_in_the_block_keeps_its_results_and_ours_says_so(matrix):
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    inner = []

    def work():
        with torch_profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as prof:
            matrix @ matrix
        inner.append(prof)

    run = profile_of(work)
    assert any(event.key == "aten::mm" for event in inner[0].key_averages())
    assert "torch.profiler itself" in run.warnings[0]
    assert run.summary().gpu_busy_ns is None
    assert profile_of(lambda: matrix @ matrix).summary().kernel_count == 1


def test_memory_and_energy_of_two_seconds_of_matmul(matrix):
    def work():
        from time import perf_counter

        end = perf_counter() + 2
        while perf_counter() < end:
            for _ in range(20):
                matrix @ matrix
            torch.cuda.synchronize()

    summary = profile_of(work, trace=False).summary()
    assert summary.peak_memory_bytes >= 2 * matrix.nbytes
    assert summary.energy_j == pytest.approx(summary.mean_power_w * summary.wall_ns / 1e9, rel=0.15)


def test_static_cache_with_compiled_decode_shows_its_steps(llama):
    inputs = random_prompt(llama, 1, 16)

    def work():
        llama.generate(**inputs, max_new_tokens=6, do_sample=False, cache_implementation="static")

    work()
    steps = profile_of(work, model=llama).steps
    assert steps["phase"].tolist() == ["prefill"] + ["decode"] * 5
    assert steps["context_tokens"].tolist() == [0, 16, 17, 18, 19, 20]
