"""What the timeline's tab is answered: the layout of the analysis, to the last nanosecond."""

from __future__ import annotations

import base64
import gc
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from unit import records
from unit.analysis.trace import call, kernel, operator, record, step
from unit.any_record import any_record
from unit.views.test_widget import HOSTILE, Browser, decode

from profkit.analysis import timeline as analysis
from profkit.analysis.kernels import WorkKind
from profkit.record import KERNELS, Phase
from profkit.run import Run
from profkit.views import palette
from profkit.views import timeline as shared
from profkit.views.figures.timeline import lanes as figure_lanes
from profkit.views.format import share
from profkit.views.picture import timeline_png
from profkit.views.widgets import protocol
from profkit.views.widgets import timeline as tables
from profkit.views.widgets.protocol import Column

NAMES = ["", "<b>&", "😀 \u202eאבג", "x" * 10_000, HOSTILE]


def test_rows_are_those_of_the_layout():
    made = records.gpu_record()
    found = analysis.timeline(made)
    columns, info = Browser(made).table("timeline")
    groups = [found.groups[row.group] for row in found.rows]
    assert columns["kind"] == [str(group.kind) for group in groups]
    assert columns["label"] == [group.label for group in groups]
    for name in ("group", "depth", "lane", "count", "first_tile", "tiles"):
        assert columns[name] == [getattr(row, name) for row in found.rows], name
    assert info["range"] == [0, made.meta.wall_ns]
    assert info["groups"] == [{"label": g.label, "kind": g.kind, "device": g.device} for g in found.groups]
    strips = analysis.strips(found, info["bins"])
    assert columns["strips"] == strips.ravel().tolist()


def test_every_class_has_a_colour_and_a_label():
    _, info = Browser(records.gpu_record()).table("timeline")
    colours = palette.as_json()
    for group, name in info["classes"]:
        assert colours[group][name]["light"].startswith("#")
    assert len(set(info["class_labels"])) == len(info["classes"]) == len(analysis.CLASSES)


def test_finer_strips_come_by_level():
    made = records.gpu_record()
    browser = Browser(made)
    _, info = browser.table("timeline")
    assert info["levels"] == 1
    columns, finer = browser.table("strips", level=1)
    assert finer == {"level": 1, "bins": 4 * info["bins"]}
    assert columns["strips"] == analysis.strips(analysis.timeline(made), finer["bins"]).ravel().tolist()


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("strips", {"level": 0}),
        ("strips", {"level": 2}),
        ("strips", {"level": True}),
        ("strips", {}),
        ("tile", {"index": -1}),
        ("tile", {"index": 10**9}),
        ("tile", {"index": "0"}),
        ("tile", {}),
        ("tile", {"index": 0, "row": 1}),
        ("timeline", {"level": 1}),
    ],
)
def test_what_there_is_not_is_refused_in_words(what, options):
    content, _ = Browser(records.gpu_record()).ask(what, **options)
    assert content["kind"] == "error"
    assert what in content["message"]


def told(browser):
    """Every event that the tiles tell: row, start, duration, name, class, event."""
    columns, info = browser.table("timeline")
    names, _ = browser.table("names")
    rows = []
    for index, (low, high, count) in enumerate(info["tiles"]):
        tile, about = browser.table("tile", index=index)
        assert about["index"] == index
        assert (
            columns["first_tile"][about["row"]]
            <= index
            < sum(columns[name][about["row"]] for name in ("first_tile", "tiles"))
        )
        long = {i: int(ns) for i, ns in about["long"]}
        starts = int(about["base"]) + np.cumsum(tile["start"])
        assert tile["start"][0] == 0
        durations = [long.get(i, ns) for i, ns in enumerate(tile["duration"])]
        assert (starts[0], max(s + d for s, d in zip(starts, durations, strict=True)), len(starts)) == (
            low,
            high,
            count,
        )
        rows += [
            (about["row"], int(start), duration, names["name"][name], kind, event)
            for start, duration, name, kind, event in zip(
                starts, durations, tile["name"], tile["class"], tile.get("event", [-1] * len(starts)), strict=True
            )
        ]
    return rows


def known(made):
    found = analysis.timeline(made)
    row = found.row_of(np.arange(len(found.start)))
    columns = (row, found.start, found.duration, found.name, found.kind, found.event)
    return [
        (*(int(v) for v in (r, s, d)), found.names[n].encode(errors="replace").decode(), int(k), int(e))
        for r, s, d, n, k, e in zip(*columns, strict=True)
    ]


@given(any_record())
def test_tiles_give_back_every_event(made):
    assert told(Browser(made)) == known(made)


@pytest.mark.parametrize("name", NAMES)
def test_names_pass_as_data(name):
    browser = Browser(record(operator(0, 10, name), kernel(5, 20, 1, name), operator(2, 2, name)))
    columns, _ = browser.table("names")
    assert name in columns["name"]
    assert all(len(short) <= protocol.NAME_WIDTH for short in columns["short"])
    at = [i for i, one in enumerate(columns["name"]) if one == name]
    assert sum(columns["count"][i] for i in at) == 3
    assert sum(columns["total_ns"][i] for i in at) == 25


def test_long_durations_and_distances_survive():
    far, long = 2**33 + 5, 2**32 - 1
    made = record(operator(0, long), operator(far, far + 2**40 + 1), operator(far + 2**41, far + 2**41), wall_ns=far)
    assert told(Browser(made)) == known(made)


def test_a_selected_kernel_tells_its_launch_and_its_attributes():
    mm = operator(0, 50)
    made = record(mm, call(10, 15, 1), kernel(30, 90, 1, op=mm))
    row = {"event": 2, "grid": [8, 2, 1], "block": [128, 1, 1], "registers": 40, "shared_memory": 1024, "bytes": None}
    made.kernels = pa.Table.from_pylist([row], schema=KERNELS)
    browser = Browser(made)
    columns, info = browser.table("timeline")
    at = columns["kind"].index("gpu")
    tile, _ = browser.table("tile", index=columns["first_tile"][at])
    names, _ = browser.table("names")
    attributes, _ = browser.table("attributes")
    assert columns["kind"][tile["link_row"][0]] == "host"
    assert tile["link_delay"] == [20]
    assert names["name"][tile["op"][0]] == "aten::mm"
    assert [values[tile["attribute"][0]] for values in attributes.values()] == ["8,2,1", "128,1,1", 40, 1024, None, ""]
    assert info["longest"]["kernels"] == [{"row": at, "start": 30, "duration": 60, "name": tile["name"][0]}]
    assert info["longest"]["gaps"] == []  # only its edges are idle


def test_an_event_tells_its_step_and_what_none_has_is_no_column():
    made = record(operator(0, 10) | {"step": 0}, operator(20, 30), steps=[step(0, 15)])
    browser = Browser(made)
    columns, _ = browser.table("timeline")
    host, _ = browser.table("tile", index=columns["first_tile"][columns["kind"].index("host")])
    assert host["step"] == [0, -1]
    assert host.keys() == {"start", "duration", "name", "class", "event", "step"}


def test_steps_are_named_by_phase_and_numbered_by_row():
    browser = Browser(records.gpu_record())
    columns, _ = browser.table("timeline")
    names, _ = browser.table("names")
    tile, _ = browser.table("tile", index=columns["first_tile"][columns["kind"].index("steps")])
    assert [names["name"][name] for name in tile["name"]] == [Phase.PREFILL, *[Phase.DECODE] * 3]
    assert tile["event"] == [0, 1, 2, 3]


def test_idle_stretches_are_named_in_words():
    names, _ = Browser(records.gpu_record()).table("names")
    words = dict(zip(names["name"], names["short"], strict=True))
    assert words["idle: launch"] == "waits for a launch"


def test_the_layout_is_made_once_and_goes_with_its_record(monkeypatch):
    made = []
    original = analysis.timeline
    monkeypatch.setattr(analysis, "timeline", lambda record: made.append(record.meta.id) or original(record))
    shown = records.gpu_record()
    for _ in range(2):
        tables.timeline(shown)
        tables.tile(shown, 0)
    assert len(made) == 1
    kept = id(shown)
    assert kept in shared._layouts
    del shown
    gc.collect()
    assert kept not in shared._layouts


def test_few_layouts_are_kept_however_many_profiles_there_are():
    shown = [records.gpu_record() for _ in range(5)]
    for one in shown:
        Browser(one).table("timeline")
    assert len(shared._layouts) <= 2


def test_tiles_are_not_kept_in_the_view():
    browser = Browser(records.gpu_record())
    browser.table("tile", index=0)
    assert browser.view._replies == {}


def test_run_timeline_opens_at_the_timeline_with_a_picture():
    view = Run(records.gpu_record()).timeline()
    assert view.tab == "timeline"
    data, _ = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == (1000, 560)
    assert len(data["image/png"]) < 100_000


def test_the_picture_keeps_the_colours_of_every_kind_of_work():
    picture = Image.open(io.BytesIO(timeline_png(records.gpu_record()))).convert("RGB")
    drawn = {colour for _, colour in picture.getcolors(2**20)}
    for kind in (WorkKind.MATMUL, WorkKind.ATTENTION, WorkKind.ELEMENTWISE):
        colour = palette.WORK[kind].light
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        nearest = min(drawn, key=lambda one: sum(abs(a - b) for a, b in zip(one, wanted, strict=True)))
        assert max(abs(a - b) for a, b in zip(nearest, wanted, strict=True)) <= 4, kind


def test_the_figure_the_view_and_the_analysis_say_the_same_numbers():
    for made in (records.gpu_record(), records.stepless_record(), records.cpu_record()):
        columns, info = Browser(made).table("timeline")
        edges = np.linspace(*info["range"], 401).astype(np.int64)
        drawn = {lane.name: lane for lane in figure_lanes(made, edges)}
        idle = Run(made).idle()
        if idle.busy_ns is None:
            assert "GPU idle" not in drawn
            continue
        by_class = drawn["GPU idle"].covered.sum(axis=0)
        named = {name: by_class[at] for at, (group, name) in enumerate(analysis.CLASSES) if group == "idle"}
        assert {cause: ns for cause, ns in named.items() if ns} == {c: ns for c, ns in idle.causes.items() if ns}
        assert drawn["GPU idle"].note == share(idle.idle_ns / idle.window_ns)
        assert drawn["stream 7"].note == f"{share(idle.busy_ns / idle.window_ns)} busy"
        work = drawn["stream 7"].covered.sum(axis=0)
        kinds = {name: work[at] for at, (group, name) in enumerate(analysis.CLASSES) if group == "work" and work[at]}
        assert kinds == Run(made).kernels(by="kind").set_index("name")["total_ns"].to_dict()
        # What the view draws, bin by bin, is that to within the 255th of a bin.
        strips = np.array(columns["strips"]).reshape(len(columns["kind"]), info["bins"], 2)
        bin_ns = (info["range"][1] - info["range"][0]) / info["bins"]
        for kind, ns in (("gaps", idle.idle_ns), ("gpu", idle.busy_ns)):
            seen = sum(strips[at, :, 1].sum() / 255 * bin_ns for at, one in enumerate(columns["kind"]) if one == kind)
            assert abs(seen - ns) <= info["bins"] * bin_ns / 255


def test_a_record_without_events_is_shown_without_a_picture():
    data, _ = Run(records.empty_record()).timeline()._repr_mimebundle_()
    assert "image/png" not in data


@given(
    st.sampled_from(["<i4", "<u4", "<i8", "<f8", "u1"]),
    st.lists(st.integers(0, 255), max_size=300),
    st.sampled_from([protocol.FAST, protocol.SMALL]),
)
def test_packed_columns_come_back(code, values, level):
    column = Column.packed("x", np.array(values, code))
    encoding, data = column.encoded(level)
    assert len(data) <= len(column.data)
    head = {"dtype": column.dtype, "length": len(values)} | ({"encoding": encoding} if encoding else {})
    assert decode(head, data, 0) == values
