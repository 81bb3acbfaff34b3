"""A timeline of real kernels: their launches, the shapes that their operators were given, and their trace."""

import json

import pytest
import torch

import profkit
from profkit.analysis import timeline as analysis
from profkit.analysis.timeline import TrackKind
from profkit.run import Run
from profkit.views.widgets.tables import table

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def run() -> Run:
    """Matrix products with their shapes, on two streams."""
    a = torch.ones(512, 1024, device="cuda", dtype=torch.bfloat16)
    b = torch.ones(1024, 256, device="cuda", dtype=torch.bfloat16)
    side = torch.cuda.Stream()
    a @ b
    torch.cuda.synchronize()
    with profkit.profile("products", shapes=True) as session:
        for _ in range(20):
            a @ b
        with torch.cuda.stream(side):
            a @ b
        torch.cuda.synchronize()
    return session.run


def test_operators_tell_their_inputs(run):
    names = run.events["name"].astype(str)
    products = {row["inputs"] for row in run.record.ops.to_pylist() if names.iloc[row["event"]] == "aten::mm"}
    assert products == {"[512, 1024] bf16, [1024, 256] bf16"}


def test_a_kernel_tells_its_launch_its_operator_and_its_inputs(run):
    found = analysis.timeline(run.record)
    details = analysis.details(found, run.record)
    kernels = [
        at
        for row in found.rows
        if found.groups[row.group].kind is TrackKind.GPU
        for at in range(row.first, row.first + row.count)
        if details.operator[at] >= 0 and found.names[details.operator[at]] == "aten::mm"
    ]
    assert len(kernels) >= 21
    for at in kernels:
        attributes = details.attributes.iloc[details.attribute[at]]
        assert attributes["inputs"] == "[512, 1024] bf16, [1024, 256] bf16"
        assert attributes["grid"]
        assert details.link_row[at] >= 0
        assert 0 <= details.link_delay[at] < 1e9
        assert found.groups[found.rows[details.link_row[at]].group].kind is TrackKind.HOST


def test_both_streams_have_rows_and_the_gpu_one_of_gaps(run):
    kinds = [group.kind for group in analysis.timeline(run.record).groups]
    assert kinds.count(TrackKind.GPU) == 2
    assert kinds.count(TrackKind.GAPS) == 1


def test_every_tile_is_told(run):
    info = table(run.record, "timeline", {}).info
    events = sum(table(run.record, "tile", {"index": index}).rows for index in range(len(info["tiles"])))
    assert events == len(analysis.timeline(run.record).start)


def test_the_trace_has_an_arrow_to_every_kernel(run, tmp_path):
    trace = json.loads(run.export_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    kernels = {one["args"]["correlation"] for one in trace if one.get("cat") == "kernel"}
    assert kernels
    assert kernels <= {one["id"] for one in trace if one["ph"] == "f"}
    shaped = [one for one in trace if one.get("cat") == "cpu_op" and one["name"] == "aten::mm"]
    assert {json.dumps(one["args"]["Input Dims"]) for one in shaped} == {"[[512, 1024], [1024, 256]]"}


def test_the_page_opens_at_the_timeline(run, tmp_path):
    page = run.to_html(tmp_path / "page.html").read_text()
    assert '"tab": "timeline"' in page
