"""Steps of loops that call the model themselves, with a cache and without."""

import threading

import pytest
import torch
from unit.watched import GREEDY, NEW, PROMPT, Gpt, Watched, cached, decode_by_hand, uncached


class FastGpt(torch.nn.Module):
    """A model with its cache inside and positions as an argument, as in gpt-fast."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(64, 8), torch.nn.Linear(8, 64)
        self.register_buffer("cache", torch.zeros(2, 32, 8))

    def forward(self, idx, input_pos):
        hidden = self.embed(idx)  # [B, T, H]
        self.cache[:, input_pos] = hidden
        return self.head(hidden + self.cache.sum(1, keepdim=True))


def test_a_loop_with_the_models_cache(llama, ids):
    with Watched(llama) as seen:
        decode_by_hand(llama, ids)
        decode_by_hand(llama, ids)
    assert seen.steps == cached() + cached(generation=1)


def test_prompts_that_are_only_scored_make_no_tokens(llama, ids):
    with Watched(llama) as seen:
        for _ in range(3):
            llama(ids)
    assert seen.steps == [(generation, "prefill", 2, PROMPT, 0, 0) for generation in range(3)]


@pytest.mark.parametrize("block", [32, 9, 4], ids=["short", "reaches its limit", "longer than its limit"])
def test_a_model_without_a_cache_and_its_own_generate(ids, block):
    model = Gpt(block)
    with Watched(model) as seen:
        model.generate(ids, 5)
    assert seen.steps == uncached(new=5, limit=block)


def test_a_loop_around_a_model_without_a_cache(ids):
    model, sequence = Gpt(), ids
    with Watched(model) as seen:
        for _ in range(NEW):
            sequence = torch.cat([sequence, model(sequence)[0][:, -1:].argmax(-1)], 1)
    assert seen.steps == uncached()


def test_a_model_that_keeps_its_cache_to_itself(ids):
    model = FastGpt()
    with Watched(model) as seen, torch.no_grad():
        for _ in range(2):
            model(ids, torch.arange(PROMPT))
            for at in range(NEW - 1):
                model(ids[:, :1], torch.tensor([PROMPT + at]))
    assert seen.steps == cached() + cached(generation=1)


def test_one_sequence_without_a_batch_dimension(ids):
    model = Gpt()
    with Watched(model) as seen:
        model(ids[0])
    assert seen.steps == [(0, "prefill", 1, PROMPT, 0, 0)]


def test_a_model_of_numbers_has_no_steps_and_is_counted():
    model = torch.nn.Linear(4, 4)
    with Watched(model) as seen:
        model(torch.randn(2, 4))
    assert (seen.steps, seen.watcher.other_calls) == ([], 1)


def test_a_model_and_its_part_are_one_step(llama, ids):
    with Watched(llama, llama.model, llama.model.layers[0]) as seen:
        llama.generate(ids, **GREEDY)
    assert seen.steps == cached()


def test_two_models_have_their_own_generations(ids):
    first, second = Gpt(), Gpt()
    with Watched(first, second) as seen:
        first(ids)
        second(ids)
        first(ids)
    assert [generation for generation, *_ in seen.steps] == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_forward_that_raised_is_no_step_and_the_next_one_is(ids, error):
    class Failing(Gpt):
        fails = True

        def forward(self, idx, targets=None):
            if self.fails:
                raise error("on purpose")
            return super().forward(idx)

    model = Failing()
    with Watched(model) as seen:
        with pytest.raises(error, match="on purpose"):
            model(ids)
        model.fails = False
        model(ids)
    assert [phase for _, phase, *_ in seen.steps] == ["prefill"]


def test_threads_do_not_mix_their_generations(llama, ids):
    def run(rows):
        decode_by_hand(llama, ids[:rows])

    with Watched(llama) as seen:
        threads = [threading.Thread(target=run, args=(rows,)) for rows in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    by_batch = [[step[1:] for step in seen.steps if step[2] == batch] for batch in (1, 2)]
    assert by_batch == [[step[1:] for step in cached(batch)] for batch in (1, 2)]
    assert len({(generation, batch) for generation, _, batch, *_ in seen.steps}) == 2


def test_threads_do_not_mix_what_a_model_without_a_cache_has_read(ids):
    model, turn = Gpt(), threading.Barrier(2)

    def run(prompt):
        sequence = prompt
        for _ in range(NEW):
            turn.wait(timeout=30)
            sequence = torch.cat([sequence, model(sequence)[0][:, -1:].argmax(-1)], 1)

    with Watched(model) as seen:
        threads = [threading.Thread(target=run, args=(ids[:, :length],)) for length in (3, PROMPT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    by_generation = [[step[1:] for step in seen.steps if step[0] == generation] for generation in (0, 1)]
    expected = [[step[1:] for step in uncached(prompt=length)] for length in (3, PROMPT)]
    assert sorted(by_generation, key=lambda steps: steps[0][2]) == expected
