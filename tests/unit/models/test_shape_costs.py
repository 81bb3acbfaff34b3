"""Costs from a shape against what models of that shape do: their caches' tensors, and counted operations."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import EncoderDecoderCache, LlamaForCausalLM, StaticCache
from unit.models.tiny import DECODERS, ENCODER_DECODERS, config_dict, model_of

from profkit.errors import OptionError, ProfkitError
from profkit.models.shape import LayerKind, ModelShape
from profkit.models.shape_costs import kv_bytes, kv_bytes_per_token, step_bytes, step_flops

BATCH = 2
# transformers renamed it in 5.2x.
CACHE_ARGUMENT = next(
    n for n in ("cache", "past_key_values") if n in inspect.signature(LlamaForCausalLM.forward).parameters
)


def cache_bytes(cache):
    """Bytes that the tensors of a transformers cache show, whatever storage they lie in."""
    if isinstance(cache, EncoderDecoderCache):
        return cache_bytes(cache.self_attention_cache) + cache_bytes(cache.cross_attention_cache)
    found = []
    for layer in cache.layers:
        for name in ("keys", "values"):
            found.append(getattr(layer, name, None))
        for name in ("conv_states", "recurrent_states"):
            found.extend((getattr(layer, name, None) or {}).values())
    return sum(t.numel() * t.element_size() for t in found if t is not None)


def generated(model, prompt, new):
    ids = torch.randint(3, 90, (BATCH, prompt))
    options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "return_dict_in_generate": True}
    if model.config.model_type == "whisper":
        sound = torch.randn(BATCH, model.config.num_mel_bins, 2 * model.config.max_source_positions)
        out = model.generate(input_features=sound, **options)
    else:
        out = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    return out


def cache_of(out):
    return out["past_key_values"] if "past_key_values" in out else out["cache"]


@pytest.mark.parametrize("name", DECODERS)
def test_kv_bytes_are_those_of_the_cache_after_generating(name):
    model, shape = model_of(name), ModelShape.of(config_dict(name))
    for prompt, new in ((3, 2), (20, 2)):
        cache = cache_of(generated(model, prompt, new))
        assert sum(kv_bytes(shape, prompt + new - 1, BATCH, kv_dtype="fp32").values()) == cache_bytes(cache)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "deepseek_v3", "qwen3_next"])
def test_kv_bytes_in_bf16_keep_recurrent_states_in_fp32(name):
    cache = cache_of(generated(model_of(name, torch.bfloat16), 5, 4))
    assert sum(kv_bytes(ModelShape.of(config_dict(name)), 8, BATCH).values()) == cache_bytes(cache)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_an_encoder_decoder_caches_its_source_once(name):
    model, shape = model_of(name), ModelShape.of(config_dict(name))
    cache = cache_of(generated(model, 6, 5))
    tokens = cache.get_seq_length()
    source = None if name == "whisper" else 6
    found = kv_bytes(shape, tokens, BATCH, kv_dtype="fp32", source_tokens=source)
    assert sum(found.values()) == cache_bytes(cache)
    assert found["cross"] == cache_bytes(cache.cross_attention_cache)


@pytest.mark.parametrize("room", [6, 40])
@pytest.mark.parametrize("name", ["llama", "gemma3_text", "deepseek_v3", "ministral"])
def test_a_static_cache_is_allocated_at_once(name, room):
    model, shape = model_of(name), ModelShape.of(config_dict(name))
    cache = StaticCache(config=model.config, max_cache_len=room)
    model(torch.randint(3, 90, (BATCH, 5)), **{CACHE_ARGUMENT: cache})
    assert sum(kv_bytes(shape, 5, BATCH, kv_dtype="fp32", static=room).values()) == cache_bytes(cache)


def test_pages_round_each_sequence_up():
    shape = ModelShape.of(config_dict("llama"))
    assert kv_bytes(shape, 17, 3, page=16) == kv_bytes(shape, 32, 3)
    assert kv_bytes(shape, 16, 3, page=16) == kv_bytes(shape, 16, 3)


@pytest.mark.parametrize("name", DECODERS)
def test_bytes_per_token_are_the_growth_of_the_cache(name):
    shape = ModelShape.of(config_dict(name))
    for at in (0, 6, 7, 30):
        growth = sum(kv_bytes(shape, at + 1).values()) - sum(kv_bytes(shape, at).values())
        assert kv_bytes_per_token(shape, at=at) == growth


def test_quantized_formats_cost_less_and_their_scales_count():
    shape = ModelShape.of(config_dict("llama"))
    sizes = {dtype: sum(kv_bytes(shape, 4096, kv_dtype=dtype).values()) for dtype in ("bf16", "fp8", "int8", "int4")}
    assert sizes["fp8"] == sizes["bf16"] // 2 + 4 * 8  # a scale for keys and one for values in each of 4 layers
    assert sizes["bf16"] > sizes["int8"] > sizes["bf16"] / 2 > sizes["int4"] > sizes["bf16"] / 4


# What torch counts of a gated delta net depends on how its reference implementation is written.
@pytest.mark.parametrize("name", [name for name in DECODERS if name != "qwen3_next"])
def test_flops_are_those_that_torch_counts(name):
    model, shape = model_of(name), ModelShape.of(config_dict(name))
    model.set_experts_implementation("eager")
    cache, context = None, 0
    for query in (7, 1, 1, 5, 1):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            out = model(torch.randint(3, 90, (BATCH, query)), use_cache=True, **{CACHE_ARGUMENT: cache})
        cache = cache_of(out)
        flops = step_flops(shape, BATCH, query, context, logits="all", masked=True, expand_latents=True)
        assert flops.total == counter.get_total_flops()
        context += query


def test_flops_of_a_delta_net_are_its_matrices_and_its_state():
    model, shape = model_of("qwen3_next"), ModelShape.of(config_dict("qwen3_next"))
    model.set_experts_implementation("eager")
    cache = cache_of(model(torch.randint(3, 90, (BATCH, 7)), use_cache=True))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randint(3, 90, (BATCH, 1)), use_cache=True, **{CACHE_ARGUMENT: cache})
    flops = step_flops(shape, BATCH, 1, 7, masked=True)
    assert flops.total - flops.attention < counter.get_total_flops() < flops.total


@given(query=st.integers(1, 40), context=st.integers(0, 40), window=st.integers(2, 20))
def test_pairs_within_a_window_are_those_of_the_mask(query, context, window):
    shape = ModelShape.of({**config_dict("mistral"), "sliding_window": window})
    seen = sum(min(window, context + i) for i in range(1, query + 1))
    per_pair = 4 * 4 * 8 * 4  # 4 FLOPs, query heads, head_dim, layers
    assert step_flops(shape, 1, query, context).attention == per_pair * seen


@given(query=st.integers(1, 40), context=st.integers(0, 40), chunk=st.integers(2, 20))
def test_pairs_within_a_chunk_are_those_of_the_mask(query, context, chunk):
    shape = ModelShape.of(config_dict("llama"))
    (group,) = shape.layers
    chunked = replace(shape, layers=(replace(group, kind=LayerKind.CHUNKED, window=chunk),))
    seen = sum((context + i) % chunk + 1 for i in range(query))
    assert step_flops(chunked, 1, query, context).attention == 4 * 4 * 8 * 4 * seen


def test_causal_prefill_is_half_of_the_square_and_its_diagonal():
    shape = ModelShape.of(config_dict("llama"))
    full = step_flops(shape, 1, 100, masked=True).attention
    assert step_flops(shape, 1, 100).attention == full * 101 // 200


def test_absorbing_the_latent_saves_the_expansion_of_the_context():
    shape = ModelShape.of(config_dict("deepseek_v3"))
    assert step_flops(shape, 1, 1, 500).attention < step_flops(shape, 1, 1, 500, expand_latents=True).attention


def test_logits_of_the_last_token_only():
    shape = ModelShape.of(config_dict("llama"))
    assert step_flops(shape, 2, 10, logits="all").head == 10 * step_flops(shape, 2, 10).head


def test_a_decode_step_reads_all_matrices_and_the_cache_once():
    shape = ModelShape.of(config_dict("llama"))
    moved = step_bytes(shape, 3, 1, 20)
    assert moved.weights == 2 * (shape.matrices + 3 * shape.hidden_size)
    assert moved.kv_read == sum(kv_bytes(shape, 20, 3).values())
    assert moved.kv_written == sum(kv_bytes(shape, 1, 3).values())


def test_more_tokens_meet_more_experts_but_never_more_than_there_are():
    shape = ModelShape.of(config_dict("mixtral"))
    (moe,) = shape.mlps
    expert = 2 * moe.count * moe.expert_matrices

    def experts(batch, routing="expected"):
        beside = 2 * (shape.matrices - moe.count * moe.experts * moe.expert_matrices + batch * shape.hidden_size)
        return (step_bytes(shape, batch, 1, 0, routing=routing).weights - beside) / expert

    assert experts(1) == pytest.approx(2)
    assert experts(2) == pytest.approx(8 * (1 - (6 / 8) ** 2), rel=1e-4)
    assert experts(64) == pytest.approx(8, rel=1e-4)
    assert experts(64, "least") == pytest.approx(2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tokens": -1}, "tokens is a whole number from 0 on"),
        ({"batch": 0}, "batch is a whole number from 1 on"),
        ({"page": 0}, "page is a whole number from 1 on"),
        ({"kv_dtype": "fp3"}, "kv_dtype is one of fp32, bf16, fp16, fp8, int8, int4, int2, not 'fp3'"),
        ({"static": 4}, "a static cache of 4 tokens does not hold 10"),
    ],
)
def test_nonsense_is_refused(wrong, says):
    with pytest.raises(OptionError, match=re.escape(says)):
        kv_bytes(ModelShape.of(config_dict("llama")), **{"tokens": 10, **wrong})


def test_a_source_of_unknown_length_is_asked_for():
    with pytest.raises(ProfkitError, match="source_tokens="):
        kv_bytes(ModelShape.of(config_dict("t5")), 10)
