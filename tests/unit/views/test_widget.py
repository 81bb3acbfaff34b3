"""What a profile's view answers to its browser half."""

from __future__ import annotations

import gc
import json
import struct
import subprocess
import sys
import uuid
import weakref
import zlib
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from unit import records
from unit.kv_records import growing_record
from unit.records import MS

from profkit.analysis import kernels as kernel_analysis
from profkit.analysis import telemetry as telemetry_analysis
from profkit.analysis.idle import idle_by_step
from profkit.analysis.kv import kv_curve, kv_growth
from profkit.analysis.steps import step_stats, steps_frame
from profkit.analysis.summary import summarize
from profkit.errors import OptionError, RecordError
from profkit.formats import archive
from profkit.record import STEPS, TELEMETRY, Metric, Phase, Record
from profkit.views import palette
from profkit.views.content import describe
from profkit.views.format import clean
from profkit.views.kv_words import sentences
from profkit.views.widgets import protocol
from profkit.views.widgets.profile import TABS, ProfileView
from profkit.views.widgets.tables import NEEDED, TABLES

HOSTILE = "<img src=x onerror=alert(1)>\u202e\u0000</script>'\"&{{7*7}}\n$(id)"


class Browser:
    """The other end of a view: sends messages, decodes what comes back."""

    def __init__(self, record: Record, **options: Any) -> None:
        self.view = ProfileView(record, **options)
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        self.view.send = lambda content, buffers=None: self.sent.append((content, buffers or []))

    def say(self, content: Any) -> None:
        self.view._handle_custom_msg(content, [])

    def ask(self, what: object, **options: Any) -> tuple[dict[str, Any], list[bytes]]:
        self.say({"kind": "get", "id": "q-1", "what": what, **options})
        return self.sent[-1]

    def table(self, what: str, **options: Any) -> tuple[dict[str, list[Any]], Any]:
        content, buffers = self.ask(what, **options)
        assert content["kind"] == "data", content
        assert content["id"] == "q-1"
        assert content["what"] == what
        assert len(buffers) == len(content["columns"])
        json.dumps(content, allow_nan=False)  # travels as JSON
        columns = zip(content["columns"], buffers, strict=True)
        return {c["name"]: decode(c, data, content["rows"]) for c, data in columns}, content["info"]


WIDTH = {"int64": 8, "int32": 4, "uint32": 4, "uint8": 1, "float64": 8}


def decode(column: dict[str, Any], data: bytes, rows: int) -> list[Any]:
    """As the browser does, absent values None."""
    assert isinstance(data, bytes)
    rows, dtype = column.get("length", rows), column["dtype"]
    match column.get("encoding"):
        case "deflate":
            data = zlib.decompress(data)
        case "shuffle-deflate":
            planes = zlib.decompress(data)
            data = b"".join(planes[i::rows] for i in range(rows))
            assert len(data) == rows * WIDTH[dtype]
    if dtype == "string":
        cuts = struct.unpack_from(f"<{rows + 1}I", data)
        text = data[4 * (rows + 1) :]
        return [text[a:b].decode() for a, b in pairwise(cuts)]
    code = {"int64": "q", "int32": "i", "uint32": "I", "uint8": "B", "float64": "d"}[dtype]
    values = struct.unpack(f"<{rows}{code}", data)
    absent = protocol.NULL.get(dtype)
    return [None if value == absent or value != value else value for value in values]


def plain(values: pd.Series) -> list[Any]:
    return [None if pd.isna(value) else value for value in values]


def test_overview_is_the_summary_in_the_words_of_every_view():
    record = records.gpu_record()
    columns, info = Browser(record).table("overview")
    summary = summarize(record)
    assert columns["name"] == [work.name for work in summary.top]
    assert columns["total_ns"] == [work.total_ns for work in summary.top]
    assert columns["share"] == [work.share for work in summary.top]
    words = asdict(describe(summary))
    assert {key: info[key] for key in words if key != "top"} == {k: v for k, v in words.items() if k != "top"}


@pytest.mark.parametrize("by", ["name", "kind", "op"])
def test_kernels_are_the_analysis_to_the_last_digit(by):
    record = records.gpu_record()
    columns, info = Browser(record).table("kernels", by=by)
    frame = kernel_analysis.kernels(record, by)
    for name in frame.columns:
        assert columns[name] == plain(frame[name]), name
    assert info["by"] == by
    assert info["where"] == "gpu"


def test_kernels_come_by_name_unless_asked_otherwise():
    browser = Browser(records.gpu_record())
    assert browser.table("kernels") == browser.table("kernels", by="name")


def test_steps_are_the_record_with_idle_time_and_token_gaps():
    record = records.gpu_record()
    columns, info = Browser(record).table("steps")
    frame = steps_frame(record)
    for name in ("phase", "start", "end", "host_duration", "device_duration", "context_tokens", "tokens_out"):
        assert columns[name] == plain(frame[name]), name
    idle = idle_by_step(record)
    for name in idle.columns.drop("step"):
        assert columns[name] == plain(idle[name]), name
    assert columns["token_gap"] == [None, 20 * MS, 20 * MS, 20 * MS]
    assert info["stats"] == step_stats(record).to_dict()
    assert info["causes"] == {str(cause): label for cause, label in palette.IDLE_LABELS.items()}


def test_token_gaps_are_those_that_the_percentiles_stand_on():
    gaps = [value for value in Browser(two_generations()).table("steps")[0]["token_gap"] if value is not None]
    spread = step_stats(two_generations()).token_gap
    assert len(gaps) == spread.samples
    assert np.percentile(gaps, 50) == spread.p50_ns
    assert (min(gaps), max(gaps)) == (spread.min_ns, spread.max_ns)


def test_gap_to_a_token_of_another_generation_is_no_gap():
    gaps = Browser(two_generations()).table("steps")[0]["token_gap"]
    assert gaps == [None, 5 * MS, None, None, 7 * MS]


def test_the_cache_is_every_reading_with_its_kinds():
    record = growing_record()
    columns, info = Browser(record).table("kv")
    assert [kind["label"] for kind in info["kinds"]] == ["full", "sliding"]
    assert list(columns["kind_full"]) == [200_000, 202_000, 204_000, 206_000, 208_000]
    assert list(columns["storage_bytes"]) == kv_curve(record)["storage_bytes"].tolist()
    assert info["lines"] == list(sentences(kv_growth(record)))
    assert (info["peak"]["bytes"], info["memory"]["bytes"]) == (300_000, 4_000_000)


def test_without_a_cache_there_is_its_reason():
    columns, info = Browser(records.cpu_record(not_measured={"kv": "the model kept no cache"})).table("kv")
    assert (columns, info["reason"]) == ({}, "the model kept no cache")


def test_telemetry_is_every_reading_of_every_metric():
    record = records.gpu_record()
    columns, info = Browser(record).table("telemetry")
    assert info["wall_ns"] == record.meta.wall_ns
    assert len(info["tracks"]) == 5
    for at, track in enumerate(info["tracks"]):
        metric = Metric(track["metric"])
        assert (track["label"], track["unit"]) == (metric.label, metric.unit)
        times, values = telemetry_analysis.series(record, metric, track["device"])
        mine = [i for i, owner in enumerate(columns["track"]) if owner == at]
        assert [columns["time"][i] for i in mine] == times.tolist()
        assert [columns["value"][i] for i in mine] == values.tolist()


def test_telemetry_says_what_held_the_clocks_back_in_words():
    mask = str(Metric.CLOCK_EVENT_REASONS)
    readings = [{"time": at * MS, "device": 0, "metric": mask, "value": 4.0} for at in (10, 20, 30)]
    record = records.gpu_record()
    record.telemetry = records.rows(TELEMETRY, readings)
    columns, info = Browser(record).table("telemetry")
    assert info["tracks"] == []
    assert columns == {}
    assert info["clock_reasons"] == telemetry_analysis.clock_reasons(record) != []


def test_int64_survives_beyond_53_bits():
    late = 2**53 + 1
    record = records.gpu_record()
    shifted = [
        records.step(Phase.PREFILL, 0, 1, 1) | {"start": late, "end": late + 3, "sent": late},
        records.step(Phase.DECODE, 1, 2, 1) | {"start": late + 4, "end": late + 10},
    ]
    record.steps = records.rows(STEPS, shifted)
    columns, _ = Browser(record).table("steps")
    assert columns["start"] == [late, late + 4]
    assert columns["end"] == [late + 3, late + 10]
    assert columns["token_gap"] == [None, 7]


def test_absent_values_are_absent_and_not_0():
    columns, _ = Browser(records.cpu_record()).table("steps")
    assert columns["device_duration"] == [None, None, None]


def test_hostile_names_pass_as_data():
    record = records.hostile_record(HOSTILE)
    browser = Browser(record)
    assert HOSTILE in browser.table("kernels")[0]["name"]
    assert HOSTILE in browser.table("overview")[0]["name"]
    assert browser.view.title == clean(HOSTILE)


@pytest.mark.parametrize(
    "make",
    [records.cpu_record, records.untraced_record, records.stepless_record, records.empty_record],
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("what", [what for what in TABLES if what not in NEEDED])
def test_records_that_lack_something_answer_every_tab(make, what):
    content, _ = Browser(make()).ask(what)
    assert content["kind"] == "data"


def test_cpu_record_shows_operators_of_the_host():
    columns, info = Browser(records.cpu_record()).table("kernels")
    assert info["where"] == "host"
    assert columns["name"][0] == "aten::addmm"


def test_record_without_steps_says_why():
    columns, info = Browser(records.stepless_record()).table("steps")
    assert columns["start"] == []
    assert "--model" in info["reason"]


def test_unknown_table_gets_an_error_that_names_the_near_match():
    content, buffers = Browser(records.gpu_record()).ask("kernel")
    assert content == {
        "kind": "error",
        "id": "q-1",
        "message": "no table 'kernel' in a profile; did you mean 'kernels'?",
    }
    assert buffers == []


@pytest.mark.parametrize("what", ["zzz", None, 7, [1]])
def test_unknown_table_gets_an_error_that_names_what_is_known(what):
    content, _ = Browser(records.gpu_record()).ask(what)
    assert content["kind"] == "error"
    assert f"known are {', '.join(sorted(TABLES))}" in content["message"]


@pytest.mark.parametrize("options", [{"by": "colour"}, {"bye": "name"}, {"by": ["name"]}])
def test_unknown_option_gets_an_error(options):
    content, _ = Browser(records.gpu_record()).ask("kernels", **options)
    assert content["kind"] == "error"


def test_defect_is_answered_and_not_swallowed(monkeypatch, caplog):
    browser = Browser(records.gpu_record())
    monkeypatch.setitem(TABLES, "steps", lambda record: 1 / 0)
    content, _ = browser.ask("steps")
    assert content == {"kind": "error", "id": "q-1", "message": "ZeroDivisionError: division by zero"}
    assert "ZeroDivisionError" in caplog.text  # ipywidgets logs what a callback raises


@pytest.mark.parametrize("message", [{"kind": "ping"}, {"kind": "later"}, {}, "text", None])
def test_message_that_asks_nothing_gets_no_answer(message):
    browser = Browser(records.gpu_record())
    browser.say(message)
    assert browser.sent == []


def test_table_is_computed_when_first_asked_for_and_then_kept(monkeypatch):
    calls = []
    original = TABLES["kernels"]
    monkeypatch.setitem(TABLES, "kernels", lambda record, **o: calls.append(o) or original(record, **o))
    browser = Browser(records.gpu_record())
    assert calls == []
    for _ in range(2):
        browser.ask("kernels", by="kind")
    assert calls == [{"by": "kind"}]
    assert browser.sent[0] == browser.sent[1]


def test_each_reply_carries_the_id_of_its_request():
    browser = Browser(records.gpu_record())
    for name in ("a", "b"):
        browser.say({"kind": "get", "id": name, "what": "steps"})
    assert [content["id"] for content, _ in browser.sent] == ["a", "b"]


def test_first_tab_is_sent_when_the_view_is_displayed():
    browser = Browser(records.gpu_record(), tab="kernels")
    assert browser.sent == []
    browser.view._repr_mimebundle_()
    (pushed,) = browser.sent
    asked = browser.ask("kernels")
    assert pushed == ({**asked[0], "id": protocol.UNASKED}, asked[1])


def test_selection_in_the_browser_can_be_observed():
    browser, seen = Browser(records.gpu_record()), []
    browser.view.observe(lambda change: seen.append(change["new"]), "selection")
    browser.say({"kind": "select", "what": "step", "row": 2})
    browser.say({"kind": "select", "what": "step", "row": None})
    assert seen == [{"what": "step", "row": 2}, None]


def test_notebook_is_given_code_and_no_data():
    view = ProfileView(records.gpu_record())
    state = view.get_state()
    code = len(state.pop("_esm")) + len(state.pop("_css"))
    assert code < 120_000
    assert len(json.dumps(state)) < 4_000


def test_views_share_one_copy_of_the_code():
    first, second = (ProfileView(records.gpu_record()) for _ in range(2))
    assert first._esm is second._esm or first._esm == second._esm
    assert first._palette == palette.as_json()


def test_terminal_gets_a_line_of_text():
    data, _ = ProfileView(records.gpu_record())._repr_mimebundle_()
    assert data["text/plain"].startswith("<ProfileView of 'baseline'")


def test_tab_can_be_chosen():
    for tab in TABS:
        assert ProfileView(records.gpu_record(), tab=tab).tab == tab


def test_unknown_tab_is_refused():
    with pytest.raises(OptionError, match="did you mean 'steps'"):
        ProfileView(records.gpu_record(), tab="step")


def test_anywidget_is_imported_only_where_a_view_is_made():
    code = "import sys, profkit.views.widgets; assert not {'anywidget', 'ipywidgets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def two_generations() -> Record:
    """Two generations; the second reads its prompt in two chunks, the first of which gives no token."""
    record = records.gpu_record()
    steps = [
        records.step(Phase.PREFILL, 0, 10, 5),
        records.step(Phase.DECODE, 10, 15, 3),
        records.step(Phase.PREFILL, 40, 50, 5, tokens_out=0, generation=1),
        records.step(Phase.PREFILL, 50, 60, 5, generation=1),
        records.step(Phase.DECODE, 60, 67, 3, generation=1),
    ]
    record.steps = records.rows(STEPS, steps)
    return record


def test_a_view_of_a_saved_record_does_not_keep_it_and_reads_it_again(tmp_path):
    record = gpu_record_at(tmp_path)
    view = ProfileView(record, path=tmp_path / "kept.profkit")
    expected = len(kernel_analysis.kernels(record))
    gone = weakref.ref(record)
    del record
    gc.collect()
    assert gone() is None
    content, _ = view._reply("kernels", {})
    assert content["rows"] == expected


def test_a_view_of_a_saved_record_reads_it_once_for_all_that_is_asked(tmp_path, monkeypatch):
    view = ProfileView(gpu_record_at(tmp_path), path=tmp_path / "kept.profkit")
    gc.collect()
    reads = []
    original = archive.load
    monkeypatch.setattr(archive, "load", lambda path: reads.append(path) or original(path))
    for index in range(3):
        view._reply("tile", {"index": index})
    assert len(reads) == 1


def test_a_view_whose_file_holds_another_record_by_now_says_so(tmp_path):
    view = ProfileView(gpu_record_at(tmp_path), path=tmp_path / "kept.profkit")
    gpu_record_at(tmp_path)
    gc.collect()
    with pytest.raises(RecordError, match="newer profile"):
        view._reply("kernels", {})


def gpu_record_at(folder: Path) -> Record:
    record = records.gpu_record()
    record.meta.id = uuid.uuid4().hex
    archive.save(record, folder / "kept.profkit")
    return record
