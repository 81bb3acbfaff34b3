import base64
import dataclasses
import html
import io
import re
import subprocess
import sys

import pytest
from PIL import Image
from unit.records import (
    MATMUL,
    MS,
    NO_GPU,
    cpu_record,
    empty_record,
    gpu_record,
    hostile_record,
    stepless_record,
    untraced_record,
)

from profkit.analysis.summary import summarize
from profkit.views.format import THIN
from profkit.views.summary import SummaryView, shown

HOSTILE = [
    "<script>alert(1)</script>",
    "😀 \u202ekcolb\u202c",
    "x" * 10_000,
    "אבג دهو",
    "a\nb\tc",
    '"><img src=x>',
    "$\\frac{1}{0}$",
]
RECORDS = [gpu_record, cpu_record, untraced_record, stepless_record, empty_record]


def view(record, **options):
    return shown(summarize(record), **options)


def reading(text):
    """What a page says, without its marks, styles and separators."""
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", text)).replace(THIN, "")


def figures(text):
    """The numbers of the head, by label, as the page's tables give them."""
    return {
        html.unescape(label): html.unescape(re.sub(r"<[^>]*>", "", value)).replace(THIN, "").strip()
        for label, value in re.findall(r'<tr><th scope="row">([^<]*)</th><td>(.*?)</td></tr>', text)
    }


def test_the_page_says_the_numbers_of_the_summary():
    record = gpu_record()
    summary = summarize(record)
    said = figures(view(record)._repr_html_())
    expected = {
        "Wall time": (summary.wall_ns / 1e6, "ms"),
        "TTFT (prefill)": (summary.ttft_ns / 1e6, "ms"),
        "TPOT (decode)": (summary.tpot_ns / 1e6, "ms"),
        "Output rate": (summary.tokens_per_s, "tokens/s"),
        "GPU busy": (100 * summary.gpu_busy_share, "%"),
        "Launches per token": (summary.launches_per_token, ""),
        "Peak memory": (summary.peak_memory_bytes / 1e9, "GB"),
        "Mean power": (summary.mean_power_w, "W"),
        "Energy per token": (summary.joules_per_token, "J/token"),
    }
    for label, (value, unit) in expected.items():
        number, _, found_unit = said[label].partition(" ")
        assert (float(number), found_unit) == (pytest.approx(value, rel=0.005), unit), label
    assert said["Output tokens"].split()[0] == "4"
    assert said["Energy"] == "8.00 ± 0.40 J"
    assert said["Profiling added"].startswith("about 12 %")


def test_text_and_page_and_markdown_say_the_same_numbers():
    record = gpu_record()
    said = figures(view(record)._repr_html_())
    text = repr(view(record)).replace(THIN, "")
    for label, value in said.items():
        line = next(line for line in text.splitlines() if line.strip().startswith(label))
        assert value.split("  ")[0].split(" estimate")[0].split(" 64 prompt")[0] in line


def test_the_bar_adds_up_to_the_window():
    content = view(gpu_record()).content
    assert sum(part.ns for part in content.bar) == pytest.approx(100 * MS)
    assert sum(part.share for part in content.bar) == pytest.approx(1)
    assert {part.label: round(part.ns / MS) for part in content.bar} == {
        "matmul": 27,
        "elementwise": 6,
        "attention": 5,
        "idle: waits for a launch": 14,
        "idle: host waits for it": 14,
        "idle: between kernels": 14,
        "idle: start and end": 20,
    }


def test_the_sentence_names_what_dominates():
    summary = summarize(gpu_record())
    assert "for 20.0 % it had no work" in shown(summary).content.sentence  # idle 62 %, most of it at the edges
    idle = dataclasses.replace(summary.idle, causes={"launch": 62 * MS, "edge": 0})
    launch_bound = dataclasses.replace(summary, idle=idle)
    assert (
        shown(launch_bound).content.sentence
        == "The GPU was busy 38.0 % of 100 ms; for 62.0 % it waited for the host to launch work."
    )
    full = dataclasses.replace(summary.idle, busy_ns=90 * MS, causes={"launch": 10 * MS})
    busy = dataclasses.replace(summary, idle=full, gpu_busy_share=0.9)
    assert "most of it with matmul (71.1 % of its work)" in shown(busy).content.sentence
    none = dataclasses.replace(summary.idle, busy_ns=0, causes={"edge": 100 * MS})
    assert (
        shown(dataclasses.replace(summary, idle=none, gpu_busy_share=0.0)).content.sentence
        == "No GPU work ran in 100 ms."
    )
    assert "on the host matmul took 35.0 ms" in view(cpu_record()).content.sentence
    assert view(empty_record()).content.sentence == "Nothing was recorded."


def test_of_several_gpus_the_sentence_names_the_one_it_means():
    gpus = [{"index": 0, "name": "NVIDIA H100"}, {"index": 1, "name": "NVIDIA H100"}]
    assert view(gpu_record(environment={"gpus": gpus})).content.sentence.startswith("GPU 0, the busiest, was busy")


@pytest.mark.parametrize("record", RECORDS)
def test_what_was_not_measured_is_na_with_its_reason_and_never_zero(record):
    shown_view = view(record())
    content = shown_view.content
    absent = {figure.label for figure in content.figures if figure.value == "n/a"}
    explained = {label for labels, _ in content.missing for label in labels.split(", ")}
    assert absent <= explained
    assert all(reason for _, reason in content.missing)
    for figure in content.figures:
        assert not re.match(r"0(\.0+)?( |$)", figure.value), figure
    for label, value in figures(shown_view._repr_html_()).items():
        assert (value == "n/a") == (label in absent)


def test_without_a_gpu_the_operators_are_shown():
    text = repr(view(cpu_record()))
    assert "Top operators" in text
    assert re.search(r"aten::addmm +1 +30\.0 ms +30\.0 ms +66\.7 %", text)
    assert NO_GPU in " ".join(text.split())


def test_the_profilers_cost_is_an_estimate_until_measured():
    assert "about 12 %" in repr(view(gpu_record()))
    measured = view(gpu_record(unprofiled_wall_ns=[80 * MS, 80 * MS]))
    assert re.search(r"Profiling added +20\.0 % +measured", repr(measured))
    assert "80.0 ms unprofiled" in repr(measured)
    faster = view(gpu_record(unprofiled_wall_ns=[110 * MS]))
    assert "−" not in repr(faster)


def test_an_error_in_the_cell_is_shown_with_the_record():
    record = gpu_record(error="ValueError: <b>no</b>")
    assert "The cell raised ValueError: <b>no</b>" in repr(view(record))
    assert "<b>no" not in view(record)._repr_html_()
    assert "&lt;b&gt;no&lt;/b&gt;" in view(record)._repr_html_()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_a_trace_is_never_markup(text):
    page = view(hostile_record(text), link=text)._repr_html_()
    marks = set(re.findall(r"<\s*/?\s*([a-zA-Z]+)", page))
    assert marks <= {"style", "div", "p", "strong", "span", "table", "caption", "thead", "tbody", "tr", "th", "td", "b",
                     "small", "code", "ul", "li", "a"}  # fmt: skip
    assert page.count("<div") == page.count("</div>")
    assert not re.search(r"\son\w+=", re.sub(r'"[^"]*"', "", page))
    assert "\u202e" not in page
    assert len(page.encode()) <= 25_000


@pytest.mark.parametrize("record", [*RECORDS, *(lambda text=text: hostile_record(text) for text in HOSTILE)])
def test_a_summary_fits_a_terminal_and_a_notebook(record):
    shown_view = view(record(), software="torch 2.11.0", link="profkit-runs/baseline.profkit")
    assert max(map(len, repr(shown_view).splitlines())) <= 100
    assert len(shown_view._repr_html_().encode()) <= 25_000
    picture = shown_view._repr_png_()
    assert len(picture) <= 60_000
    assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_whole_kernel_names_are_in_the_tooltip():
    page = view(gpu_record())._repr_html_()
    assert f'title="{MATMUL}"' in page
    assert "at::native::binary_internal::MulFunctor" in html.unescape(page)
    assert "<code>vectorized_elementwise_kernel · MulFunctor</code>" in page


def test_the_page_reads_well_without_its_styles():
    text = " ".join(reading(view(gpu_record())._repr_html_()).split())
    assert "Wall time 100 ms TTFT (prefill) 30.0 ms" in text
    assert "matmul 27.0 ms 27.0 %" in text
    assert "decode 3 3 60.0 ms 24.0 ms 18.0 ms" in text


def test_one_output_has_page_text_and_picture():
    shown_view = view(gpu_record())
    bundle = shown_view._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/png"}
    assert base64.b64decode(bundle["image/png"]) == shown_view._repr_png_()
    assert set(shown_view._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(shown_view._repr_mimebundle_(exclude={"image/png"})) == {"text/plain", "text/html"}


def test_the_link_leads_to_the_record():
    page = view(gpu_record(), link="profkit runs/a&b.profkit")._repr_html_()
    assert 'href="profkit%20runs/a%26b.profkit"' in page
    assert 'href="javascript:' not in view(gpu_record(), link="javascript:alert(1)")._repr_html_()


def test_a_shown_summary_is_the_summary():
    summary = summarize(gpu_record())
    shown_view = shown(summary, link="a", software="b")
    assert isinstance(shown_view, SummaryView)
    assert shown_view.to_dict() == summary.to_dict()
    assert shown_view.wall_ns == summary.wall_ns


def test_the_floor_stands_beside_the_time_it_bounds():
    source = "16.1 GB of weights at 4.80 TB/s (H200 SXM datasheet)"
    summary = dataclasses.replace(summarize(gpu_record()), floor_ns=3_350_000, floor_source=source)
    text = " ".join(repr(shown(summary)).split())
    assert f"TPOT (decode) 20.0 ms floor 3.35 ms, {source} Output rate" in text
    assert f"floor 3.35 ms, {source}" in shown(summary)._repr_html_()


def test_findings_come_first_when_there_are_some():
    @dataclasses.dataclass
    class Finding:
        title: str = "Launch bound"
        remedy: str = "capture the step in a CUDA graph"

    summary = dataclasses.replace(summarize(gpu_record()), findings=(Finding(),))
    text = repr(shown(summary))
    assert text.index("Launch bound: capture the step in a CUDA graph") < text.index("Wall time")


def test_same_summary_same_bytes():
    assert view(gpu_record())._repr_mimebundle_() == view(gpu_record())._repr_mimebundle_()


def test_text_and_page_need_no_matplotlib():
    code = "import sys, profkit.views.summary, profkit.views.figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_showing_leaves_matplotlib_as_it_was():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    view(gpu_record())._repr_png_()
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or mpl.pyplot.get_fignums() == []
