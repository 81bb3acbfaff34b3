import itertools
import json

import numpy as np
import pytest

from profkit.analysis.idle import Cause
from profkit.analysis.kernels import WorkKind
from profkit.record import Metric, Phase
from profkit.views import palette

# Linear RGB as seen without one kind of cone: Machado, Oliveira, Fernandes 2009, severity 1.0.
SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}
# Distance in OKLab (black to white is 1). Two colours side by side are told apart from about 0.02 on; in a legend
# a few centimetres away it takes several times that.
APART = 0.095
CONTRAST = 3.0  # WCAG 2.1, 1.4.11: graphics that carry meaning

THEMES = ("light", "dark")
SAME_UNIT = [
    {metric: palette.METRICS[metric] for metric in Metric if metric.unit == unit}
    for unit in dict.fromkeys(metric.unit for metric in Metric)
]
GROUPS = [
    palette.WORK,
    palette.KV,
    palette.MEMORY,
    palette.IDLE,
    palette.PHASES,
    {"host": palette.HOST, "gpu": palette.GPU},
    *SAME_UNIT,
]


def linear(colour):
    srgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    lms = np.array(
        [[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.6806995, 0.1073970], [0.0883025, 0.2817188, 0.6299787]]
    )
    lab = np.array(
        [[0.2104543, 0.7936178, -0.0040720], [1.9779985, -2.4285922, 0.4505937], [0.0259040, 0.7827718, -0.8086758]]
    )
    return lab @ np.cbrt(lms @ np.clip(rgb, 0, 1))


def contrast(one, other):
    first, second = sorted(float(linear(colour) @ (0.2126, 0.7152, 0.0722)) + 0.05 for colour in (one, other))
    return second / first


def test_every_kind_cause_phase_and_metric_has_a_colour():
    assert set(palette.WORK) == set(WorkKind)
    assert set(palette.IDLE) == set(palette.IDLE_LABELS) == set(Cause)
    assert set(palette.PHASES) == set(Phase)
    assert set(palette.METRICS) == set(Metric)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_a_group_are_told_apart(sight, theme):
    seen = np.array(SIGHT[sight])
    for group in GROUPS:
        for (name, one), (other_name, other) in itertools.combinations(group.items(), 2):
            first, second = (oklab(seen @ linear(getattr(colour, theme))) for colour in (one, other))
            assert np.linalg.norm(first - second) >= APART, (name, other_name)


@pytest.mark.parametrize("theme", THEMES)
def test_colours_stand_out_from_the_background(theme):
    background = getattr(palette.BACKGROUND, theme)
    for group in (*GROUPS, {"text": palette.TEXT, "faint": palette.FAINT, "error": palette.ERROR}):
        for name, colour in group.items():
            assert contrast(getattr(colour, theme), background) >= CONTRAST, name
    for text in (palette.TEXT, palette.FAINT, palette.ERROR):
        assert contrast(getattr(text, theme), background) >= 4.5  # WCAG 1.4.3: text


def test_json_has_all_groups_in_both_themes():
    data = json.loads(json.dumps(palette.as_json()))
    assert set(data) == {"work", "idle", "phase", "side", "metric", "kv", "series", "page"}
    assert data["work"]["matmul"] == {
        "light": palette.WORK[WorkKind.MATMUL].light,
        "dark": palette.WORK[WorkKind.MATMUL].dark,
    }
    assert all(set(colour) == set(THEMES) for group in data.values() for colour in group.values())


def test_a_kind_of_a_newer_version_is_other():
    assert palette.work("quantise") == palette.WORK[WorkKind.OTHER]
