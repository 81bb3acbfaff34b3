"""The price of a profiled row: from a clock that is set by hand, and from this machine."""

import time

import numpy as np
import pyarrow as pa
import pytest

from profkit.analysis.events import CODE, RawEvents
from profkit.capture import overhead
from profkit.capture.kineto import Kineto
from profkit.capture.kineto_columns import columns
from profkit.capture.overhead import Overhead
from profkit.record import HOST, EventKind

BLOCK = 10_000_000  # where the profiled block starts, Unix ns
WALL = 1_000


class Time:
    """A round of the operators takes `round_ns`, and Unix time stands still until it is moved."""

    def __init__(self):
        self.ns, self.round_ns, self.unix = 0, 0, 0

    def perf_counter_ns(self):
        self.ns += self.round_ns
        return self.ns

    def time_ns(self):
        self.unix += 100
        return self.unix


def host_rows(starts, kind=EventKind.OP):
    count = len(starts)
    ids = np.zeros(count, np.int64)
    return RawEvents(
        names=pa.array(["x"] * count, pa.string()).dictionary_encode(),
        start=np.array(starts, np.int64),
        duration=ids,
        kind=np.full(count, CODE[kind], np.int8),
        device=np.full(count, HOST, np.int16),
        lane=ids,
        correlation=ids - 1,
        op_id=ids,
        link=ids,
    )


@pytest.fixture
def measured(monkeypatch):
    """An overhead whose round took 1000 ns, and 7000 ns under the profiler between Unix 100 and 200."""
    clock = Time()
    monkeypatch.setattr(overhead, "time", clock)
    found = Overhead(None)
    clock.round_ns = 1_000
    found.before()
    clock.round_ns = 7_000
    found.under()
    return found


WARM_UP = [150 - BLOCK] * 2 * (overhead._ROUNDS + 1)  # two rows a round


def test_each_row_of_the_block_costs_what_a_row_of_the_warm_up_cost(measured):
    block = [0, 5, 999]
    assert measured.added_ns(host_rows(WARM_UP + block), BLOCK, WALL) == 3 * (7_000 - 1_000) / 2


def test_rows_outside_the_block_cost_it_nothing(measured):
    assert measured.added_ns(host_rows([*WARM_UP, -1, WALL]), BLOCK, WALL) == 0


@pytest.mark.parametrize(("kind", "counts"), [("runtime", True), ("annotation", True), ("kernel", False)])
def test_rows_that_the_host_wrote_cost_it_time(measured, kind, counts):
    rows = host_rows([*WARM_UP, 5])
    rows.kind[-1] = CODE[EventKind(kind)]
    assert measured.added_ns(rows, BLOCK, WALL) == (3_000 if counts else 0)


def test_a_warm_up_that_left_no_rows_has_no_price(measured):
    assert measured.added_ns(host_rows([0, 5]), BLOCK, WALL) is None


def test_a_profiler_that_seems_to_save_time_has_no_price(monkeypatch):
    clock = Time()
    monkeypatch.setattr(overhead, "time", clock)
    found = Overhead(None)
    clock.round_ns = 9_000
    found.before()
    clock.round_ns = 7_000
    found.under()
    assert found.added_ns(host_rows([*WARM_UP, 5]), BLOCK, WALL) is None


def test_the_warm_up_leaves_its_rows_in_a_real_trace():
    found = Overhead(None)
    found.before()
    recorder = Kineto(cuda=False)
    recorder.start()
    found.under()
    start = time.time_ns()
    raw = columns(recorder.stop(), start)
    assert found.added_ns(raw, start, 10**9) == 0
    assert (raw.start < 0).all()
