"""Does what a plan promises fit for real? Weights and cache allocated on this GPU, as many sequences as it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from profkit.errors import ProfkitError
from profkit.hardware.gpus import find
from profkit.models.plan import MemoryPlan
from profkit.models.random import SHAPES
from profkit.models.shape import LayerGroup, LayerKind
from profkit.models.shape_weights import on_meta

_TORCH_DTYPES: Final = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp8": "float8_e4m3fn"}
_KINDS: Final = (LayerKind.FULL, LayerKind.SLIDING, LayerKind.CHUNKED, LayerKind.MLA)


LLAMA_8B: Final = {"model_type": "llama", **vars(SHAPES["8b"]), "dtype": "bfloat16"}
# config.json of deepseek-ai/DeepSeek-V2-Lite.
DEEPSEEK_V2_LITE: Final = {
    "model_type": "deepseek_v2",
    "vocab_size": 102400,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "n_shared_experts": 2,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 163840,
    "dtype": "bfloat16",
}
# text_config of google/gemma-3-4b-it.
GEMMA3_4B: Final = {
    "model_type": "gemma3_text",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 34,
    "sliding_window": 1024,
    "dtype": "bfloat16",
}
CASES: Final[list[tuple[str, dict[str, Any], int]]] = [
    ("llama-8b", LLAMA_8B, 8192),
    ("llama-8b", LLAMA_8B, 32768),
    ("deepseek-v2-lite", DEEPSEEK_V2_LITE, 32768),
    ("gemma3-4b", GEMMA3_4B, 32768),
]
"""Shapes and contexts whose plans tests and benchmarks confirm: full attention with GQA, MLA, sliding windows."""


@dataclass(frozen=True)
class Allocated:
    """What this GPU held at a plan's context."""

    planned: int  # the plan's largest batch
    real: int  # the largest batch that could be allocated
    weights_bytes: int  # of the model's tensors
    cache_bytes: int  # of the cache's tensors, at the largest batch


def allocate(plan: MemoryPlan) -> Allocated:
    """The largest batch of a plan's context whose weights, static cache and logits this GPU allocates and writes.

    Weights are those of transformers' model, without values; the cache is its `StaticCache`, of the plan's context.

    Raises:
        ProfkitError: no GPU, a plan without a largest batch, or one of weights, layers or formats that a static
            cache of plain tensors does not have.
    """
    import torch

    if not torch.cuda.is_available():
        raise ProfkitError("allocating a plan needs a CUDA GPU")
    if plan.max_batch is None or plan.request.tensor_parallel != 1:
        raise ProfkitError("only a plan for one GPU, named, can be allocated")
    if plan.weights_dtype not in _TORCH_DTYPES or plan.kv_dtype not in _TORCH_DTYPES:
        raise ProfkitError(f"weights in {plan.weights_dtype} and a cache in {plan.kv_dtype} are not plain tensors")
    groups = {group.window is not None: group for group in plan.shape.layers}
    if len(groups) < len(plan.shape.layers) or not all(group.kind in _KINDS for group in plan.shape.layers):
        raise ProfkitError(f"no static cache of plain tensors for the layers of a {plan.shape.model_type!r} model")
    model = without_values(plan.shape.config, plan.weights_dtype, "cuda")
    low, high = 0, plan.max_batch + 1
    while _held(plan, groups, high - 1) is not None:  # the plan's own first
        low, high = high - 1, high + max(high // 32, 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _held(plan, groups, middle) is None else (middle, high)
    return Allocated(
        planned=plan.max_batch,
        real=low,
        weights_bytes=sum(parameter.nbytes for parameter in model.parameters()),
        cache_bytes=_held(plan, groups, low) or 0 if low else 0,
    )


def without_values(config: Any, weights_dtype: str, device: str) -> Any:
    """The model of a config with its tensors on a device, tied ones once; their values are whatever lay there."""
    import torch

    model = on_meta(config).to(getattr(torch, _TORCH_DTYPES[weights_dtype])).to_empty(device=device)
    model.tie_weights()  # `to_empty` makes each tensor anew wherever it is used
    return model


def names_of_this_gpu() -> list[str]:
    """As `kv_plan` takes them: by its datasheet, where it is in the table, and as it is free here."""
    import torch

    spec = find(torch.cuda.get_device_name())
    return ["here"] if spec is None else [spec.name, "here"]


def _held(plan: MemoryPlan, groups: dict[bool, LayerGroup], batch: int) -> int | None:
    """Bytes of a cache of this batch, which is given back again; None where it does not fit."""
    import gc

    import torch

    try:
        return _fill(plan, groups, batch)
    except torch.OutOfMemoryError:
        return None
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def _fill(plan: MemoryPlan, groups: dict[bool, LayerGroup], batch: int) -> int:
    """Allocate and write cache and logits; the bytes of the cache."""
    import torch
    from transformers import StaticCache

    dtype = getattr(torch, _TORCH_DTYPES[plan.kv_dtype])
    cache: Any = StaticCache(config=plan.shape.config.get_text_config(decoder=True), max_cache_len=plan.context)
    for layer in cache.layers:
        group = groups[layer.is_sliding]
        heads = torch.empty(1, group.kv_heads, 1, 1, dtype=dtype, device="cuda").expand(batch, -1, -1, -1)
        layer.lazy_initialization(heads.expand(-1, -1, -1, group.head_dim), heads.expand(-1, -1, -1, group.value_dim))
    logits = [
        torch.zeros(batch, plan.shape.vocab_size, dtype=kind, device="cuda") for kind in (torch.bfloat16, torch.float32)
    ]
    torch.cuda.synchronize()
    assert sum(part.nbytes for part in logits) == batch * plan.shape.vocab_size * 6
    return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.layers)
