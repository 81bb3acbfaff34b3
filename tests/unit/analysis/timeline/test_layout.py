"""Which event lies in which row, and what a view leaves out."""

import numpy as np
import pytest
from hypothesis import given
from unit import records
from unit.analysis.test_idle import traces
from unit.analysis.trace import call, event, kernel, operator, record, step
from unit.any_record import any_record

from profkit.analysis.idle import devices, gaps, idle
from profkit.analysis.timeline import CLASSES, TrackKind, timeline
from profkit.record import EventKind


def groups(found):
    """Label of each group, and how many events its rows hold."""
    shown = {}
    for row in found.rows:
        shown.setdefault(found.groups[row.group].label, []).append(row.count)
    return shown


def test_rows_stand_in_the_order_of_the_view():
    found = timeline(
        record(
            event(EventKind.PYTHON, 0, 50, "main.py(1): main"),
            event(EventKind.ANNOTATION, 5, 45, "prefill"),
            event(EventKind.ANNOTATION, 6, 20, "layer"),
            operator(10, 30),
            call(12, 14, 1),
            operator(60, 90, lane=2),
            kernel(20, 40, 1),
            kernel(15, 30, lane=3, device=1),
            steps=[step(5, 50)],
        )
    )
    assert groups(found) == {
        "steps": [1],
        "regions, thread 1": [1, 1],
        "GPU 0 idle": [2],
        "GPU 0 stream 7": [1],
        "GPU 1 idle": [2],
        "GPU 1 stream 3": [1],
        "thread 1": [1, 1],
        "Python, thread 1": [1],
        "thread 2": [1],
    }
    assert found.reason is None
    assert found.left_out == ()


def test_classes_say_what_an_event_is():
    found = timeline(
        record(
            operator(0, 50),
            call(10, 20, 1),
            kernel(30, 40, 1, name="softmax_kernel"),
            event(EventKind.OVERHEAD, 60, 70, "Activity Buffer Request"),
            event(EventKind.ANNOTATION, 0, 90, "region"),
            steps=[step(0, 40, "prefill")],
        )
    )
    kinds = {found.names[name]: CLASSES[kind] for name, kind in zip(found.name, found.kind, strict=True)}
    assert kinds == {
        "aten::mm": ("work", "matmul"),
        "cudaLaunchKernel": ("host", "call"),
        "softmax_kernel": ("work", "elementwise"),
        "Activity Buffer Request": ("host", "profiler"),
        "region": ("host", "region"),
        "prefill": ("phase", "prefill"),
        "idle: edge": ("idle", "edge"),
    }
    assert [CLASSES[kind] for kind in found.name_kind[found.name]] == [CLASSES[kind] for kind in found.kind]


def test_one_name_of_two_kinds_is_two_names():
    found = timeline(record(operator(0, 50, "copy_"), event(EventKind.ANNOTATION, 0, 90, "copy_")))
    assert sorted(CLASSES[found.kind[i]] for i in range(2)) == [("host", "region"), ("work", "copy")]
    assert len(set(found.name.tolist())) == 2


@given(traces)
def test_gaps_and_work_fill_the_window(rows):
    made = record(*rows, wall_ns=60)
    found = timeline(made)
    for device in devices(made):
        of = [row for row in found.rows if found.groups[row.group].device == device]
        idle_ns = sum(
            found.duration[found.of(row)].sum() for row in of if found.groups[row.group].kind is TrackKind.GAPS
        )
        assert idle_ns + gaps(made, device).busy.total == 60
        assert idle_ns == idle(made, device).idle_ns


@given(any_record())
def test_any_record_is_laid_out_or_says_why_not(made):
    found = timeline(made)
    assert (found.reason is None) == bool(found.rows)
    assert sum(row.count for row in found.rows) == len(found.start)
    for row in found.rows:
        of = found.of(row)
        start, end = found.start[of], (found.start + found.duration)[of]
        assert (start[1:] >= end[:-1]).all()
        assert found.start_ns <= start[0]
        assert start[-1] < found.end_ns
        assert end.max() <= found.end_ns
        assert end.max() < 2**53


@given(any_record())
def test_every_event_is_drawn_once_or_counted_as_left_out(made):
    found = timeline(made)
    kinds = [found.groups[row.group].kind for row in found.rows]
    drawn = np.concatenate(
        [
            found.event[found.of(row)]
            for row, kind in zip(found.rows, kinds, strict=True)
            if kind not in ("steps", "gaps")
        ]
        or [np.empty(0, int)]
    )
    assert len(set(drawn.tolist())) == len(drawn)
    assert len(drawn) == len(made.events) or found.left_out


def test_events_that_overlap_on_a_stream_lie_on_further_rows():
    found = timeline(record(*(kernel(i, i + 50, name=f"k{i}") for i in range(10))))
    assert groups(found)["GPU 0 stream 7"] == [1] * 8
    assert found.left_out == ("2 of 10 events of GPU 0 stream 7 are not drawn: they overlap more than 8 deep.",)


def test_streams_beyond_those_that_one_can_look_at_are_counted():
    found = timeline(record(*(kernel(i, i + 1 + i, lane=i) for i in range(5000)), wall_ns=20_000))
    assert sum(group.kind is TrackKind.GPU for group in found.groups) == 256
    assert found.left_out == ("4,744 of 5,000 streams are not drawn: those with the least work.",)
    lanes = [row.lane for row in found.rows if found.groups[row.group].kind is TrackKind.GPU]
    assert lanes == list(range(4744, 5000))


def test_events_beyond_what_a_browser_can_count_are_left_out():
    found = timeline(record(operator(0, 10), operator(2**54, 2**54 + 5)))
    assert groups(found) == {"thread 1": [1]}
    assert found.left_out == ("1 of 2 events are not drawn: they lie beyond 104 days.",)


def test_times_over_an_hour_stay_exact():
    late = 5 * 3600 * 10**9 + 1
    found = timeline(record(operator(late, late + 3), wall_ns=late + 10))
    assert found.start.tolist() == [late]
    assert (found.start_ns, found.end_ns) == (0, late + 10)


def test_only_events_without_length():
    found = timeline(record(operator(5, 5), operator(5, 5), kernel(100, 100, 1)))
    assert groups(found) == {"GPU 0 idle": [1], "GPU 0 stream 7": [1], "thread 1": [2]}
    assert found.end_ns == 101


def test_the_view_holds_what_lies_outside_the_window():
    found = timeline(record(operator(-20, 10), kernel(90, 130, 1), wall_ns=100))
    assert (found.start_ns, found.end_ns, found.wall_ns) == (-20, 130, 100)


def test_a_record_without_events_says_why():
    assert "nothing ran" in timeline(records.empty_record()).reason
    assert groups(timeline(records.untraced_record())) == {"steps": [4]}


@pytest.mark.parametrize("make", [records.cpu_record, records.stepless_record])
def test_records_that_lack_something_are_drawn_without_it(make):
    found = timeline(make())
    kinds = {group.kind for group in found.groups}
    assert (TrackKind.STEPS in kinds) == bool(len(make().steps))
    assert (TrackKind.GPU in kinds) == (TrackKind.GAPS in kinds)


def test_the_longest_come_first():
    made = records.gpu_record()
    found = timeline(made)
    kernels = found.longest(TrackKind.GPU, 3)
    assert found.duration[kernels].tolist() == [15_000_000, 5_000_000, 4_000_000]
    stretches = found.longest(TrackKind.GAPS)
    assert found.duration[stretches].tolist() == 3 * [14_000_000]  # those at the edges come before and after all work
    assert {found.groups[found.rows[row].group].kind for row in found.row_of(stretches)} == {TrackKind.GAPS}
