"""What a sweep's view answers to its browser half."""

import itertools
import math
import struct

import pytest
from unit import worked
from unit.sweeps import cpu_sweep, gpu_sweep, sweep_meta

from profkit.analysis.curves import table
from profkit.analysis.sweep import SweepData
from profkit.analysis.sweep_curves import sweep_curves
from profkit.errors import OptionError
from profkit.views.widgets.sweep import TABLES, SweepView

HOSTILE = "<img src=x onerror=alert(1)>\u202etxt"


class Browser:
    """The other end of a view: sends messages, decodes what comes back."""

    def __init__(self, *sweeps, **options):
        curves = [sweep_curves(data) for data in sweeps]
        overlay = curves[1] if len(curves) > 1 else None
        self.view = SweepView(curves[0], overlay=overlay, **options)
        self.sent = []
        self.view.send = lambda content, buffers=None: self.sent.append((content, buffers or []))

    def ask(self, what, **options):
        self.view._handle_custom_msg({"kind": "get", "id": "q", "what": what, **options}, [])
        return self.sent[-1]

    def table(self, what):
        content, buffers = self.ask(what)
        assert content["kind"] == "data", content
        columns = {
            spec["name"]: decode(spec["dtype"], data, content["rows"])
            for spec, data in zip(content["columns"], buffers, strict=True)
        }
        return columns, content["info"]


def decode(dtype, data, rows):
    if dtype == "string":
        at = struct.unpack(f"<{rows + 1}I", data[: 4 * (rows + 1)])
        text = data[4 * (rows + 1) :]
        return [text[a:b].decode() for a, b in itertools.pairwise(at)]
    return list(struct.unpack(f"<{rows}{ {'int32': 'i', 'int64': 'q', 'float64': 'd'}[dtype] }", data))


def records(columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.fixture(scope="module")
def graph():
    return Browser(worked.graph())


@pytest.fixture(scope="module")
def gpu():
    return Browser(gpu_sweep())


def test_curves_hold_the_numbers_of_the_table(gpu):
    data = gpu_sweep()
    columns, info = gpu.table("curves")
    frame = table(data)
    decode = frame[(frame["phase"] == "decode") & (frame["context"] == 4096)]
    rows = [row for row in records(columns) if row["phase"] == "decode" and row["series"] == 1]
    assert info["series"] == ["context 512", "context 4096"]
    assert [row["x"] for row in rows] == decode["batch"].tolist()
    for name in ("median_ns", "p10_ns", "p90_ns", "tokens_per_s"):
        assert [row[name] for row in rows] == decode[name].tolist()


def test_a_point_out_of_memory_is_a_row_without_a_phase(gpu):
    rows = [row for row in records(gpu.table("curves")[0]) if not row["phase"]]
    assert [(row["x"], row["series"], row["status"]) for row in rows] == [(512.0, 1, "OOM")]
    assert rows[0]["words"] == "out of memory at 140 GB, by plan 143 GB"
    assert math.isnan(rows[0]["median_ns"])


def test_what_was_not_measured_is_absent_and_not_zero():
    columns, info = Browser(cpu_sweep()).table("curves")
    assert all(math.isnan(value) for value in columns["floor_ns"])
    assert "floor" not in "".join(info["titles"].values())
    assert info["notes"][0] == "No floor: no NVIDIA driver on this machine."


def test_points_say_floor_regime_and_knee_in_words(graph):
    words = {(row["series"], row["x"]): row["words"] for row in records(graph.table("curves")[0]) if row["words"]}
    assert words[0, 64.0].replace("\u202f", " ") == (
        "decode 6.57 ms (1.43 × its floor), prefill 792 ms (1.25 × its floor), 9 723 tokens/s, bandwidth-bound, "
        "the knee"
    )


def test_knees_are_marked_where_the_curves_have_them(graph):
    marked = [(row["series"], row["x"]) for row in records(graph.table("curves")[0]) if row["knee"]]
    assert marked == [(0, 64.0), (1, 8.0), (2, 2.0)]


def test_slos_come_with_their_phase_and_the_limits_that_were_given(graph):
    info = graph.table("curves")[1]
    assert info["slos"] == {
        "ttft": {"phase": "prefill", "ns": 500_000_000},
        "tpot": {"phase": "decode", "ns": 30_000_000},
    }


def test_the_pareto_front_is_what_no_point_beats(graph):
    rows = records(graph.table("pareto")[0])
    assert [row["median_ns"] for row in rows] == sorted(row["median_ns"] for row in rows)
    best = 0.0
    for row in rows:
        assert bool(row["front"]) == (row["tokens_per_s"] > best)
        best = max(best, row["tokens_per_s"])


def test_the_table_is_text_with_only_the_columns_that_have_any(graph, gpu):
    columns, info = graph.table("points")
    assert list(info["heads"]) == list(columns)
    assert list(columns)[:5] == ["batch", "context", "TTFT", "TPOT", "n"]  # 40 samples carry no p10
    assert [columns[name][0] for name in ("batch", "context", "TPOT", "bound by")] == [
        "1",
        "512",
        "5.12 ms",
        "bandwidth",
    ]
    assert "p10 to p90" in gpu.table("points")[0]
    assert "bound by" not in gpu.table("points")[0]


def test_the_tables_notes_are_the_marks_of_a_point(gpu):
    columns, _ = gpu.table("points")
    notes = {(b, c): n for b, c, n in zip(columns["batch"], columns["context"], columns["notes"], strict=True)}
    assert notes["512", "4096"].startswith("out of memory: at 140 GB, by plan 143 GB. CUDA out of memory")
    assert notes["64", "4096"].startswith("throttled: SW power cap")
    assert notes["64", "512"].startswith("the knee")


def test_two_sweeps_are_named_apart():
    both = Browser(worked.graph(), worked.eager())
    columns, info = both.table("curves")
    assert info["series"][:4:3] == ["graph, context 512", "eager, context 512"]
    assert max(columns["series"]) == 5
    assert "eager: Decode is launch-bound at every batch." in info["notes"]
    assert set(both.table("points")[0]["sweep"]) == {"graph", "eager"}


def test_the_first_tab_travels_with_the_view(gpu):
    before = len(gpu.sent)
    gpu.view._repr_mimebundle_()
    content, _ = gpu.sent[before]
    assert (content["what"], content["id"]) == ("curves", "")


def test_a_saved_notebook_holds_no_data(gpu):
    state = gpu.view.get_state()
    assert state["kind"] == "sweep"
    assert not any("context 512" in str(value) for name, value in state.items() if not name.startswith("_"))


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("curvs", {}, "no table 'curvs' in a sweep; did you mean 'curves'"),
        (None, {}, "no table None"),
        ("curves", {"by": "x"}, "has no option 'by'"),
    ],
)
def test_a_request_that_cannot_be_gets_an_answer(gpu, what, options, message):
    content, _ = gpu.ask(what, **options)
    assert content["kind"] == "error"
    assert message in content["message"]


def test_an_unknown_tab_is_refused():
    with pytest.raises(OptionError, match="did you mean 'pareto'"):
        SweepView(sweep_curves(cpu_sweep()), tab="paretto")


def test_a_sweep_without_any_time_says_why():
    meta = sweep_meta(axes={"batch": [1]}, slo_ns={})
    browser = Browser(
        SweepData.of(meta, [{"point": 0, "batch": 1, "status": "error", "message": "ValueError: no"}], [])
    )
    assert (
        browser.table("curves")[1]["reason"] == "No point of this sweep was measured; batch 1: error: ValueError: no."
    )
    assert browser.table("pareto")[1]["reason"]
    assert browser.table("points")[0]["batch"] == ["1"]


def test_strangers_text_keeps_no_direction_marks():
    full = gpu_sweep()
    meta = sweep_meta(name=HOSTILE, gpu_name=HOSTILE, units={"batch": HOSTILE}, slo_ns={})
    rows = [row | {"message": HOSTILE, "throttling": HOSTILE} for row in full.points.to_pylist()]
    browser = Browser(SweepData.of(meta, rows, full.samples.to_pylist()))
    for what in TABLES:
        content, buffers = browser.ask(what)
        assert "\u202e" not in str(content)
        assert "\u202e".encode() not in b"".join(buffers)
    assert "\u202e" not in browser.view.title + browser.view.subtitle
