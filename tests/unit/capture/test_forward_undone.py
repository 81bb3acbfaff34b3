"""Watching a model leaves nothing on it: no hook, no reference, no other result."""

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from unit.watched import GREEDY, Gpt, Watched, decode_by_hand


def test_watching_changes_no_logit(llama, ids):
    plain = decode_by_hand(llama, ids)
    with Watched(llama):
        watched = decode_by_hand(llama, ids)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_nothing_is_left_on_the_model_or_its_class(llama, ids):
    before = dict(type(llama).__dict__), set(llama.__dict__)
    with Watched(llama, llama.model):
        llama.generate(ids, **GREEDY)
    assert (dict(type(llama).__dict__), set(llama.__dict__)) == before
    assert not llama._forward_hooks
    assert not llama._forward_pre_hooks
    assert not llama._forward_hooks_always_called
    assert not llama._forward_hooks_with_kwargs


def test_a_class_gets_its_own_generate_back():
    own = Gpt.__dict__["generate"]
    with Watched(Gpt(), Gpt()):
        assert Gpt.__dict__["generate"] is not own
    assert Gpt.__dict__["generate"] is own


def test_models_that_are_not_watched_are_left_alone(ids):
    with Watched(Gpt()) as seen:
        Gpt().generate(ids, 2)
    assert seen.steps == []


def test_a_cache_dies_with_its_last_reference(llama, ids):
    with Watched(llama):
        output = llama(ids, use_cache=True)
        cache = weakref.ref(output.past_key_values)
        del output
        gc.collect()
        assert cache() is None


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_that_was_made_meanwhile_is_not_watched(ids, copier):
    model = Gpt()
    with Watched(model) as seen:
        copied = copier(model)
        copied.generate(ids, 2)
    assert seen.steps == []
    assert torch.equal(copied(ids)[0], model(ids)[0])


def test_a_model_that_is_saved_meanwhile_loads_without_us(ids):
    model, file = Gpt(), io.BytesIO()
    with Watched(model):
        torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded(ids)[0], model(ids)[0])
