"""TTFT, TPOT and their samples from tables of forward passes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.analysis.trace import record, step

from profkit.analysis.steps import SAMPLES_FOR, Spread, step_stats, steps_frame


def prefill(start, end, **columns):
    return step(start, end, "prefill", **{"query_tokens": 8, "context_tokens": 0} | columns)


def stats(*steps):
    found = step_stats(record(steps=sorted(steps, key=lambda row: row["start"])))
    assert found is not None
    return found


def test_without_steps_there_are_no_statistics():
    assert step_stats(record()) is None


def test_ttft_counts_from_sending_and_tpot_from_the_first_token():
    found = stats(
        prefill(5, 30, sent=0),
        step(31, 50),
        step(51, 80),
        step(81, 90),
    )
    assert found.ttft_ns == 30
    assert found.tpot_ns == (90 - 30) / 3
    assert (found.token_gap.min_ns, found.token_gap.max_ns, found.token_gap.samples) == (10, 30, 3)
    assert (found.prefill.span_ns, found.decode.span_ns) == (30, 60)


def test_the_chunks_of_a_prompt_are_one_prefill():
    found = stats(
        prefill(10, 20, sent=4, tokens_out=0),
        prefill(21, 30, sent=4, context_tokens=8, tokens_out=0),
        prefill(31, 44, sent=4, context_tokens=16, tokens_out=1),
        step(50, 60, sent=4),
    )
    assert found.ttft_ns == 40
    assert found.tpot_ns == 16
    assert (found.prefill.steps, found.prefill.tokens, found.prefill.span_ns) == (3, 24, 40)


def test_one_token_has_a_ttft_and_no_tpot():
    found = stats(prefill(5, 30, sent=0))
    assert (found.ttft_ns, found.tpot_ns, found.token_gap, found.decode) == (30, None, None, None)
    assert found.output_tokens == 1


def test_prompts_that_were_only_scored_have_neither():
    found = stats(prefill(5, 30, tokens_out=0), prefill(40, 60, tokens_out=0, generation=1))
    assert (found.ttft_ns, found.tpot_ns, found.output_tokens) == (None, None, None)
    assert (found.generations, found.prompt_tokens, found.prefill.span_ns) == (2, 16, 25 + 20)


def test_decode_steps_alone_have_no_ttft():
    found = stats(step(0, 10), step(10, 30))
    assert (found.ttft_ns, found.tpot_ns, found.prompt_tokens, found.prefill) == (None, 20, None, None)


def test_ttft_and_tpot_are_medians_over_generations():
    steps = []
    for generation, (first, gap) in enumerate([(10, 3), (20, 5), (60, 100)]):
        at = 1000 * generation
        steps.append(prefill(at, at + first, generation=generation))
        steps.append(step(at + first, at + first + gap, generation=generation))
    found = stats(*steps)
    assert (found.generations, found.ttft_ns, found.tpot_ns) == (3, 20, 5)


def test_generations_that_run_at_the_same_time_are_not_mixed():
    found = stats(
        prefill(0, 10, generation=0),
        prefill(5, 15, generation=1),
        step(20, 30, generation=0),
        step(25, 35, generation=1),
    )
    assert (found.ttft_ns, found.tpot_ns, found.token_gap.max_ns) == (10, 20, 20)


def test_a_batch_makes_one_token_of_each_sequence():
    found = stats(prefill(0, 10, batch=4, tokens_out=4), step(10, 30, batch=4, tokens_out=4))
    assert (found.prompt_tokens, found.output_tokens, found.tpot_ns) == (32, 8, 20)
    assert (found.prefill.tokens, found.decode.tokens) == (32, 4)


def test_drafted_tokens_that_were_accepted_share_their_steps_time():
    found = stats(prefill(0, 10, tokens_out=2), step(10, 40, query_tokens=5, tokens_out=3), step(40, 50))
    assert found.tpot_ns == (50 - 10) / (3 + 1)
    assert found.output_tokens == 6


def test_host_and_gpu_time_are_those_of_the_phase():
    found = stats(
        prefill(0, 30, host_duration=20, device_duration=25),
        step(30, 40, host_duration=5, device_duration=8),
        step(40, 50, host_duration=5, device_duration=9),
    )
    assert (found.prefill.host_ns, found.prefill.device_ns) == (20, 25)
    assert (found.decode.host_ns, found.decode.device_ns) == (10, 17)


def test_gpu_time_that_one_step_lacks_is_unknown_for_the_phase():
    assert stats(step(0, 10, device_duration=9), step(10, 20)).decode.device_ns is None


def test_unknown_new_tokens_are_not_counted():
    found = stats(prefill(0, 10, tokens_out=None), step(10, 30), step(30, 40))
    assert (found.output_tokens, found.tpot_ns, found.ttft_ns) == (2, 10, None)


def test_absent_cells_are_absent_in_the_frame():
    frame = steps_frame(record(steps=[step(0, 10)]))
    assert frame["device_duration"].isna().all()
    assert frame["context_tokens"].isna().all()
    assert frame["start"].tolist() == [0]


@pytest.mark.parametrize(("q", "needed"), [(50, 2), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_is_shown_from_its_smallest_sample_on(q, needed):
    assert SAMPLES_FOR[q] == needed
    few, enough = (Spread.of(np.arange(count)) for count in (needed - 1, needed))
    assert getattr(few, f"p{q}_ns") is None
    assert getattr(enough, f"p{q}_ns") == pytest.approx((needed - 1) * q / 100)


def test_no_sample_has_no_spread():
    assert Spread.of(np.array([], np.int64)) is None


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=800))
def test_a_spread_lies_within_its_sample_and_rises(values):
    spread = Spread.of(np.array(values, np.int64))
    shown = [p for p in (spread.p50_ns, spread.p90_ns, spread.p95_ns, spread.p99_ns) if p is not None]
    assert (spread.samples, spread.min_ns, spread.max_ns) == (len(values), min(values), max(values))
    assert shown == sorted(shown)
    assert all(spread.min_ns <= p <= spread.max_ns for p in shown)


def test_statistics_are_plain_data_for_json():
    data = json.loads(json.dumps(stats(prefill(0, 10), step(10, 30)).to_dict()))
    assert (data["tpot_ns"], data["decode"]["tokens"], data["token_gap"]["samples"]) == (20, 1, 1)
