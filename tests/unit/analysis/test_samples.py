"""From the steps of a point to samples: which times make prefill, which make decode, in which run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.records import MS, rows, step

from profkit.analysis.samples import intervals, phase_samples, requests, tokens_made, total_samples
from profkit.record import STEPS, Phase


def steps(*entries):
    return rows(STEPS, list(entries))


def generation(at_ms, sent_ms=None, number=0, batch=2, decodes=3):
    """A prompt of 8 tokens, 10 ms, and decode steps of 5 ms each 6 ms."""
    common = {"sent": round((at_ms if sent_ms is None else sent_ms) * MS), "generation": number, "batch": batch}
    yield step(Phase.PREFILL, at_ms, at_ms + 10, 9, query_tokens=8, context_tokens=0, tokens_out=batch, **common)
    for i in range(decodes):
        end = at_ms + 16 + 6 * i
        yield step(Phase.DECODE, end - 5, end, 4, context_tokens=8 + i, tokens_out=batch, **common)


def durations(samples, phase):
    return [sample["duration_ns"] / MS for sample in samples if sample["phase"] == phase]


def test_prefill_from_sent_to_first_token_and_decode_from_token_to_token():
    samples = phase_samples(steps(*generation(3, sent_ms=1)), [(0, 100 * MS)])
    assert durations(samples, "prefill") == [12]
    assert durations(samples, "decode") == [6, 6, 6]
    assert samples[0] == {
        "phase": "prefill",
        "repetition": 0,
        "time_ns": 1 * MS,
        "duration_ns": 12 * MS,
        "step_batch": 2,
        "query_tokens": 8,
        "context_tokens": 0,
        "tokens_out": 2,
    }
    assert samples[1]["context_tokens"] == 8


def test_steps_belong_to_the_run_in_which_they_began_and_others_are_left_out():
    table = steps(*generation(0, number=0), *generation(100, number=1), *generation(200, number=2))
    samples = phase_samples(table, [(90 * MS, 190 * MS), (190 * MS, 290 * MS)])
    assert [sample["repetition"] for sample in samples] == [0] * 4 + [1] * 4
    assert tokens_made(samples, 2) == [8, 8]
    assert requests(samples) == 2


def test_marked_steps_of_one_generation_do_not_join_two_runs():
    # `profkit.step` gives the same number each time unless told: the gap between two runs is no token gap.
    table = steps(*generation(0), *generation(100, sent_ms=0))
    samples = phase_samples(table, [(0, 90 * MS), (95 * MS, 200 * MS)])
    assert durations(samples, "prefill") == [10, 10]
    assert durations(samples, "decode") == [6] * 6


def test_a_cell_that_only_decodes_times_its_first_step_by_itself():
    decode = [step(Phase.DECODE, 10 * i, 10 * i + 7, 5, context_tokens=8 + i) for i in range(3)]
    samples = phase_samples(steps(*decode), [(0, 100 * MS)])
    assert durations(samples, "decode") == [7, 10, 10]
    assert durations(samples, "prefill") == []
    assert requests(samples) is None


def test_a_prompt_in_chunks_is_one_prefill():
    chunks = [
        step(Phase.PREFILL, 0, 10, 9, query_tokens=8, context_tokens=0, tokens_out=0),
        step(Phase.PREFILL, 12, 20, 8, query_tokens=4, context_tokens=8, tokens_out=1),
        step(Phase.DECODE, 21, 26, 5, context_tokens=12),
    ]
    prefill, decode = phase_samples(steps(*chunks), [(0, 100 * MS)])
    assert (prefill["duration_ns"], prefill["query_tokens"], prefill["context_tokens"]) == (20 * MS, 12, 0)
    assert decode["duration_ns"] == 6 * MS


def test_a_second_turn_on_the_same_cache_is_a_prefill_of_its_own():
    turns = [*generation(0, decodes=1), *(row | {"sent": 0} for row in generation(50, decodes=1))]
    samples = phase_samples(steps(*turns), [(0, 100 * MS)])
    assert durations(samples, "prefill") == [10, 10]
    assert durations(samples, "decode") == [6, 6]


def test_several_generations_in_a_run_are_several_requests():
    table = steps(*generation(0, number=0), *generation(40, number=1, batch=3))
    samples = phase_samples(table, [(0, 100 * MS)])
    assert requests(samples) == 5
    assert tokens_made(samples, 1) == [2 * 4 + 3 * 4]


def test_a_scored_prompt_makes_no_sample():
    scored = step(Phase.PREFILL, 0, 10, 9, query_tokens=8, context_tokens=0, tokens_out=0)
    assert phase_samples(steps(scored), [(0, 100 * MS)]) == []
    assert tokens_made([], 2) == [None, None]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8))
def test_totals_are_the_runs(lengths):
    runs, at = [], 0
    for length in lengths:
        runs.append((at, at + length))
        at += length + 1
    samples = total_samples(runs, [None] * len(runs))
    assert [sample["duration_ns"] for sample in samples] == lengths
    assert [sample["repetition"] for sample in samples] == list(range(len(lengths)))
    found = intervals(samples, resamples=50)["total"]
    assert (found is None) == (len(lengths) < 5)


def test_intervals_take_runs_as_blocks():
    samples = [{"phase": "decode", "repetition": run, "duration_ns": 100 + run} for run in range(5) for _ in range(30)]
    found = intervals(samples, resamples=200)["decode"]
    assert found.median == 102
    assert found.low == pytest.approx(100, abs=1)
    assert found.high == pytest.approx(104, abs=1)
