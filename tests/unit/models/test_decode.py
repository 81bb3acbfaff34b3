"""A decode step on a full cache is the model's own step, and is seen as one."""

import pytest
import torch

import profkit
from profkit.errors import OptionError, ProfkitError
from profkit.models import random_llama
from profkit.models.decode import DecodeLoop, decode, forget, prefill


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return random_llama("tiny", device="cpu")


@pytest.fixture(autouse=True)
def afterwards():
    yield
    forget()


def test_a_step_gives_the_token_that_the_model_gives_on_the_same_cache(model):
    from transformers import DynamicCache

    loop = DecodeLoop(model, batch=2, context=6)
    cache, ids = DynamicCache(config=model.config), loop.ids.clone()
    for at, layer in enumerate(loop._cache.layers):
        cache.update(layer.keys[:, :, :-1].clone(), layer.values[:, :, :-1].clone(), at)
    with torch.inference_mode():
        positions = torch.full((2, 1), 5)
        expected = model(input_ids=ids, position_ids=positions, **{loop._argument: cache}).logits[:, -1:].argmax(-1)
    assert torch.equal(loop.step(), expected)


@pytest.mark.parametrize("capturing", [False, True])
def test_no_mask_is_made_not_even_while_a_graph_is_captured(model, monkeypatch, capturing):
    # With a mask, keys and values are copied to every query head: the graph would do other work than the eager step.
    masks, shapes = [], []
    attention = torch.nn.functional.scaled_dot_product_attention

    def seen(query, key, value, attn_mask=None, **options):
        masks.append(attn_mask)
        shapes.append(key.shape[1])
        return attention(query, key, value, attn_mask=attn_mask, **options)

    loop = DecodeLoop(model, batch=2, context=6)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", seen)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    loop.step()
    assert len(masks) == model.config.num_hidden_layers
    assert all(mask is None for mask in masks)
    assert set(shapes) == {model.config.num_key_value_heads}
    assert model.config._attn_implementation == "sdpa"


def test_every_step_attends_to_as_many_tokens(model):
    loop = DecodeLoop(model, batch=1, context=4)
    for _ in range(3):
        loop.step()
        assert all(layer.keys.shape[2] == 4 for layer in loop._cache.layers)


def test_steps_are_marked_and_the_models_own_calls_are_not_counted_again(model):
    with profkit.profile(model=model, trace=False) as session:
        decode(model, batch=3, context=5, steps=4)
        prefill(model, batch=2, context=7)
    steps = session.run.steps
    marked = steps[steps["phase"] == "decode"]
    assert marked[["batch", "query_tokens", "context_tokens", "tokens_out"]].to_numpy().tolist() == [[3, 1, 4, 3]] * 4
    (prompt,) = steps[(steps["phase"] == "prefill") & (steps["batch"] == 2)].to_dict("records")
    assert (prompt["query_tokens"], prompt["context_tokens"], prompt["tokens_out"]) == (7, 0, 2)


def test_what_prepares_the_steps_is_no_step(model):
    with profkit.profile(model=model, trace=False) as session:
        DecodeLoop(model, batch=1, context=5)
        decode(model, batch=1, context=5, steps=1)
    assert session.run.steps["phase"].tolist() == ["decode"]


def test_its_cache_is_known_to_the_recorder_with_its_size(model):
    loop = DecodeLoop(model, batch=2, context=6)
    with profkit.profile(model=model, trace=False) as session, torch.inference_mode():
        loop._forward()
    config = model.config
    width = config.hidden_size // config.num_attention_heads
    expected = 2 * 2 * 6 * config.num_hidden_layers * config.num_key_value_heads * width * model.dtype.itemsize
    (row,) = session.run.kv.to_dict("records")
    assert (row["logical_bytes"], row["storage_bytes"], row["tokens"]) == (expected, expected, 6)
    assert session.run.meta.warnings == []


def test_the_newest_cache_is_kept_and_an_older_one_is_let_go(model):
    import weakref

    from profkit.models import decode as module

    decode(model, batch=1, context=5, steps=1)
    loop = weakref.ref(module._newest["loop"])
    decode(model, batch=1, context=5, steps=1)
    assert module._newest["loop"] is loop()
    decode(model, batch=2, context=5, steps=1)
    assert loop() is None
    forget()
    assert module._newest == {}


def test_a_graph_without_a_gpu_is_refused(model):
    with pytest.raises(OptionError, match="a CUDA graph needs a GPU, and the model lies on the cpu"):
        decode(model, batch=1, context=5, graph=True)


@pytest.mark.parametrize(("batch", "context"), [(0, 5), (1, 0)])
def test_sizes_that_cannot_be_are_refused(model, batch, context):
    with pytest.raises(OptionError, match="batch and context are 1 or more"):
        decode(model, batch, context)


def test_a_model_with_other_layers_is_refused():
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=64, sliding_window=4,
    )  # fmt: skip
    with pytest.raises(ProfkitError, match="MistralForCausalLM has layers that keep a DynamicSlidingWindowLayer"):
        decode(MistralForCausalLM(config), batch=1, context=5)
