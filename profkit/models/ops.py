"""What does one step of a model have to do, part by part: the work that its floor is reckoned from."""

from __future__ import annotations

from typing import Literal

from profkit.analysis.floor import OpWork
from profkit.models.shape import ModelShape
from profkit.models.shape_costs import step_bytes, step_flops


def step_ops(
    shape: ModelShape,
    batch: int,
    query: int,
    context: int = 0,
    *,
    weights_dtype: str = "bf16",
    kv_dtype: str = "bf16",
    logits: Literal["last", "all"] = "last",
    source_tokens: int | None = None,
) -> tuple[OpWork, OpWork]:
    """Matrix products over the weights, and attention over the cache; formulas and arguments as in `shape_costs`.

    Of a mixture of experts the fewest experts are read that the tokens can be sent to: no step reads less.

    Args:
        shape: the model.
        batch: sequences.
        query: new tokens of each: 1 in a decode step, the prompt in a prefill.
        context: tokens of each that are in the cache before.
        weights_dtype: of the weights, one of `WEIGHT_BITS`.
        kv_dtype: of the cache, one of `KV_FORMATS`.
        logits: which tokens get logits.
        source_tokens: that cross-attention sees.
    """
    flops = step_flops(shape, batch, query, context, logits=logits, source_tokens=source_tokens)
    moved = step_bytes(
        shape,
        batch,
        query,
        context,
        weights_dtype=weights_dtype,
        kv_dtype=kv_dtype,
        routing="least",
        source_tokens=source_tokens,
    )
    return (
        OpWork("linear", float(flops.projections + flops.mlp + flops.head), float(moved.weights)),
        OpWork("attention", float(flops.attention), float(moved.kv_read + moved.kv_written)),
    )
