"""Forward passes as they are recorded, on a clock that is moved by hand."""

import threading

import pytest

from profkit.capture.clock import Clock
from profkit.capture.steps import Generate, Step, StepRecorder
from profkit.record import STEPS, Phase


class Recording:
    """A recorder whose steps take what they are told to."""

    def __init__(self):
        self.ns = 0
        self.recorder = StepRecorder(Clock(lambda: self.ns, lambda: 0))

    def step(self, start, end, phase=Phase.DECODE, query=1, context=None, made=None, generation=0, call=None, batch=1):
        step = Step(0, phase, batch, query, context, made, generation, call)
        self.ns = start
        self.recorder.open(step, None)
        self.ns = end
        self.recorder.close(step, None)

    def prefill(self, start, end, query=8, context=0, **columns):
        self.step(start, end, Phase.PREFILL, query, context, **columns)

    def table(self):
        return self.recorder.table().to_pylist()

    def column(self, name):
        return [row[name] for row in self.table()]


@pytest.fixture
def recording():
    return Recording()


def generate(generation=0, sent=0, prompt=8, length=None):
    return Generate(generation, sent, True, prompt, length)


def test_a_step_without_a_gpu_ends_with_its_host_time(recording):
    recording.step(5, 25, query=1, context=3)
    assert recording.table() == [
        {
            "sent": 5,
            "start": 5,
            "end": 25,
            "host_duration": 20,
            "device_duration": None,
            "phase": "decode",
            "batch": 1,
            "query_tokens": 1,
            "context_tokens": 3,
            "tokens_out": 1,
            "generation": 0,
        }
    ]


def test_no_steps_are_an_empty_table(recording):
    table = recording.recorder.table()
    assert len(table) == 0
    assert table.schema.equals(STEPS)


def test_steps_come_in_order_of_start(recording):
    recording.step(50, 60)
    recording.step(10, 20)
    assert recording.column("start") == [10, 50]


def test_a_generation_without_a_call_was_sent_when_its_first_step_began(recording):
    recording.prefill(10, 20)
    recording.step(30, 40)
    recording.prefill(50, 60, generation=1)
    assert recording.column("sent") == [10, 10, 50]


def test_steps_in_a_generate_call_were_sent_with_it(recording):
    call = generate(sent=3)
    recording.prefill(10, 20, call=call)
    recording.step(30, 40, call=call)
    assert recording.column("sent") == [3, 3]


def test_a_prompt_that_a_decode_step_follows_made_the_first_tokens(recording):
    recording.prefill(0, 10, batch=4)
    recording.step(10, 20, batch=4)
    assert recording.column("tokens_out") == [4, 4]


def test_a_prompt_that_nothing_follows_was_scored(recording):
    recording.prefill(0, 10)
    recording.prefill(10, 20, generation=1)
    assert recording.column("tokens_out") == [0, 0]


def test_a_generate_call_of_one_token_made_it_in_its_prefill(recording):
    recording.prefill(0, 10, call=generate())
    assert recording.column("tokens_out") == [1]


def test_only_the_last_chunk_of_a_prompt_makes_a_token(recording):
    call = generate(prompt=20)
    for start, context in ((0, 0), (10, 8), (20, 16)):
        recording.prefill(start, start + 9, query=min(8, 20 - context), context=context, call=call)
    recording.step(30, 40, context=20, call=call)
    assert recording.column("tokens_out") == [0, 0, 1, 1]


def test_what_the_engine_says_stands(recording):
    recording.prefill(0, 10, made=0)
    recording.step(10, 20, made=7)
    assert recording.column("tokens_out") == [0, 7]


def test_drafted_tokens_count_as_far_as_they_were_accepted(recording):
    call = generate(prompt=8, length=8 + 2 + 4 + 1 + 3)
    recording.prefill(0, 10, query=8 + 4, context=0, call=call)  # the prompt and 4 drafted: one accepted
    recording.step(10, 20, query=5, context=9, call=call)  # 4 drafted, 3 accepted
    recording.step(20, 30, query=5, context=13, call=call)  # none accepted
    recording.step(30, 40, query=5, context=14, call=call)  # 2 accepted: the call returned 3 more
    assert recording.column("tokens_out") == [2, 4, 1, 3]
    assert sum(recording.column("tokens_out")) == call.length - call.prompt


def test_a_call_that_ended_early_made_at_least_one_token_a_step(recording):
    call = generate(prompt=8, length=None)
    recording.prefill(0, 10, call=call)
    recording.step(10, 20, query=5, context=8, call=call)
    assert recording.column("tokens_out") == [1, 1]


def test_no_step_makes_more_tokens_than_it_drafted_and_one(recording):
    """Images that become hundreds of tokens inside the model leave the cache longer than what was read."""
    call = generate(prompt=8)
    recording.prefill(0, 10, call=call)
    recording.step(10, 20, context=600, call=call)
    assert recording.column("tokens_out") == [1, 1]


def test_without_a_cache_each_step_reads_all_and_makes_one(recording):
    call = generate(prompt=8, length=11)
    recording.prefill(0, 10, call=call)
    recording.step(10, 20, query=9, context=0, call=call)
    recording.step(20, 30, query=10, context=0, call=call)
    assert recording.column("tokens_out") == [1, 1, 1]


def test_generations_that_run_at_the_same_time_are_not_mixed(recording):
    recording.prefill(0, 10, generation=0)
    recording.prefill(5, 15, generation=1)
    recording.step(20, 30, generation=1)
    assert recording.column("tokens_out") == [0, 1, 1]


def test_every_thread_gets_its_own_generations():
    recorder = StepRecorder(Clock())
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(recorder.next_generation() for _ in range(200))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(800))
