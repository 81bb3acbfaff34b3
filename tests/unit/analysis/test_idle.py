"""Why a GPU was idle: every nanosecond of the window is busy or has one cause."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.analysis.trace import call, copy, kernel, operator, record, step

from profkit.analysis.idle import CAUSES, Cause, devices, gaps, idle, idle_by_step

WINDOW = 60
WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")

starts = st.integers(-5, WINDOW + 5)
lengths = st.integers(0, 12)
threads = st.integers(1, 2)


@st.composite
def work(draw):
    """A kernel or a copy to the host on one of two GPUs with two streams, mostly with its launch."""
    start, correlation = draw(starts), draw(st.integers(1, 1_000_000))
    make = draw(st.sampled_from([kernel, copy]))
    gpu = make(
        start,
        start + draw(lengths),
        correlation,
        lane=draw(st.sampled_from([7, 9])),
        device=draw(st.integers(0, 1)),
    )
    launched = start - draw(st.integers(0, 20))
    launch = call(launched, launched + draw(lengths), correlation, "cudaMemcpyAsync", lane=draw(threads))
    return [gpu, launch] if draw(st.integers(0, 4)) else [gpu]


@st.composite
def waits(draw):
    start = draw(starts)
    return [call(start, start + draw(lengths), -1, draw(st.sampled_from(WAITS)), lane=draw(threads))]


traces = st.lists(work() | waits(), max_size=12).map(lambda parts: [row for part in parts for row in part])
ranges = st.lists(st.tuples(st.integers(0, WINDOW), st.integers(0, WINDOW + 9)).map(sorted), max_size=4)


def stretches(events, device):
    """The idle stretches of a GPU as (start, end, cause), found nanosecond by nanosecond."""
    end_of = {id(row): row["start"] + row["duration"] for row in events}
    gpu = [row for row in events if row["device"] == device]
    busy = [any(row["start"] <= at < end_of[id(row)] for row in gpu) for at in range(WINDOW)]
    runtime = [row for row in events if row["kind"] == "runtime"]
    launch_of = {row["correlation"]: row for row in reversed(runtime) if row["correlation"] >= 0}
    to_host = {row["correlation"] for row in events if "DtoH" in row["name"]}
    waiting = [
        row for row in runtime if re.search(r"Synchronize|^cudaMemcpy$", row["name"]) or row["correlation"] in to_host
    ]
    found, at = [], 0
    while at < WINDOW:
        begin = at
        while at < WINDOW and busy[at] == busy[begin]:
            at += 1
        if busy[begin]:
            continue
        if begin == 0 or at == WINDOW:
            found.append((begin, at, "edge"))
            continue
        following = next(row for row in gpu if row["start"] == at and row["duration"] > 0)
        launch = launch_of.get(following["correlation"])
        if launch is None:
            cause = "unknown"
        elif launch["start"] < begin:
            cause = "dependency"
        else:
            held = any(row["lane"] == launch["lane"] and row["start"] <= begin < end_of[id(row)] for row in waiting)
            cause = "sync" if held else "launch"
        found.append((begin, at, cause))
    return found


@given(traces)
def test_every_stretch_has_the_cause_that_its_launch_and_the_waits_give_it(events):
    ordered = sorted(events, key=lambda row: row["start"])
    found = gaps(record(*events, wall_ns=WINDOW), 0)
    causes = [str(tuple(Cause)[code]) for code in found.cause]
    got = list(zip(found.start.tolist(), found.end.tolist(), causes, strict=True))
    assert got == stretches(ordered, 0)


@given(traces)
def test_busy_time_and_causes_add_up_to_the_window(events):
    found = idle(record(*events, wall_ns=WINDOW))
    assert found.busy_ns + sum(found.causes.values()) == found.window_ns == WINDOW
    assert found.idle_ns == sum(found.causes.values())
    assert all(time >= 0 for time in found.causes.values())


@given(traces, ranges)
def test_busy_time_and_causes_add_up_in_every_step(events, ranges):
    steps = [step(start, end) for start, end in sorted(ranges)]
    table = idle_by_step(record(*events, steps=steps, wall_ns=WINDOW))
    times = table.drop(columns="step", errors="ignore")
    assert times.sum(axis=1).tolist() == [row["end"] - row["start"] for row in steps]
    assert (times >= 0).all(axis=None)


def causes(*events, wall_ns=100, **options):
    """Causes that took time."""
    found = idle(record(*events, wall_ns=wall_ns, **options))
    return {cause: time for cause, time in found.causes.items() if time}


def test_a_late_launch_is_the_hosts_fault():
    assert causes(call(0, 2, 1), kernel(0, 40, 1), call(50, 52, 2), kernel(60, 100, 2)) == {"launch": 20}


def test_a_launch_at_the_moment_the_gpu_runs_dry_is_late():
    assert causes(call(0, 2, 1), kernel(0, 40, 1), call(40, 42, 2), kernel(60, 100, 2)) == {"launch": 20}


def test_a_launch_in_time_leaves_a_dependency():
    assert causes(call(0, 2, 1), kernel(0, 40, 1), call(30, 32, 2), kernel(60, 100, 2)) == {"dependency": 20}


@pytest.mark.parametrize("name", [*WAITS, "cuStreamSynchronize", "cuMemcpyDtoH_v2"])
def test_a_launch_after_a_wait_is_not_late_by_itself(name):
    events = [call(0, 2, 1), kernel(0, 40, 1), call(10, 45, name=name), call(50, 52, 2), kernel(60, 100, 2)]
    assert causes(*events) == {"sync": 20}


def test_a_copy_to_pageable_host_memory_blocks_like_a_wait():
    blocking = call(10, 45, 2, "cudaMemcpyAsync")
    events = [call(0, 2, 1), kernel(0, 30, 1), blocking, copy(30, 40, 2), call(50, 52, 3), kernel(60, 100, 3)]
    assert causes(*events) == {"sync": 20}


def test_a_copy_to_the_gpu_is_no_wait():
    queued = call(10, 45, 2, "cudaMemcpyAsync")
    to_gpu = copy(30, 40, 2, "Memcpy HtoD (Pinned -> Device)")
    events = [call(0, 2, 1), kernel(0, 30, 1), queued, to_gpu, call(50, 52, 3), kernel(60, 100, 3)]
    assert causes(*events) == {"launch": 20}


def test_a_wait_of_another_thread_does_not_excuse_the_launch():
    wait = call(10, 45, name="cudaDeviceSynchronize", lane=2)
    events = [call(0, 2, 1), kernel(0, 40, 1), wait, call(50, 52, 2, lane=1), kernel(60, 100, 2)]
    assert causes(*events) == {"launch": 20}


def test_a_wait_that_ended_before_the_gpu_ran_dry_does_not_excuse_the_launch():
    wait = call(10, 30, name="cudaEventSynchronize")
    events = [call(0, 2, 1), kernel(0, 40, 1), wait, call(50, 52, 2), kernel(60, 100, 2)]
    assert causes(*events) == {"launch": 20}


def test_kernels_of_one_graph_replay_wait_for_each_other():
    replay = call(0, 5, 1, "cudaGraphLaunch")
    events = [replay, kernel(0, 30, 1), kernel(35, 60, 1), kernel(62, 100, 1)]
    assert causes(*events) == {"dependency": 7}


def test_a_launch_that_was_not_recorded_leaves_the_cause_unknown():
    assert causes(call(0, 2, 1), kernel(0, 40, 1), kernel(60, 100, 2)) == {"unknown": 20}


def test_unknown_is_listed_only_where_it_occurs():
    assert set(idle(record(kernel(0, 40))).causes) == {str(cause) for cause in CAUSES}


def test_before_the_first_and_after_the_last_work_is_edge():
    found = idle(record(call(0, 2, 1), kernel(10, 40, 1)))
    assert (found.busy_ns, found.causes["edge"], found.gaps["edge"]) == (30, 70, 2)


def test_streams_that_overlap_are_busy_once():
    found = idle(record(kernel(0, 60, lane=7), kernel(40, 100, lane=9)))
    assert (found.busy_ns, found.idle_ns) == (100, 0)


def test_work_beyond_the_window_counts_inside_it_only():
    assert idle(record(kernel(-20, 10), kernel(90, 150))).busy_ns == 20


def test_without_a_gpu_busy_time_is_absent_and_not_zero():
    found = idle(record(operator(0, 50), not_measured={"gpu_busy": "no CUDA GPU"}))
    assert (found.busy_ns, found.idle_ns, found.causes) == (None, None, {})
    assert found.reason == "no CUDA GPU"
    assert idle_by_step(record(steps=[step(0, 9)], not_measured={"gpu_busy": "no CUDA GPU"})).empty


def test_a_gpu_that_was_there_and_unused_is_all_edge():
    found = idle(record(operator(0, 50)))
    assert (found.busy_ns, found.causes["edge"]) == (0, 100)


def test_the_busiest_gpu_is_shown_unless_one_is_named():
    of = record(kernel(0, 30, device=0), kernel(0, 50, device=1))
    assert devices(of) == [0, 1]
    assert (idle(of).device, idle(of).busy_ns) == (1, 50)
    assert (idle(of, device=0).device, idle(of, device=0).busy_ns) == (0, 30)


def test_steps_follow_the_gpu_that_is_named():
    of = record(kernel(0, 30, device=0), kernel(0, 50, device=1), steps=[step(0, 40)])
    assert idle_by_step(of)["busy_ns"].tolist() == [40]
    assert idle_by_step(of, device=0)["busy_ns"].tolist() == [30]


def test_a_step_that_ends_after_the_window_ends_in_edge():
    table = idle_by_step(record(kernel(0, 100), steps=[step(90, 105)]))
    assert table[["busy_ns", "edge_ns"]].to_numpy().tolist() == [[10, 5]]


def test_a_gap_names_the_work_that_ended_it():
    found = gaps(record(call(0, 1, 1), kernel(0, 40, 1), kernel(60, 80, 2)), 0)
    assert found.event.tolist() == [2, -1]


def test_a_result_is_plain_data_for_json():
    assert idle(record(kernel(0, 40))).to_dict() == {
        "window_ns": 100,
        "busy_ns": 40,
        "causes": {"launch": 0, "sync": 0, "dependency": 0, "edge": 60},
        "gaps": {"launch": 0, "sync": 0, "dependency": 0, "edge": 1},
        "device": 0,
        "reason": None,
    }
