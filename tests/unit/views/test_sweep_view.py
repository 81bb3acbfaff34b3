"""A sweep's summary: the answer first, the reasons after it, nothing of a stranger's as markup."""

import dataclasses
import html
import json
import re

import pytest
from unit import worked
from unit.sweeps import cpu_sweep, gpu_sweep, sweep_meta

from profkit.analysis.sweep import SweepData
from profkit.analysis.sweep_curves import sweep_curves
from profkit.views import sweep_words
from profkit.views.sweep import shown
from profkit.views.terminal import WIDTH

HOSTILE = "<img src=x onerror=alert(1)>\u202etxt"


def summary(data):
    return shown(sweep_curves(data))


def said(data):
    """Text on one line, with plain spaces."""
    return re.sub(r"[\s\u202f]+", " ", repr(summary(data)))


def test_what_meets_the_slos_is_the_first_sentence():
    assert (
        "The largest batch within tpot ≤ 30.0 ms, ttft ≤ 500 ms: 32 (context 512), 4 (context 4096); 1 curve has none."
        in said(worked.graph())
    )


def test_an_slo_that_nothing_meets_says_by_how_much_the_best_misses():
    text = said(worked.eager())
    assert "no batch meets the SLOs: the best, batch 1, misses tpot by 73.3 % (52.0 ms instead of 30.0 ms)" in text


def test_without_slos_the_most_throughput_is():
    assert "Most throughput is 44 800 tokens/s, at batch 512." in said(cpu_sweep())


@pytest.mark.parametrize(
    "words",
    [
        "Context 512: beyond batch 64 a doubled batch gives 1.64 × the throughput at most: steps are bandwidth-bound",
        "Decode is bandwidth-bound at every batch (fit: memory 2.94 TB/s",
        "Prefill is compute-bound at every batch (fit: arithmetic 624 TFLOP/s",
        "The floors stand on 4.20 TB/s and 780 TFLOP/s (measured on NVIDIA H200, 2026-11-24 20:00 UTC)",
        "Points 23 of 27 4 out of memory",
        "batch 256, context 4096: out of memory at 141 GB, by plan 143 GB",
        "Fastest decode step 5.12 ms batch 1, context 512; 1.43 × its floor",
        "context 512 5.12 ms at 1 23 307 at 256 64 32",
    ],
)
def test_it_says_where_the_knee_is_and_why_and_what_it_costs(words):
    assert words in said(worked.graph())


def test_a_fit_that_claims_nothing_says_why():
    text = said(gpu_sweep())
    assert "Decode: no regime claimed: the GPU's ceilings are not known" in text
    assert "-bound" not in text


def test_energy_and_cost_are_there_where_they_were_measured():
    text = said(gpu_sweep())
    assert "Least energy 0.0134 J/token batch 512, context 512; 120 W idle" in text
    assert "Least cost $0.0224/M tokens batch 512, context 512; $3.60 per GPU hour" in text
    assert "J/token" not in said(cpu_sweep())
    assert "energy: no NVIDIA driver on this machine" in said(cpu_sweep())


def test_text_fits_a_terminal():
    for data in (worked.graph(), gpu_sweep(), cpu_sweep()):
        assert max(map(len, repr(summary(data)).splitlines())) <= WIDTH


def test_it_has_text_html_and_a_picture():
    bundle = summary(cpu_sweep())._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "text/html", "image/png"}
    assert summary(cpu_sweep())._repr_mimebundle_(include={"text/plain"}).keys() == {"text/plain"}
    json.dumps(bundle)


def test_html_says_what_the_text_says():
    view = summary(worked.graph())
    page = view._repr_html_()
    for line in (view.content.sentence, *(line for _, lines in view.content.lists for line in lines)):
        assert html.escape(line) in page


def test_a_sweep_without_any_time_shows_itself():
    meta = sweep_meta(axes={"batch": [1, 2]}, slo_ns={"tpot": 1})
    rows = [{"point": at, "batch": at + 1, "status": "error", "message": "ValueError: no"} for at in (0, 1)]
    view = summary(SweepData.of(meta, rows, []))
    assert "No point was measured." in repr(view)
    assert "batch 2: error: ValueError: no" in repr(view)
    assert view._repr_mimebundle_().keys() == {"text/plain", "text/html"}


def test_strangers_text_is_never_markup():
    full = gpu_sweep()
    meta = sweep_meta(
        name=HOSTILE,
        gpu_name=HOSTILE,
        axes={"batch": [1, 8, 64, 512], "context": [HOSTILE, "b"]},
        units={"batch": HOSTILE},
        warnings=[HOSTILE],
        not_measured={HOSTILE: HOSTILE},
    )
    rows = [row | {"context": HOSTILE if row["context"] == 512 else "b"} for row in full.points.to_pylist()]
    rows[-1]["message"] = HOSTILE
    page = summary(SweepData.of(meta, rows, full.samples.to_pylist()))._repr_html_()
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;img" in page


def test_points_between_two_regimes_are_named():
    curves = sweep_curves(gpu_sweep())
    series = curves.series[0]

    def said(*regimes):
        points = [
            dataclasses.replace(p, phases={"decode": dataclasses.replace(p.phases["decode"], regime=regime)})
            for p, regime in zip(series.points, regimes, strict=True)
        ]
        return sweep_words.regimes(curves, dataclasses.replace(series, points=tuple(points)), "decode")

    launch, memory = "launch-bound", "bandwidth-bound"
    assert said(launch, launch, launch, launch) == "launch-bound at every batch"
    assert said(launch, None, None, launch) == "launch-bound at batch 1 to 512, no single term at batch 8 and 64"
    assert said(launch, launch, None, memory) == (
        "launch-bound up to batch 8, bandwidth-bound from batch 512 on, no single term at batch 64"
    )
    assert said(None, None, None, None) is None
