"""From a profiler's raw rows to tables: what is joined, kept, dropped and counted as lost."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.analysis.trace import call, copy, kernel, operator, record, step

from profkit.analysis.events import (
    CLOCK_SKEW_NS,
    CODE,
    Attributes,
    RawEvents,
    assemble,
    kind_rows,
    launch_calls,
    launch_rows,
    name_mask,
    names_and_codes,
)
from profkit.record import EVENTS, HOST, KERNELS, STEPS, EventKind

WALL = 1_000_000
NO_STEPS = STEPS.empty_table()


def row(kind, start, name="x", *, duration=10, device=None, lane=1, correlation=-1, op_id=0, link=0, attributes=None):
    """A raw row: GPU work lies on device 0 unless said otherwise."""
    on_gpu = kind in (EventKind.KERNEL, EventKind.MEMCPY, EventKind.MEMSET)
    device = (0 if on_gpu else HOST) if device is None else device
    return locals() | {"kind": kind}


def raw(*rows):
    columns = {name: [r[name] for r in rows] for name in ("name", "start", "duration", "lane", "correlation")}
    attributes = [(at, r["attributes"]) for at, r in enumerate(rows) if r["attributes"] is not None]
    return RawEvents(
        names=pa.array(columns["name"], pa.string()).dictionary_encode(),
        start=np.array(columns["start"], np.int64),
        duration=np.array(columns["duration"], np.int64),
        kind=np.array([CODE[r["kind"]] for r in rows], np.int8),
        device=np.array([r["device"] for r in rows], np.int16),
        lane=np.array(columns["lane"], np.int64),
        correlation=np.array(columns["correlation"], np.int64),
        op_id=np.array([r["op_id"] for r in rows], np.int64),
        link=np.array([r["link"] for r in rows], np.int64),
        attribute_rows=np.array([at for at, _ in attributes], np.int64),
        attributes=[found for _, found in attributes],
    )


def tables(*rows, wall_ns=WALL, steps=NO_STEPS):
    events, kernels, _, losses = assemble(raw(*rows), wall_ns, steps)
    return events.to_pandas(), kernels.to_pandas(), losses


def launch(start, correlation, **columns):
    return row(EventKind.RUNTIME, start, columns.pop("name", "cudaLaunchKernel"), correlation=correlation, **columns)


def work(start, correlation=-1, **columns):
    return row(EventKind.KERNEL, start, columns.pop("name", "gemm"), lane=7, correlation=correlation, **columns)


def op(start, op_id, name="aten::mm", **columns):
    return row(EventKind.OP, start, name, op_id=op_id, **columns)


def test_a_kernel_names_the_operator_that_launched_it():
    events, _, _ = tables(op(10, 2053), launch(12, 548, link=2053), work(20, 548, link=2053))
    assert events["op"].tolist() == [-1, 0, 0]


def test_a_launch_whose_id_equals_an_operators_does_not_link_to_it():
    events, _, losses = tables(op(10, 548), launch(12, 548), work(20, 548))
    assert events["op"].tolist() == [-1, -1, -1]
    assert losses.without_record == 0


def test_an_operator_whose_id_equals_a_launchs_launches_nothing():
    assembled, _, _, _ = assemble(raw(op(10, 548), work(20, 548)), WALL, NO_STEPS)
    assert launch_rows(assembled, np.array([1])).tolist() == [-1]


def test_no_link_is_no_operator():
    assert tables(op(10, 0), work(20, link=0))[0]["op"].tolist() == [-1, -1]


def test_all_kernels_of_a_graph_replay_have_its_launch():
    rows = [launch(10, 690, name="cudaGraphLaunch"), work(20, 690), work(40, 690), work(60, 690)]
    assembled, _, _, losses = assemble(raw(*rows), WALL, NO_STEPS)
    assert launch_rows(assembled, np.array([1, 2, 3])).tolist() == [0, 0, 0]
    assert (losses.launches, losses.without_record) == (1, 0)


@given(st.permutations(range(6)))
def test_rows_come_in_order_of_start_whatever_their_order_was(order):
    rows = [
        op(10, 5),
        launch(12, 1, link=5),
        work(30, 1, link=5, attributes=Attributes(registers=1)),
        op(14, 6),
        launch(16, 2, link=6),
        work(25, 2, link=6, attributes=Attributes(registers=2)),
    ]
    events, kernels, _ = tables(*(rows[at] for at in order))
    assert events["start"].tolist() == [10, 12, 14, 16, 25, 30]
    assert events["op"].tolist() == [-1, 0, -1, 2, 2, 0]
    assert kernels[["event", "registers"]].to_numpy().tolist() == [[4, 2], [5, 1]]


def test_rows_that_start_together_keep_their_order():
    events, _, _ = tables(op(10, 1, "outer"), op(10, 2, "inner"))
    assert events["name"].tolist() == ["outer", "inner"]


def test_host_rows_outside_the_window_are_left_out():
    events, _, _ = tables(op(-1, 1), op(0, 2), op(WALL - 1, 3), op(WALL, 4))
    assert events["start"].tolist() == [0, WALL - 1]


def test_gpu_work_belongs_to_the_window_in_which_it_was_launched():
    before = [launch(-5, 1), work(3, 1, name="launched before")]
    inside = [launch(WALL - 1, 2), work(WALL + 50, 2, name="ran after")]
    after = [launch(WALL, 3), work(WALL + 99, 3, name="launched after")]
    assert tables(*before, *inside, *after)[0]["name"].tolist() == ["cudaLaunchKernel", "ran after"]


def test_gpu_work_without_a_launch_belongs_to_the_window_in_which_it_started():
    assert tables(work(-1), work(5), work(WALL))[0]["start"].tolist() == [5]


def test_an_operator_that_began_before_the_window_is_no_ones():
    assert tables(op(-10, 9), launch(5, 1, link=9), work(8, 1, link=9))[0]["op"].tolist() == [-1, -1]


def test_attributes_follow_their_row_and_absent_ones_stay_absent():
    matmul = Attributes(grid=(8, 1, 1), block=(32, 4, 1), registers=22, shared_memory=0)
    moved = Attributes(bytes=16384, graph_node=3)
    _, kernels, _ = tables(
        op(10, 1),
        work(40, attributes=moved),
        work(20, attributes=matmul),
        work(-9, attributes=Attributes(registers=1)),
        work(50),
    )
    assert kernels.columns.tolist() == KERNELS.names
    first, second = kernels.astype(object).where(kernels.notna(), None).to_dict("records")
    assert (first["event"], list(first["grid"]), list(first["block"])) == (1, [8, 1, 1], [32, 4, 1])
    assert (first["registers"], first["shared_memory"], first["bytes"]) == (22, 0, None)
    assert (second["event"], second["grid"], second["bytes"], second["graph_node"]) == (2, None, 16384, 3)


def steps(*ranges):
    rows = [step(start, end + 500, host_duration=end - start) for start, end in ranges]
    return pa.Table.from_pylist(rows, schema=STEPS)


def test_a_row_belongs_to_the_step_whose_host_time_saw_it_start():
    rows = [op(at, at + 1) for at in (99, 100, 199, 200, 300)]
    assert tables(*rows, steps=steps((100, 200), (300, 400)))[0]["step"].tolist() == [-1, 0, 0, -1, 1]


def test_gpu_work_belongs_to_the_step_that_launched_it():
    events, _, _ = tables(launch(150, 1), work(350, 1), steps=steps((100, 200), (300, 400)))
    assert events["step"].tolist() == [0, 0]


def test_work_that_starts_before_its_launch_is_dropped_and_said():
    events, kernels, losses = tables(
        launch(500_000, 1), work(500_000 - CLOCK_SKEW_NS - 1, 1, attributes=Attributes(registers=1))
    )
    assert events["kind"].tolist() == ["runtime"]
    assert len(kernels) == 0
    assert losses.damaged == 1
    assert any("1 GPU records" in sentence and "damaged" in sentence for sentence in losses.warnings())


def test_clocks_that_differ_by_microseconds_damage_nothing():
    events, _, losses = tables(launch(500_000, 1), work(500_000 - CLOCK_SKEW_NS, 1))
    assert len(events) == 2
    assert losses.warnings() == []


def test_a_launch_without_gpu_work_is_counted_as_lost():
    calls = [launch(10, 1), launch(20, 2), launch(30, 3, name="cudaMemcpyAsync")]
    losses = tables(*calls, work(15, 1))[2]
    assert (losses.launches, losses.without_record) == (3, 2)
    assert any("2 of 3 launches" in sentence for sentence in losses.warnings())


@pytest.mark.parametrize("name", ["cudaStreamSynchronize", "cudaMalloc", "cudaEventRecord", "cudaLaunchHostFunc"])
def test_calls_that_put_no_work_on_the_gpu_are_not_missed(name):
    losses = tables(launch(10, 1), work(15, 1), launch(20, 2, name=name))[2]
    assert (losses.launches, losses.without_record) == (1, 0)


def test_launches_captured_into_a_graph_are_not_missed():
    captured = [
        launch(10, 1, name="cudaStreamBeginCapture_ptsz"),
        launch(20, 2),
        launch(30, 3, name="cudaStreamEndCapture_ptsz"),
        launch(40, 4),
    ]
    losses = tables(*captured, work(50, 4))[2]
    assert (losses.launches, losses.without_record) == (1, 0)


def test_a_trace_without_any_gpu_rows_lost_nothing():
    assert tables(launch(10, 1))[2].without_record == 0


def test_two_calls_with_one_correlation_make_one_launch_of_each_kernel():
    rows = [launch(10, 1), launch(12, 1, name="cuLaunchKernel"), work(15, 1)]
    events, _, losses = tables(*rows)
    assert len(events) == 3
    assert losses.damaged == 0


def test_no_rows_make_empty_tables():
    events, kernels, _, losses = assemble(raw(), WALL, NO_STEPS)
    assert (len(events), len(kernels), losses.warnings()) == (0, 0, [])
    assert events.schema.equals(EVENTS)


def test_rows_are_found_by_kind_name_and_launch():
    events = record(
        operator(0, 9),
        call(1, 2, 1),
        kernel(5, 8, 1, name="nvjet"),
        call(9, 10, 2, "cudaMemcpyAsync"),
        copy(12, 14, 2),
        call(15, 20, name="cudaStreamSynchronize"),
    ).events
    assert kind_rows(events, EventKind.KERNEL, EventKind.MEMCPY).tolist() == [2, 4]
    assert np.flatnonzero(name_mask(events, "^nv|DtoH")).tolist() == [2, 4]
    assert launch_calls(events).tolist() == [1, 3]
    assert launch_rows(events, np.array([2, 4])).tolist() == [1, 3]
    words, codes = names_and_codes(events)
    assert [words[code] for code in codes][2] == "nvjet"


def test_rows_are_found_across_the_chunks_of_a_joined_table():
    parts = [record(kernel(0, 5, name=name)).events for name in ("b", "a", "b")]
    joined = pa.concat_tables(parts)
    assert np.flatnonzero(name_mask(joined, "b")).tolist() == [0, 2]
    words, codes = names_and_codes(joined)
    assert [words[code] for code in codes] == ["b", "a", "b"]
