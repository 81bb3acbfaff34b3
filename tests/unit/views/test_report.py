import base64
import functools
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from unit.records import (
    MS,
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

from profkit.analysis.summary import summarize
from profkit.formats import archive
from profkit.record import STEPS, Phase, Record
from profkit.views.figures import FIGURES, available
from profkit.views.format import THIN
from profkit.views.report import html_page, markdown

RECORDS = [gpu_record, cpu_record, untraced_record, stepless_record, empty_record]
HOSTILE = ["<script>alert(1)</script>", "</code></pre><img src=http://x onerror=y>", "x" * 10_000, "a|b`c*d_e_ #1\n# f"]
VOID = {"meta", "img"}


@functools.cache
def page_of(record, *arguments):
    return html_page(record(*arguments))


class Page(HTMLParser):
    """The page's tags, checked for nesting, and its text by tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.text[tag] = self.text.get(tag, "") + data


@pytest.mark.parametrize("record", RECORDS)
def test_a_page_is_whole_and_asks_nobody_for_anything(record):
    text = page_of(record)
    page = Page(text)
    assert page.open == []
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in {"data", "href", "xlink:href"}
        if name == "src":
            assert value.startswith("data:image/png;base64,")
    assert "url(" not in page.text["style"]
    assert "@import" not in page.text["style"]


@pytest.mark.parametrize("record", RECORDS)
def test_only_the_views_own_script_may_run(record):
    page = Page(page_of(record))
    (code,) = re.findall(r'<script type="module">(.*?)</script>', page_of(record), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    (policy,) = (value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy == f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    assert page.tags.count("script") == 2


def test_a_page_holds_all_that_the_record_says():
    page = Page(html_page(gpu_record(), link="runs/baseline.profkit"))
    text = page.text["main"].replace(THIN, "")
    for part in (
        "The GPU was busy 38.0 % of 100 ms",
        "Steps",
        "Kernels",
        "packages torch",
        "2.11.0+cu130",
        "driver",
        "580.65.06",
        "shapes",
        "model.generate(**inputs, max_new_tokens=4)",
        "runs/baseline.profkit",
        "record 0123456789ab",
    ):
        assert part in text, part
    assert page.tags.count("img") == len(available(gpu_record()))


def test_every_picture_has_words_for_who_cannot_see_it():
    pictures = re.findall("<img [^>]*>", page_of(gpu_record))
    assert pictures
    assert all(re.search(r'alt="[^"]+"', picture) for picture in pictures)


def test_the_summary_reads_before_the_view_and_without_it():
    text = page_of(gpu_record)
    static = text[: text.index("<script")]
    assert "The GPU was busy 38.0 % of 100 ms" in static
    assert "<noscript>" in text


def test_what_is_not_known_of_the_environment_is_na():
    assert re.search(r"<td>packages transformers</td><td>n/a</td>", page_of(gpu_record))


def test_a_step_without_gpu_times_says_so():
    page = page_of(cpu_record)
    assert re.search(r"<td class=pk-s-n>15\.0 ms</td><td class=pk-s-n>n/a</td>", page)


def test_a_long_table_of_steps_is_folded():
    steps = [step(Phase.DECODE, i, i + 1, 1) for i in range(2100)]
    page = html_page(Record(meta(wall_ns=2101 * MS), steps=rows(STEPS, steps)))
    assert f"<summary>2{THIN}100 steps, the first 500 below</summary>" in page
    assert "<details>" not in page_of(gpu_record)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_becomes_markup(text):
    page = page_of(hostile_record, text)
    assert Page(page).open == []
    assert page.lower().count("<script") == page.lower().count("</script") == 2
    assert {re.sub(r" src=.*", "", picture) for picture in re.findall("<img [^>]*", page)} <= {
        f'<img alt="{html.escape(question)}"' for question in FIGURES.values()
    }
    said = markdown(hostile_record(text)).lower()
    assert "<script" not in said
    assert "<img" not in said


def test_markdown_says_the_numbers_of_the_summary():
    summary = summarize(gpu_record())
    lines = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", markdown(gpu_record()), re.MULTILINE))
    assert lines["TPOT (decode)"] == "20.0 ms"
    assert float(lines["Output rate"].split()[0]) == summary.tokens_per_s
    assert lines["Output tokens"] == "4 (64 prompt tokens)"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_stays_in_its_cell_of_a_markdown_table(text):
    for line in markdown(hostile_record(text)).splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
        borders = len(re.findall(r"(?<!\\)\|", line))
        assert borders in {0, 3, 4, 7}, line


@pytest.mark.parametrize("record", RECORDS)
def test_same_record_same_bytes(record):
    assert html_page(record()) == page_of(record)
    assert markdown(record()) == markdown(record())


def test_a_real_profile_of_a_quarter_million_events_is_a_page_that_one_can_mail():
    record = archive.load(Path(__file__).parents[3] / "assets" / "h200-llama8b.profkit")
    assert len(record.events) > 250_000
    assert len(html_page(record).encode()) <= 3_000_000
