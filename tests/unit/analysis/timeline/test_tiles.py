"""The events of a row, piece by piece, and what is known of each."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from unit.analysis.trace import call, kernel, operator, record

from profkit.analysis.timeline import details, tile, timeline
from profkit.analysis.timeline.tiles import EVENTS
from profkit.record import KERNELS, OPS

FAR = 2**32
starts = st.lists(st.integers(0, 5 * FAR), max_size=30)


@given(starts)
def test_tiles_hold_every_event_of_their_row_once(times):
    found = timeline(record(*(operator(start, start + 3) for start in times), wall_ns=6 * FAR))
    seen = []
    for row in found.rows:
        pieces = [tile(found, row.first_tile + i) for i in range(row.tiles)]
        assert [piece.row for piece in pieces] == [found.rows.index(row)] * row.tiles
        seen += [(piece.of.start, piece.of.stop) for piece in pieces]
        for piece in pieces:
            assert (np.diff(found.start[piece.of]) < FAR).all()
    assert [first for first, _ in seen] == [0, *(end for _, end in seen[:-1])][: len(seen)]
    assert not seen or seen[-1][1] == len(found.start)


def test_a_row_of_many_events_is_cut_into_equal_pieces():
    found = timeline(record(*(operator(10 * i, 10 * i + 5) for i in range(EVENTS + 7)), wall_ns=200_000))
    (row,) = found.rows
    assert row.tiles == 2
    assert [tile(found, i).of for i in range(2)] == [slice(0, EVENTS), slice(EVENTS, EVENTS + 7)]


def linked():
    """An operator with a launch in it, its kernel, and a graph with two kernels."""
    mm = operator(0, 50)
    made = record(
        mm,
        call(10, 15, 1),
        kernel(30, 90, 1, op=mm),
        call(100, 110, 2, "cudaGraphLaunch"),
        kernel(130, 140, 2, name="a"),
        kernel(120, 125, 2, name="b"),
        wall_ns=200,
    )
    return made, timeline(made)


def index_of(found, name, start):
    return next(i for i in range(len(found.start)) if found.names[found.name[i]] == name and found.start[i] == start)


def test_work_and_its_launch_point_to_each_other():
    made, found = linked()
    known = details(found, made)
    launch, work = index_of(found, "cudaLaunchKernel", 10), index_of(found, "gemm", 30)
    assert known.link_row[[launch, work]].tolist() == found.row_of(np.array([work, launch])).tolist()
    assert known.link_delay[[launch, work]].tolist() == [20, 20]
    assert known.link_row[index_of(found, "aten::mm", 0)] == -1
    assert np.isnan(known.link_delay[index_of(found, "aten::mm", 0)])


def test_a_graphs_launch_points_to_the_first_work_that_it_started():
    made, found = linked()
    known = details(found, made)
    assert known.link_delay[index_of(found, "cudaGraphLaunch", 100)] == 20
    assert known.link_delay[index_of(found, "a", 130)] == 30
    assert known.link_delay[index_of(found, "b", 120)] == 20


def test_work_that_began_before_its_launch_has_a_negative_delay():
    made = record(call(10, 15, 1), kernel(8, 20, 1))
    found = timeline(made)
    assert details(found, made).link_delay[index_of(found, "gemm", 8)] == -2


def test_work_knows_the_operator_that_launched_it():
    made, found = linked()
    known = details(found, made)
    assert found.names[known.operator[index_of(found, "gemm", 30)]] == "aten::mm"
    assert known.operator[index_of(found, "a", 130)] == -1


def test_attributes_are_told_once():
    made, found = linked()
    at = {name: made.events["name"].to_pylist().index(name) for name in ("aten::mm", "gemm", "a", "b")}
    made.kernels = pa.Table.from_pylist(
        [
            {"event": at[name], "grid": [8, 2, 1], "block": [128, 1, 1], "registers": 40, "shared_memory": 0}
            for name in ("gemm", "b", "a")
        ],
        schema=KERNELS,
    )
    made.ops = pa.Table.from_pylist([{"event": at["aten::mm"], "inputs": "[4, 8] bf16, [8, 2] bf16"}], schema=OPS)
    known = details(found, made)
    assert len(known.attributes) == 3
    gemm, a, b, mm = (
        known.attribute[index_of(found, *what)] for what in (("gemm", 30), ("a", 130), ("b", 120), ("aten::mm", 0))
    )
    assert a == b != gemm
    row = known.attributes.iloc[gemm]
    assert (row["grid"], row["block"], row["registers"], row["shared_memory"]) == ("8,2,1", "128,1,1", 40, 0)
    assert row["inputs"] == "[4, 8] bf16, [8, 2] bf16"
    assert known.attributes["bytes"].isna().all()
    assert known.attributes.iloc[a]["inputs"] == ""
    assert known.attributes.iloc[mm]["grid"] == ""
    assert known.attributes.iloc[mm]["inputs"] == "[4, 8] bf16, [8, 2] bf16"
    assert known.attribute[index_of(found, "cudaLaunchKernel", 10)] == -1


def test_events_without_attributes_have_none():
    made, found = linked()
    known = details(found, made)
    assert (known.attribute == -1).all()
    assert len(known.attributes) == 0
