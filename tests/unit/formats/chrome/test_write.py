"""The trace that Perfetto and Holistic Trace Analysis read."""

import gzip
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from unit import records
from unit.analysis.trace import call, copy, event, kernel, operator, record, step
from unit.any_record import any_record

from profkit.errors import OptionError, RecordError
from profkit.formats.chrome.write import HOST_PID, write
from profkit.record import KERNELS, OPS, EventKind, Record
from profkit.run import Run

STRANGE = ['a "quoted" \\ name\n\x00', "😀 \u202eאבג", "x" * 10_000, "", "</script>"]


def trace(made: Record, path):
    return json.loads(write(made, path / "trace.json").read_text(encoding="utf-8"), parse_float=Decimal)


def of(found, **fields):
    """The trace's events with these fields."""
    return [one for one in found["traceEvents"] if all(one.get(name) == value for name, value in fields.items())]


def linked():
    """An operator, its launch and its kernel, with attributes and inputs."""
    mm = operator(1_000, 50_000)
    made = record(mm, call(10_001, 15_000, 548), kernel(30_000, 90_500, 548, op=mm), wall_ns=100_000)
    row = {"event": 2, "grid": [8, 2, 1], "block": [128, 1, 1], "registers": 40, "shared_memory": 1024}
    made.kernels = pa.Table.from_pylist([row], schema=KERNELS)
    made.ops = pa.Table.from_pylist([{"event": 0, "inputs": "[4, 8] bf16, list of [2], [3, 1]"}], schema=OPS)
    made.meta.started_unix_ns = 1_795_559_008_331_618_884
    return made


def test_the_head_says_what_readers_look_for(tmp_path):
    made = linked()
    made.meta.environment = records.ENVIRONMENT | {
        "gpus": [
            {"index": 0, "name": "NVIDIA H200", "memory_bytes": 15 * 10**10, "compute_capability": "9.0", "sms": 132}
        ]
    }
    found = trace(made, tmp_path)
    assert found["schemaVersion"] == 1
    assert found["baseTimeNanoseconds"] == made.meta.started_unix_ns
    assert found["distributedInfo"] == {"rank": 0, "world_size": 1}
    assert found["deviceProperties"] == [
        {
            "id": 0,
            "name": "NVIDIA H200",
            "totalGlobalMem": 150_000_000_000,
            "computeMajor": 9,
            "computeMinor": 0,
            "numSms": 132,
        }
    ]


def test_work_is_told_as_kineto_tells_it(tmp_path):
    found = trace(linked(), tmp_path)
    (op,) = of(found, cat="cpu_op")
    assert op == {
        "ph": "X",
        "cat": "cpu_op",
        "name": "aten::mm",
        "pid": HOST_PID,
        "tid": 1,
        "ts": Decimal("1.000"),
        "dur": Decimal("49.000"),
        "args": {
            "External id": 1,
            "Input type": ["c10::BFloat16", "TensorList"],
            "Input Dims": [[4, 8], [[2], [3, 1]]],
        },
    }
    (launch,) = of(found, cat="cuda_runtime")
    assert launch["ts"] == Decimal("10.001")
    assert launch["args"]["correlation"] == 548
    (work,) = of(found, cat="kernel")
    assert (work["pid"], work["tid"], work["ts"], work["dur"]) == (0, 7, Decimal("30.000"), Decimal("60.500"))
    assert work["args"] == {
        "External id": 1,
        "correlation": 548,
        "device": 0,
        "context": 1,
        "stream": 7,
        "registers per thread": 40,
        "shared memory": 1024,
        "grid": [8, 2, 1],
        "block": [128, 1, 1],
    }


def test_an_arrow_leads_from_the_launch_to_its_work(tmp_path):
    found = trace(linked(), tmp_path)
    (start,), (end,) = of(found, ph="s"), of(found, ph="f")
    assert (start["id"], start["cat"], start["pid"], start["tid"], start["ts"]) == (
        548,
        "ac2g",
        HOST_PID,
        1,
        Decimal("10.001"),
    )
    assert (end["id"], end["cat"], end["pid"], end["tid"], end["ts"], end["bp"]) == (548, "ac2g", 0, 7, 30, "e")


def test_a_graph_has_one_launch_and_an_arrow_to_each_kernel(tmp_path):
    found = trace(record(call(0, 5, 9, "cudaGraphLaunch"), kernel(10, 20, 9), kernel(20, 30, 9)), tmp_path)
    assert (len(of(found, ph="s")), len(of(found, ph="f"))) == (1, 2)


def test_copies_tell_their_bytes_and_their_rate(tmp_path):
    made = record(copy(0, 100, 3), wall_ns=200)
    made.kernels = pa.Table.from_pylist([{"event": 0, "bytes": 5_000}], schema=KERNELS)
    (found,) = of(trace(made, tmp_path), cat="gpu_memcpy")
    assert found["args"]["bytes"] == 5_000
    assert found["args"]["memory bandwidth (GB/s)"] == 50
    assert "grid" not in found["args"]


def test_steps_are_annotations_on_the_thread_that_ran_them(tmp_path):
    made = record(
        operator(5, 10, lane=3) | {"step": 0},
        operator(0, 90, lane=2),
        steps=[step(4, 30, "prefill", query_tokens=7, host_duration=20), step(40, 60)],
    )
    first, second = of(trace(made, tmp_path), cat="user_annotation")
    assert (first["name"], first["tid"], first["ts"], first["dur"]) == (
        "ProfilerStep#0",
        3,
        Decimal("0.004"),
        Decimal("0.020"),
    )
    assert first["args"]["phase"] == "prefill"
    assert first["args"]["query_tokens"] == 7
    assert "context_tokens" not in first["args"]
    assert (second["name"], second["tid"]) == ("ProfilerStep#1", 3)


def test_telemetry_is_counters(tmp_path):
    found = trace(records.gpu_record(), tmp_path)
    power = of(found, ph="C", name="power")
    assert [one["args"] for one in power] == [{"W": watts} for watts in (70, 90, 70, 90, 70, 90)]
    assert [one["ts"] for one in power] == [20_000 * at for at in range(6)]


def test_tracks_have_names(tmp_path):
    found = trace(record(operator(0, 5, lane=-1), kernel(5, 8, lane=7, device=1), operator(0, 3, lane=2**40)), tmp_path)
    named = {(one["pid"], one["tid"]): one["args"]["name"] for one in of(found, name="thread_name")}
    assert named[1, 7] == "stream 7"
    assert sorted(named.values()) == ["stream 7", "thread 1099511627776 (python)", "unknown thread"]
    assert all(0 <= tid < 2**31 for _, tid in named)
    for one in of(found, ph="X"):
        assert (one["pid"], one["tid"]) in named


def test_kernels_that_overlap_stand_on_two_tracks_of_one_stream(tmp_path):
    found = trace(record(kernel(0, 10), kernel(8, 20), kernel(20, 30), kernel(22, 25)), tmp_path)
    first, second, third, inside = of(found, cat="kernel")
    assert first["tid"] == third["tid"] == inside["tid"] == 7
    assert second["tid"] != 7
    assert {one["args"]["stream"] for one in of(found, cat="kernel")} == {7}
    names = {one["tid"]: one["args"]["name"] for one in of(found, name="thread_name")}
    assert names[second["tid"]] == "stream 7, overlapping"


def test_events_before_the_start_move_the_base(tmp_path):
    made = record(operator(-1_500, 10), wall_ns=100)
    made.meta.started_unix_ns = 10**18
    found = trace(made, tmp_path)
    (op,) = of(found, cat="cpu_op")
    assert op["ts"] == 0
    assert found["baseTimeNanoseconds"] == 10**18 - 1_500


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_name_is_data(name, tmp_path):
    made = record(operator(0, 5, name), event(EventKind.ANNOTATION, 0, 9, name), wall_ns=10)
    made.meta.name = name
    found = trace(made, tmp_path)
    assert [one["name"] for one in of(found, ph="X")] == [name, name]
    assert found["traceName"] == name


def test_half_a_character_is_replaced(tmp_path):
    made = record(operator(0, 5))
    made.meta.name = "\ud800 half"
    assert trace(made, tmp_path)["traceName"] == "? half"


@given(any_record())
def test_every_event_comes_back_to_the_nanosecond(tmp_path_factory, made):
    found = trace(made, tmp_path_factory.mktemp("any"))
    base = found["baseTimeNanoseconds"] - made.meta.started_unix_ns
    slices = [
        one for one in of(found, ph="X") if not one["name"].startswith("ProfilerStep#") or "phase" not in one["args"]
    ]
    expected = zip(*(made.events[name].to_pylist() for name in ("start", "duration", "name")), strict=True)
    got = [(int(one["ts"] * 1000) + base, int(one["dur"] * 1000), one["name"]) for one in slices]
    assert got == list(expected)


@pytest.mark.parametrize("make", [records.cpu_record, records.untraced_record, records.empty_record])
def test_a_record_that_lacks_something_is_a_whole_trace(make, tmp_path):
    assert trace(make(), tmp_path)["traceEvents"]


def test_the_suffix_says_whether_it_is_packed(tmp_path):
    run = Run(records.gpu_record())
    plain = run.export_trace(tmp_path / "deep" / "a.json")
    packed = run.export_trace(str(tmp_path / "b.json.gz"))
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert run.export_trace(tmp_path / "c.json.gz").read_bytes() == packed.read_bytes()
    with pytest.raises(OptionError, match=r"ends in \.json or \.json\.gz"):
        run.export_trace(tmp_path / "d.perfetto")


def test_a_failure_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("older")
    monkeypatch.setattr("profkit.formats.chrome.write._Trace.tail", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(records.gpu_record(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "older"
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot write the trace"):
        write(records.gpu_record(), tmp_path / "file" / "x.json")
