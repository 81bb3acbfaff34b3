"""The offline page holds every answer that its view can ask for."""

from __future__ import annotations

import base64
import json
import re

import pytest
from unit import records
from unit.views.test_widget import HOSTILE, Browser, decode

from profkit.views import bundle
from profkit.views.page import interactive

ASKED = [
    ("overview", {}),
    ("timeline", {}),
    ("kernels", {}),
    ("kernels", {"by": "name"}),
    ("kernels", {"by": "kind"}),
    ("kernels", {"by": "op"}),
    ("steps", {}),
    ("telemetry", {}),
    ("names", {}),
    ("attributes", {}),
    ("strips", {"level": 1}),
    *(("tile", {"index": index}) for index in range(5)),
]


def source(record):
    (data,) = re.findall(
        r'<script type="application/json" class="profkit-page">(.*?)</script>', interactive(record), re.DOTALL
    )
    assert "<" not in data
    return json.loads(data)


def answers(record):
    return {tuple(map(str, json.loads(reply["key"]))): reply for reply in source(record)["replies"]}


@pytest.mark.parametrize(("what", "options"), ASKED)
def test_the_page_answers_as_the_kernel_does(what, options):
    record = records.gpu_record()
    reply = answers(record)[what, str(options)]
    columns, info = Browser(record).table(what, **options)
    content = reply["content"]
    assert (content["kind"], content["what"]) == ("data", what)
    assert content["info"] == json.loads(json.dumps(info))
    buffers = map(base64.b64decode, reply["buffers"])
    told = zip(content["columns"], buffers, strict=True)
    assert {column["name"]: decode(column, data, content["rows"]) for column, data in told} == columns


def test_keys_are_as_the_browser_makes_them():
    keys = [reply["key"] for reply in source(records.gpu_record())["replies"]]
    assert len(keys) == len(set(keys))
    assert '["timeline",{}]' in keys
    assert '["kernels",{"by":"kind"}]' in keys


def test_every_tile_is_in_the_page():
    record = records.gpu_record()
    _, info = Browser(record).table("timeline")
    tiles = [reply for reply in source(record)["replies"] if reply["content"]["what"] == "tile"]
    assert [reply["content"]["info"]["index"] for reply in tiles] == list(range(len(info["tiles"])))


def test_no_name_leaves_the_data():
    assert source(records.hostile_record(HOSTILE))["replies"]


@pytest.mark.parametrize(
    ("make", "tab"),
    [
        (records.gpu_record, "timeline"),
        (records.cpu_record, "timeline"),
        (records.untraced_record, "steps"),
        (records.empty_record, "overview"),
    ],
)
def test_the_page_opens_where_there_is_something_to_see(make, tab):
    traits = source(make())["traits"]
    assert traits["tab"] == tab
    assert traits["_palette"]["work"]


def test_the_page_holds_the_code_of_the_notebooks_view():
    assert interactive(records.empty_record()).endswith(
        f'<script type="module">{bundle.SCRIPT.read_text(encoding="utf-8").strip()}</script>'
    )
