import io
import itertools
import json
import re
import warnings

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from unit.kv_records import growing_record
from unit.records import (
    MS,
    NO_GPU,
    Events,
    cpu_record,
    empty_record,
    gpu_record,
    hostile_record,
    meta,
    rows,
    step,
    stepless_record,
    untraced_record,
)

from profkit.errors import OptionError, ProfkitError
from profkit.record import STEPS, Phase, Record
from profkit.views.export import export
from profkit.views.figures import FIGURES, available, figure
from profkit.views.figures.base import MissingDataError, apart, rendered

TOUCH = 1.0  # pixels that two boxes may share: letters do not fill theirs


def long_record():
    """Three generations with prefills and 1,500 decode steps, two streams, 30 kernels with long names."""
    events, steps, at = Events(), [], 1.0
    for generation in range(3):
        steps.append(step(Phase.PREFILL, at, at + 30, 20, query_tokens=512, generation=generation))
        at += 31
        for i in range(500):
            name = f"void ns::kernel_{i % 30}_with_quite_a_long_name_{'x' * 40}<float>(int)"
            events.launch(name, at, at + 0.2, 0.5, stream=7 + i % 2)
            steps.append(step(Phase.DECODE, at, at + 1, 0.9, generation=generation))
            at += 1.1
    return Record(meta(wall_ns=round(at * MS)), events=events.table(), steps=rows(STEPS, steps))


RECORDS = [gpu_record, growing_record, cpu_record, untraced_record, stepless_record, long_record]
DRAWN = [(record, kind) for record in RECORDS for kind in available(record())]


def boxes(drawn):
    """Text that is seen, with its box in pixels."""
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    renderer = canvas.get_renderer()
    unseen = {label for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis) for label in outside(axis)}
    texts = [text for text in drawn.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text not in unseen]


def outside(axis):
    """Labels of ticks beyond the axis' limits: they exist and are not drawn."""
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]


def overlap(one, other):
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    along = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across > TOUCH and along > TOUCH


def test_a_full_record_fills_every_figure():
    assert available(gpu_record()) == list(FIGURES)


def test_a_record_is_offered_what_it_can_fill():
    assert available(cpu_record()) == ["timeline", "kernels", "steps"]
    assert available(untraced_record()) == ["steps", "kv", "telemetry"]
    assert available(stepless_record()) == ["timeline", "kernels", "telemetry"]
    assert available(empty_record()) == []


@pytest.mark.parametrize(("record", "kind"), DRAWN)
def test_no_text_of_a_figure_overlaps_another_or_leaves_the_page(record, kind):
    drawn = figure(record(), kind)
    found = boxes(drawn)
    assert len(found) > 5
    for (text, box), (other, other_box) in itertools.combinations(found, 2):
        assert not overlap(box, other_box), (text, other)
    for text, box in found:
        assert box.x0 >= -TOUCH, text
        assert box.y0 >= -TOUCH, text
        assert box.x1 <= drawn.bbox.x1 + TOUCH, text
        assert box.y1 <= drawn.bbox.y1 + TOUCH, text


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_says_on_what_it_was_measured(kind):
    texts = [text for text, _ in boxes(figure(gpu_record(), kind))]
    caption = next(text for text in texts if "record 0123456789ab" in text)
    assert caption.startswith("NVIDIA H200 · torch 2.11.0+cu130")
    assert "2026-01-31 12:00 UTC" in caption


@pytest.mark.parametrize(("kind", "finding"), [
    ("timeline", "The GPU was busy 38.0 % of 100 ms"),
    ("kernels", "Matmul takes 71.1 % of the GPU's 38.0 ms of work"),
    ("steps", "From token to token 20.0 ms (median of 3 gaps); the GPU works 60.0 % of a decode step"),
    ("kv", "A token costs 131 kB of KV cache; 8.78 MB for 1 sequence of 67 tokens"),
    ("memory", "GPU 0 held 3.03 GB at its peak, 89.0 % of it weights"),
    ("telemetry", "GPU 0 drew 80.0 W on average, 90.0 W at most, over 100 ms"),
])  # fmt: skip
def test_the_title_is_the_finding(kind, finding):
    titles = [text for text, _ in boxes(figure(gpu_record(), kind))]
    assert any(finding in title for title in titles), titles


@pytest.mark.parametrize("kind", FIGURES)
def test_the_same_record_gives_the_same_bytes(kind):
    first, second = (figure(gpu_record(), kind) for _ in range(2))
    for form in ("svg", "pdf", "png"):
        assert rendered(first, form) == rendered(second, form)


def test_a_notebooks_own_settings_change_nothing():
    plain = rendered(figure(gpu_record(), "kernels"), "svg")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "none", "text.usetex": False}):
        assert rendered(figure(gpu_record(), "kernels"), "svg") == plain
        assert mpl.rcParams["font.size"] == 30


def test_fonts_are_embedded():
    assert b"<text" not in rendered(figure(gpu_record(), "steps"), "svg")
    pdf = rendered(figure(gpu_record(), "steps"), "pdf")
    assert b"/Type3" not in pdf
    assert b"FontFile2" in pdf


def test_a_figure_shows_itself_in_a_notebook():
    picture = Image.open(io.BytesIO(figure(gpu_record(), "steps")._repr_png_()))
    assert picture.size == (1000, 560)


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_that_a_record_cannot_fill_says_what_is_missing(kind):
    with pytest.raises(MissingDataError, match=f"figure '{kind}': the record holds no ") as error:
        figure(empty_record(), kind)
    assert isinstance(error.value, ProfkitError)


def test_the_records_own_reason_is_given():
    with pytest.raises(MissingDataError, match="name it with --model"):
        figure(stepless_record(), "steps")
    with pytest.raises(MissingDataError, match="--no-trace"):
        figure(untraced_record(), "kernels")


def test_an_unknown_figure_names_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'kernels'"):
        figure(gpu_record(), "kernel")


def test_a_window_is_of_the_timeline_and_inside_the_record():
    texts = [text for text, _ in boxes(figure(gpu_record(), "timeline", window=(40 * MS, 52 * MS)))]
    assert "1 forward" in texts
    assert "2 calls" in texts
    assert "50.0 % busy" in texts
    with pytest.raises(OptionError, match="holds nothing of the record"):
        figure(gpu_record(), "timeline", window=(200 * MS, 300 * MS))
    with pytest.raises(OptionError, match="takes no window"):
        figure(gpu_record(), "kernels", window=(0, MS))


@pytest.mark.parametrize("text", ["<script>alert(1)</script>]]>--><b>", "😀\u202e אבג 漢字 $x^{2$", "x" * 10_000])
@pytest.mark.parametrize("kind", FIGURES)
def test_names_from_a_trace_are_text_in_every_figure(text, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a letter that the font lacks
        svg = rendered(figure(hostile_record(text), kind), "svg").decode()
    assert "<script" not in svg.lower()
    assert "<b>" not in svg


def test_export_writes_what_the_record_can_fill(tmp_path):
    written = export(gpu_record(), tmp_path / "new")
    names = {path.name for path in written}
    assert names == {f"{kind}.{form}" for kind in FIGURES for form in ("svg", "pdf", "png")} | {
        "summary.md",
        "summary.json",
    }
    assert all(path.stat().st_size for path in written)
    data = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert data["tpot_ns"] == 20 * MS
    assert "38.0 %" in (tmp_path / "new" / "summary.md").read_text()
    assert not [path for path in (tmp_path / "new").iterdir() if path not in written]


def test_export_twice_gives_the_same_bytes(tmp_path):
    first, second = ([path.read_bytes() for path in export(stepless_record(), tmp_path / name, "svg")] for name in "ab")
    assert first == second


def test_export_of_a_record_without_a_gpu_and_of_an_empty_one(tmp_path):
    assert "timeline.png" in {path.name for path in export(cpu_record(), tmp_path, "png")}
    assert {path.name for path in export(empty_record(), tmp_path / "e")} == {"summary.md", "summary.json"}
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["gpu_busy_share"] is None


def test_export_explains_what_it_cannot_do(tmp_path):
    with pytest.raises(OptionError, match="did you mean 'svg'"):
        export(gpu_record(), tmp_path, ["svgz"])
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfkitError, match=re.escape(str(tmp_path / "file"))):
        export(empty_record(), tmp_path / "file")


@given(st.lists(st.floats(-10, 110), min_size=1, max_size=12), st.floats(0.1, 30))
def test_labels_move_apart_and_stay_in_order(at, distance):
    placed = apart(at, distance, 0, 100)
    room = min(distance, 100 / max(len(at) - 1, 1))
    order = sorted(range(len(at)), key=lambda i: at[i])
    for one, other in itertools.pairwise(order):
        assert placed[other] - placed[one] >= room - 1e-6
    assert min(placed) >= -1e-6
    assert max(placed) <= 100 + 1e-6


def test_a_chunk_of_a_prompt_ends_no_token_gap():
    chunks = [step(Phase.PREFILL, at, at + 10, 10, tokens_out=made) for at, made in ((0, 0), (10, 0), (20, 1))]
    decode = [step(Phase.DECODE, at, at + 10, 10) for at in (30, 40, 50, 60, 70)]
    drawn = figure(Record(meta(not_measured={"gpu_busy": NO_GPU}), steps=rows(STEPS, chunks + decode)), "steps")
    prefill, decoding = drawn.axes
    assert len(prefill.patches) == len(chunks)  # one bar each: the host's time, no gap, no GPU
    gaps = decoding.lines[0].get_ydata()
    assert list(gaps) == [10.0] * len(decode)
