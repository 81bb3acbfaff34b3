"""The work of a step as its floor takes it: nothing is lost between the counts and the parts."""

import pytest

from profkit.analysis.floor import step_floor
from profkit.hardware.ceilings import datasheet
from profkit.models.ops import step_ops
from profkit.models.shape import ModelShape
from profkit.models.shape_costs import step_bytes, step_flops

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def shape():
    return ModelShape.of(LLAMA_8B)


@pytest.mark.parametrize(("batch", "query", "context"), [(1, 1, 0), (32, 1, 4096), (4, 2048, 0)])
def test_the_parts_add_up_to_the_step(shape, batch, query, context):
    ops = step_ops(shape, batch, query, context)
    assert sum(op.flops for op in ops) == step_flops(shape, batch, query, context).total
    assert sum(op.bytes for op in ops) == step_bytes(shape, batch, query, context, routing="least").total


def test_a_decode_step_of_an_8b_model_on_an_h200_is_bound_by_its_weights(shape):
    sheet = datasheet("NVIDIA H200")
    floor = step_floor(step_ops(shape, 1, 1, 512), sheet.bandwidth, sheet.rate("bfloat16"))
    assert floor.ns == pytest.approx(15.1e9 / 4.8e12 * 1e9, rel=0.02)
    assert floor.memory_ns > 100 * floor.compute_ns


def test_fewer_bits_are_a_lower_floor(shape):
    whole, half = (step_ops(shape, 1, 1, 512, weights_dtype=dtype)[0].bytes for dtype in ("bf16", "fp8"))
    assert half == pytest.approx(whole / 2, rel=0.01)
