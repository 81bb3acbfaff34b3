"""Raw profiler rows as columns: real ones of this machine's CPU, and GPU rows as torch 2.11 gives them."""

import contextlib
import gc
import os
import threading
from dataclasses import dataclass

import pandas as pd
import pytest
import torch
from torch._C._autograd import DeviceType
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile, record_function

from profkit.analysis.events import KINDS, Attributes, assemble
from profkit.capture import inputs, kineto_columns
from profkit.capture.kineto import Kineto, TraceLostError
from profkit.errors import ProfilerBusyError
from profkit.record import HOST, STEPS

needs_both_forms = pytest.mark.skipif(
    not hasattr(torch._C._autograd._ProfilerResult, "trace_activities"), reason="torch < 2.13 has one form of rows"
)


def work():
    square = torch.ones(8, 8)
    with record_function("a range of the user"):
        torch.nn.functional.linear(square, square).relu_().sum().item()


def work_in_two_threads():
    work()
    other = threading.Thread(target=work)
    other.start()
    other.join()


def profiled(function, **options):
    """Raw results of a profile that kept both forms of rows."""
    config = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=[ProfilerActivity.CPU], experimental_config=config, **options) as profiler:
        function()
    return profiler.profiler.kineto_results


def frame(raw):
    """Rows of a `RawEvents`, ids apart, in one order for every form."""
    kinds = [KINDS[code] for code in raw.kind]
    columns = {"start": raw.start, "name": raw.names.to_pylist(), "duration": raw.duration, "kind": kinds}
    columns |= {"device": raw.device, "lane": raw.lane, "correlation": raw.correlation, "op_id": raw.op_id}
    return pd.DataFrame(columns | {"link": raw.link}).sort_values(["lane", "start", "op_id"], ignore_index=True)


@needs_both_forms
@pytest.mark.parametrize("options", [{}, {"with_stack": True}, {"profile_memory": True}, {"record_shapes": True}])
def test_both_forms_of_rows_give_the_same_columns(options):
    end = threading.Event()
    threading.Thread(target=end.wait, daemon=True).start()  # its frames were open before the profile
    results = profiled(work_in_two_threads, **options)
    end.set()
    activities = frame(kineto_columns._from_activities(results.trace_activities()))
    events = frame(kineto_columns._from_events(results.events()))
    # Frames of Python carry no id that both forms have.
    python = [rows[rows["kind"] == "python"] for rows in (activities, events)]
    others = [rows[rows["kind"] != "python"].reset_index(drop=True) for rows in (activities, events)]
    pd.testing.assert_frame_equal(*others)
    times = ["start", "duration", "name"]
    pd.testing.assert_frame_equal(*(rows[times].sort_values(times, ignore_index=True) for rows in python))
    assert set(activities["kind"]) == {"op", "annotation"} | ({"python"} if "with_stack" in options else set())


def test_a_profile_has_the_operators_and_ranges_of_every_thread():
    recorder = Kineto(cuda=False)
    recorder.start()
    work_in_two_threads()
    found = frame(kineto_columns.columns(recorder.stop(), 0))
    assert found["lane"].nunique() == 2
    for _, rows in found.groupby("lane"):
        assert {"aten::linear", "aten::sum", "aten::_local_scalar_dense"} <= set(rows["name"][rows["kind"] == "op"])
        assert rows["name"][rows["kind"] == "annotation"].tolist() == ["a range of the user"]
    assert found["lane"].isin([threading.main_thread().native_id]).any()


def test_times_count_from_the_start_that_is_given():
    recorder = Kineto(cuda=False)
    recorder.start()
    work()
    results = recorder.stop()
    from_0, from_1000 = (frame(kineto_columns.columns(results, start))["start"] for start in (0, 1000))
    assert (from_0 - from_1000 == 1000).all()


def test_an_operator_lies_inside_the_one_that_called_it():
    recorder = Kineto(cuda=False)
    recorder.start()
    work()
    rows = frame(kineto_columns.columns(recorder.stop(), 0)).set_index("name")
    outer, inner = rows.loc["aten::item"], rows.loc["aten::_local_scalar_dense"]
    assert outer["start"] <= inner["start"]
    assert inner["start"] + inner["duration"] <= outer["start"] + outer["duration"]


def test_a_block_without_operators_has_no_rows():
    recorder = Kineto(cuda=False)
    recorder.start()
    raw = kineto_columns.columns(recorder.stop(), 0)
    assert len(assemble(raw, 2**62, STEPS.empty_table())[0]) == 0


def test_a_second_profiler_is_refused_and_the_first_goes_on():
    with profile(activities=[ProfilerActivity.CPU]) as theirs:
        with pytest.raises(ProfilerBusyError, match=r"torch\.profiler is running already"):
            Kineto(cuda=False).start()
        work()
    assert "aten::linear" in {event.name for event in theirs.events()}


def test_a_profiler_inside_takes_the_trace_and_keeps_its_results():
    recorder = Kineto(cuda=False)
    recorder.start()
    with profile(activities=[ProfilerActivity.CPU]) as theirs:
        work()
    with pytest.raises(TraceLostError, match="its own results are intact"):
        recorder.stop()
    assert "aten::linear" in {event.name for event in theirs.events()}


def test_a_profiler_that_was_left_running_inside_is_said():
    recorder = Kineto(cuda=False)
    recorder.start()
    threading.Event().wait(0.005)
    theirs = profile(activities=[ProfilerActivity.CPU])
    theirs.start()
    work()
    with pytest.raises(TraceLostError, match="left it running"):
        recorder.stop()
    with contextlib.suppress(RuntimeError):  # older versions of torch say that it is not running
        theirs.stop()


def test_the_garbage_collector_runs_again_after_the_columns():
    recorder = Kineto(cuda=False)
    recorder.start()
    kineto_columns.columns(recorder.stop(), 0)
    assert gc.isenabled()


@dataclass
class Row:
    """A KinetoEvent as torch 2.11 gives it: no type of activity. Attributes are what its methods return."""

    _name: str
    _start: int = 0
    _duration: int = 10
    _device: DeviceType = DeviceType.CPU
    _index: int = os.getpid()
    _resource: int = 4242  # the system's id of the thread, or the stream
    _thread: int = 1  # the profiler's own number of the thread
    _correlation: int = 0
    _linked: int = 0
    _annotation: bool = False
    _metadata: str = ""

    def name(self):
        return self._name

    def start_ns(self):
        return self._start

    def duration_ns(self):
        return self._duration

    def start_thread_id(self):
        return self._thread

    def device_type(self):
        return self._device

    def device_index(self):
        return self._index

    def device_resource_id(self):
        return self._resource

    def correlation_id(self):
        return self._correlation

    def linked_correlation_id(self):
        return self._linked

    def is_user_annotation(self):
        return self._annotation

    def metadata_json(self):
        return self._metadata


def gpu_row(name, start, correlation, linked=0, metadata="", **fields):
    gpu = {"_device": DeviceType.CUDA, "_index": 0, "_resource": 7, "_thread": 0}
    fields = {f"_{name}": value for name, value in fields.items()}
    return Row(name, start, _correlation=correlation, _linked=linked, _metadata=metadata, **gpu | fields)


KERNEL = (
    '"queued": 0, "device": 0, "context": 1, "stream": 7, "correlation": 548, "registers per thread": 22, '
    '"shared memory": 0, "blocks per SM": 0.06, "warps per SM": 0.24, "grid": [8, 1, 1], "block": [32, 4, 1], '
    '"est. achieved occupancy %": 0'
)
MEMCPY = '"device": 0, "context": 1, "stream": 7, "correlation": 565, "bytes": 16384, "memory bandwidth (GB/s)": 9.85'


def columns(*rows):
    raw = kineto_columns._from_events(list(rows))
    return raw, frame(raw).set_index("name")


def test_an_operator_its_launch_and_its_kernel_are_told_apart_and_linked():
    raw, rows = columns(
        Row("aten::mm", 10, _correlation=2053),
        Row("cudaLaunchKernel", 12, _correlation=548, _linked=2053),
        gpu_row("nvjet_tst", 20, 548, 2053, KERNEL),
    )
    assert rows["kind"].to_dict() == {"aten::mm": "op", "cudaLaunchKernel": "runtime", "nvjet_tst": "kernel"}
    assert rows["device"].to_dict() == {"aten::mm": HOST, "cudaLaunchKernel": HOST, "nvjet_tst": 0}
    assert rows["lane"].to_dict() == {"aten::mm": 4242, "cudaLaunchKernel": 4242, "nvjet_tst": 7}
    events, kernels, _, losses = assemble(raw, 1000, STEPS.empty_table())
    assert events["op"].to_pylist() == [-1, 0, 0]
    assert losses.without_record == 0
    assert kernels.to_pylist() == [
        {
            "event": 2,
            "grid": [8, 1, 1],
            "block": [32, 4, 1],
            "registers": 22,
            "shared_memory": 0,
            "bytes": None,
            "graph_node": None,
        }
    ]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (Row("flash_attn::_flash_attn_forward"), "op"),
        (Row("cuLaunchKernelEx", _correlation=3), "runtime"),
        (Row("cudaGraphLaunch", _correlation=690), "runtime"),
        (Row("a range", _annotation=True), "annotation"),
        (Row("cuDNN warm-up", _annotation=True), "annotation"),
        (Row("Activity Buffer Request", _index=-1), "overhead"),
        (Row("model.py(12): forward"), "python"),
        (Row("nn.Module: Linear_0"), "python"),
        (Row("<built-in method linear of type object>"), "python"),
        (Row("autograd::engine::evaluate_function: MmBackward0"), "op"),
        (gpu_row("Memcpy DtoH (Device -> Pageable)", 0, 565, 9, MEMCPY), "memcpy"),
        (gpu_row("Memset (Device)", 0, 565, 9), "memset"),
        (gpu_row("void at::native::vectorized_elementwise_kernel<4>", 0, 565, 9, KERNEL), "kernel"),
        (gpu_row("triton_poi_fused_add_0", 0, 565, 9, KERNEL), "kernel"),
    ],
    ids=lambda value: getattr(value, "_name", value),
)
@pytest.mark.parametrize("process", [os.getpid(), 12], ids=["any process", "first process of a container"])
def test_a_row_without_a_type_is_told_by_its_name_and_device(row, kind, process, monkeypatch):
    monkeypatch.setattr(kineto_columns.os, "getpid", lambda: process)
    host = Row("aten::mm", -5, _index=process, _correlation=77)
    if row._device is DeviceType.CPU and row._index >= 0:
        row._index = process
    _, rows = columns(host, row)
    assert rows["kind"][row._name] == kind


def test_instants_of_memory_and_the_gpus_copies_of_ranges_are_left_out():
    _, rows = columns(
        Row("[memory]", 1),
        Row("a range", 2, _annotation=True, _correlation=5),
        gpu_row("a range", 9, 5, annotation=True),
    )
    assert rows["device"].tolist() == [HOST]


def test_a_second_gpu_has_its_index():
    _, rows = columns(gpu_row("gemm", 5, 1, index=1))
    assert (rows["device"]["gemm"], rows["lane"]["gemm"]) == (1, 7)


def test_kernels_of_one_graph_replay_share_its_correlation():
    nodes = [gpu_row(f"node {at}", 10 + at, 690, 0, f'"graph node id": {at}') for at in range(3)]
    raw, _ = columns(Row("cudaGraphLaunch", 5, _correlation=690), *nodes)
    _, kernels, _, losses = assemble(raw, 1000, STEPS.empty_table())
    assert kernels["graph_node"].to_pylist() == [0, 1, 2]
    assert losses.without_record == 0


def test_a_runtime_call_outside_operators_lies_on_the_thread_that_the_driver_saw():
    _, rows = columns(
        Row("aten::mm", 1, _correlation=5),
        Row("cudaLaunchKernel", 2, _correlation=548, _linked=5, _resource=999),  # stale: the operator's counts
        Row("cudaDeviceSynchronize", 3, _correlation=549, _resource=777, _thread=0),
    )
    assert rows["lane"].to_dict() == {"aten::mm": 4242, "cudaLaunchKernel": 4242, "cudaDeviceSynchronize": 777}


def test_a_frame_on_a_thread_that_the_profiler_does_not_know_is_no_kernel():
    frame_of_it = Row("threading.py(327): wait", 2, _index=0, _thread=2**64 - 1)
    _, rows = columns(Row("aten::mm", 1), frame_of_it)
    assert rows["kind"].to_dict() == {"aten::mm": "op", "threading.py(327): wait": "python"}
    assert rows["device"].to_dict() == {"aten::mm": HOST, "threading.py(327): wait": HOST}


def test_metadata_that_is_broken_costs_its_row_the_attributes_and_no_other():
    broken = '"Process Group Name": "a "quoted" name"'
    raw, _ = columns(gpu_row("a", 1, 1, 0, KERNEL), gpu_row("b", 2, 2, 0, broken), gpu_row("c", 3, 3, 0, MEMCPY))
    assert raw.attributes == [
        Attributes(grid=(8, 1, 1), block=(32, 4, 1), registers=22, shared_memory=0),
        None,
        Attributes(bytes=16384),
    ]


def test_a_name_that_torch_cannot_decode_is_kept_as_far_as_it_can_be_read():
    @dataclass
    class Cut(Row):
        def name(self):
            return self._name.encode()[:-1].decode()  # as pybind11 decodes what was cut within a character

    _, rows = columns(Cut("file.py(3): größé", 10), Cut("aten::mm\u00e9", 12))
    assert list(rows.index) == ["file.py(3): größ\ufffd", "aten::mm\ufffd"]


def test_names_with_broken_characters_become_readable_text():
    _, rows = columns(gpu_row("gemm \ud800 kernel", 1, 1))
    assert rows.index.tolist() == ["gemm ? kernel"]


def with_shapes():
    a, b = torch.ones(4, 8, dtype=torch.bfloat16), torch.ones(8, 2, dtype=torch.bfloat16)
    torch.mm(a, b)
    torch.cat([a, a])
    torch.add(a, 2.5)


EXPECTED = {
    "aten::mm": {"[4, 8] bf16, [8, 2] bf16"},
    "aten::cat": {"list of [4, 8], [4, 8]"},
    "aten::add": {"[4, 8] bf16, [] f64"},
}


def inputs_of(raw):
    """What each name of operator was given."""
    events, _, ops, _ = assemble(raw, 2**62, STEPS.empty_table())
    names, found = events["name"].to_pylist(), {}
    for row in ops.to_pylist():
        found.setdefault(names[row["event"]], set()).add(row["inputs"])
    return found


def test_operators_tell_their_inputs():
    recorder = Kineto(cuda=False, shapes=True)
    recorder.start()
    with_shapes()
    found = inputs_of(kineto_columns.columns(recorder.stop(), 0, shapes=True))
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    assert "aten::empty" not in found  # given numbers alone


@needs_both_forms
def test_both_forms_of_rows_tell_the_same_inputs():
    results = profiled(with_shapes, record_shapes=True)
    found = [
        inputs_of(raw)
        for raw in (
            kineto_columns._from_activities(results.trace_activities(), shapes=True),
            kineto_columns._from_events(results.events(), shapes=True),
        )
    ]
    assert found[1].pop("aten::cat") == {"list"}  # the older form does not know what is in it
    assert found[0].pop("aten::cat") == EXPECTED["aten::cat"]
    assert found[0] == found[1]


def test_without_shapes_nothing_is_asked_for_them():
    raw, _ = columns(Row("aten::mm", 10))  # has no accessor for shapes
    assert raw.inputs is None
    assert len(assemble(raw, 1000, STEPS.empty_table())[2]) == 0


def test_inputs_that_are_broken_cost_their_row_alone():
    texts = [
        '"Input Dims": [[2]], "Input type": ["a "quoted" one"]',
        None,
        '"Input Dims": [[2]], "Input type": ["int"]',
    ]
    assert inputs.of_metadata(texts).to_pylist() == [None, None, "[2] i32"]


def test_no_rows_are_no_columns():
    assert len(kineto_columns._from_events([]).start) == 0
    assert len(kineto_columns._from_activities([]).start) == 0
