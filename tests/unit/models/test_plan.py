"""What fits into a GPU: the largest that does and not one more."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.models.tiny import CONFIGS, DECODERS, config_dict

from profkit.errors import OptionError
from profkit.models.plan import MemoryPlan, Request, make_plan
from profkit.models.shape import ModelShape
from profkit.models.shape_costs import KV_FORMATS, kv_bytes
from profkit.models.shape_weights import WEIGHT_FORMATS, stored_bytes

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
SHAPES = {name: ModelShape.of(config_dict(name)) for name in CONFIGS}
LLAMA = ModelShape.of(LLAMA_8B)


def plan(shape=LLAMA, **options) -> MemoryPlan:
    return make_plan(shape, Request(**options))


def test_sizes_of_an_8b_llama_on_an_h200():
    """By hand: 2 · 32 layers · 8 heads · 128 · 2 bytes a token; 8,030,261,248 parameters."""
    found = plan(gpu="H200", batch=4, context=8192)
    assert found.bytes_per_token == 131072
    assert found.sequence_bytes == 2**30
    assert found.cache_bytes == 4 * 2**30
    assert found.weights_bytes == 2 * 8_030_261_248
    assert found.gpu.memory_bytes == 141 * 2**30
    assert found.fits is True


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(DECODERS),
    kv_dtype=st.sampled_from(list(KV_FORMATS)),
    context=st.integers(1, 100),
    batch=st.integers(1, 50),
    page=st.sampled_from([None, 1, 16]),
    memory=st.integers(1_000_000, 5_000_000),
)
def test_the_largest_batch_and_context_fit_and_no_larger_ones(name, kv_dtype, context, batch, page, memory):
    shape = SHAPES[name]
    options = {"kv_dtype": kv_dtype, "page": page, "gpu": memory, "overhead": 0}
    found = plan(shape, context=context, batch=batch, **options)
    assert found.fits == (batch <= found.max_batch) == (found.free_bytes >= 0)
    if found.max_batch:
        assert plan(shape, context=context, batch=found.max_batch, **options).fits
    assert not plan(shape, context=context, batch=found.max_batch + 1, **options).fits
    if found.max_context:
        assert plan(shape, context=found.max_context, batch=batch, **options).fits
    if found.max_context < shape.max_context:
        assert not plan(shape, context=found.max_context + 1, batch=batch, **options).fits


def test_without_a_gpu_there_are_sizes_and_no_limits():
    found = plan(context=100)
    assert found.sequence_bytes > 0
    assert (found.max_batch, found.max_context, found.fits, found.free_bytes) == (None, None, None, None)


def test_weights_that_do_not_fit_leave_no_room():
    found = plan(gpu="RTX 4090", weights_dtype="fp32")
    assert (found.max_batch, found.max_context, found.fits) == (0, 0, False)
    assert "the weights alone do not fit" in found.notes


def test_the_context_is_limited_by_the_config():
    found = plan(gpu="H200", batch=1)
    assert found.max_context == 131072
    assert "the longest context is what the config allows; memory would hold more" in found.notes
    assert any("131,072 positions" in note for note in plan(context=200_000).notes)


@pytest.mark.parametrize("name", DECODERS)
def test_layers_add_up_to_the_sequence(name):
    found = plan(SHAPES[name], context=50)
    assert found.layers["sequence_bytes"].sum() == found.sequence_bytes
    assert found.layers["bytes_per_token"].sum() == found.bytes_per_token
    assert found.layers["share"].sum() == pytest.approx(1)
    assert found.layers["count"].sum() == SHAPES[name].layer_count


def test_savings_lead_from_plain_attention_to_this_cache():
    for shape in SHAPES.values():
        found = plan(shape, context=64, kv_dtype="fp8", source_tokens=20)
        sizes = [saving.sequence_bytes for saving in found.savings]
        assert sizes[-1] == found.sequence_bytes
        assert found.savings[0].what == "multi-head attention in bf16"


def test_each_saving_is_named_and_sized():
    by_what = {s.what: s.sequence_bytes for s in plan(SHAPES["gemma3_text"], context=64, kv_dtype="bf16").savings}
    # 7 layers of 4 query and 2 KV heads of 16; 6 of them hold 7 of 64 tokens.
    assert by_what == {
        "multi-head attention in bf16": 7 * 4 * 2 * 16 * 2 * 64,
        "fewer KV heads (GQA, MQA)": 7 * 2 * 2 * 16 * 2 * 64,
        "a window in some layers": 2 * 2 * 16 * 2 * (64 + 6 * 7),
    }
    latent = plan(SHAPES["deepseek_v3"], context=64, kv_dtype="bf16").savings
    assert [s.what for s in latent] == ["multi-head attention in bf16", "one latent for all heads (MLA)"]
    assert latent[0].sequence_bytes == 4 * 4 * (12 + 8 + 20) * 2 * 64
    linear = plan(SHAPES["qwen3_next"], context=64, kv_dtype="bf16").savings
    assert linear[-1].what == "linear attention in some layers"


def test_lengths_fit_on_average_more_than_for_sure():
    lengths = [100] * 95 + [8000] * 5
    found = plan(gpu="H200", lengths=lengths).lengths
    assert found.samples == 100
    assert found.mean_tokens == pytest.approx(495)
    assert found.p95_tokens == 100
    assert found.at_mean > found.in_19_of_20
    mean = 495 * 131072 + 128256 * 6
    assert found.at_mean == plan(gpu="H200").room_bytes // mean


def test_equal_lengths_leave_nothing_to_chance():
    found = plan(gpu="H200", lengths=[4096] * 10).lengths
    assert found.at_mean == found.in_19_of_20 == found.at_p95 == plan(gpu="H200", context=4096).max_batch


def test_tensor_parallelism_divides_heads_and_weights():
    one, four = plan(), plan(tensor_parallel=4)
    assert four.sequence_bytes == one.sequence_bytes // 4
    tables = 2 * 128256 * 4096  # the input embedding is not divided
    norms = 2 * (32 * 2 + 1) * 4096
    assert four.weights_bytes == (one.weights_bytes - tables - norms) // 4 + tables + norms


def test_kv_heads_are_replicated_where_there_are_too_few():
    eight, sixteen = plan(tensor_parallel=8), plan(tensor_parallel=16)
    assert sixteen.sequence_bytes == eight.sequence_bytes
    assert sixteen.notes == ("each of the 8 KV heads of full layers is held by 2 GPUs",)
    projections = 32 * 2 * 4096 * 8 * 128
    halved = stored_bytes(LLAMA, "bf16", 16)
    assert sixteen.weights_bytes - halved == pytest.approx(2 * projections * (1 / 8 - 1 / 16), abs=2)


def test_every_gpu_holds_the_whole_latent():
    one, two = plan(SHAPES["deepseek_v3"]), plan(SHAPES["deepseek_v3"], tensor_parallel=2)
    assert two.sequence_bytes == one.sequence_bytes
    assert any("every GPU caches all of it" in note for note in two.notes)


def test_quantized_weights_keep_embeddings_and_norms_in_16_bits():
    layers = LLAMA.matrices - LLAMA.head_matrices
    rest = LLAMA.parameters - layers
    for dtype, bits in (("fp8", 8 + 1 / 32), ("int4", 4 + 20 / 128)):
        assert plan(weights_dtype=dtype).weights_bytes == pytest.approx(layers * bits / 8 + 2 * rest, abs=1)


def test_a_config_of_quantized_weights_asks_to_how_many_bits():
    shape = replace(LLAMA, quantized="mxfp4")
    with pytest.raises(OptionError, match=r"quantized \(mxfp4\): weights_dtype="):
        plan(shape)
    assert plan(shape, weights_dtype="int4").weights_bytes > 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batch": 0}, "batch is a whole number from 1 on, not 0"),
        ({"context": -5}, "context is a whole number from 1 on, not -5"),
        ({"context": 2.5}, "context is a whole number from 1 on, not 2.5"),
        ({"kv_dtype": "fp3"}, f"kv_dtype is one of {', '.join(KV_FORMATS)}, not 'fp3'"),
        ({"weights_dtype": "fp3"}, f"weights_dtype is one of {', '.join(WEIGHT_FORMATS)}, not 'fp3'"),
        ({"page": 0}, "page is a whole number from 1 on, not 0"),
        ({"tensor_parallel": 3}, "does not divide the heads of this model (8, 32); possible are 1, 2, 4, 8, 16, 32"),
        ({"tensor_parallel": 0}, "tensor_parallel is a whole number from 1 on, not 0"),
        ({"gpu": "H300"}, "no GPU 'H300' in the table; did you mean"),
        ({"gpu": "H100"}, "gpu 'H100' may be H100 SXM (80 GB) or H100 NVL (94 GB)"),
        ({"gpu": 0}, "gpu is a name, 'here', or its memory in bytes, not 0"),
        ({"gpu": "H200", "overhead": -1}, "overhead is a share of the GPU's memory below 1, or bytes, not -1"),
        ({"gpu": "H200", "overhead": 1e12}, "overhead is a share of the GPU's memory below 1, or bytes"),
        ({"lengths": []}, "lengths are whole numbers of tokens from 1 on, at least one of them"),
        ({"lengths": [0.5]}, "lengths are whole numbers of tokens from 1 on"),
    ],
)
def test_nonsense_is_refused(wrong, says):
    with pytest.raises(OptionError, match=re.escape(says)):
        plan(**wrong)


def test_overhead_is_a_share_or_bytes():
    assert plan(gpu=100e9, overhead=0.1).gpu.overhead_bytes == 10e9
    assert plan(gpu=100e9, overhead=2e9).gpu.overhead_bytes == 2e9
    assert plan(gpu=100e9, overhead=0).gpu.overhead_bytes == 0


def test_a_batch_at_another_context_is_that_of_a_plan_there():
    found = plan(gpu="H200", context=1000)
    assert found.batch_at(5000) == plan(gpu="H200", context=5000).max_batch


def test_a_change_keeps_the_rest():
    found = plan(gpu="H200", context=1000, kv_dtype="fp8").changed(batch=3)
    assert (found.batch, found.context, found.kv_dtype, found.gpu.name) == (3, 1000, "fp8", "H200 SXM")
    assert found.cache_bytes == sum(kv_bytes(LLAMA, 1000, 3, kv_dtype="fp8").values())
