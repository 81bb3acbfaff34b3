"""How does each family of models write its sizes into a config?

Field names and defaults are those of transformers' configuration classes (5.17 to 5.23); each family here is
checked against a model that transformers builds, in tests/unit/models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from profkit.errors import ProfkitError, nearest
from profkit.models.shape import DeltaNet, Latent, LayerGroup, LayerKind, MlpGroup, MlpKind, ModelShape
from profkit.models.shape_config import Fields, dtype_of, has, open_config, quantization_of


@dataclass(frozen=True)
class _Family:
    """How to read one family: a group of one layer each, joined with its equals afterwards."""

    attention: Callable[[Fields, int], Iterable[LayerGroup]]
    mlp: Callable[[Fields, int], MlpGroup]
    layers: str = "num_hidden_layers"
    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    head: Callable[[Fields], tuple[int, int]] | None = None  # head and other matrices
    fills_in: bool = False  # its published configs leave sizes to the class's defaults


def _attention(f: Fields, index: int) -> list[LayerGroup]:
    """Grouped-query attention (arXiv 2305.13245); multi-head where no number of KV heads is given."""
    layer = f.layer(index)
    hidden, heads = f.size("hidden_size"), f.size("num_attention_heads")
    head_dim = _head_dim(f, layer, hidden, heads)
    kv_heads = f.size("num_key_value_heads", of=layer) if has(layer, "num_key_value_heads") else heads
    matrices = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
    kind, window = _kind(f, layer, index)
    return [LayerGroup(kind, 1, heads, kv_heads, head_dim, head_dim, matrices, window)]


def _fused_multi_head(f: Fields, _index: int) -> list[LayerGroup]:
    """Multi-head attention as in GPT-2 and GPT-NeoX: as many keys and values as queries."""
    hidden, heads = f.size("hidden_size"), f.size("num_attention_heads")
    return [LayerGroup(LayerKind.FULL, 1, heads, heads, hidden // heads, hidden // heads, 4 * hidden * hidden)]


def _latent_attention(f: Fields, _index: int) -> list[LayerGroup]:
    """Multi-head latent attention; transformers caches the latent as keys and the rotary part as values."""
    hidden, heads = f.size("hidden_size"), f.size("num_attention_heads")
    rank, rope = f.size("kv_lora_rank"), f.size("qk_rope_head_dim")
    q_rank = f.optional("q_lora_rank")
    latent = Latent(rank, f.size("qk_nope_head_dim"), rope, f.size("v_head_dim"), q_rank)
    query = heads * (latent.key_dim + rope)
    queries = hidden * query if q_rank is None else q_rank * (hidden + query)
    matrices = queries + hidden * (rank + rope) + heads * latent.value_dim * hidden
    return [LayerGroup(LayerKind.MLA, 1, heads, 1, rank, rope, matrices, latent=latent)]


def _gated_or_delta(f: Fields, index: int) -> list[LayerGroup]:
    """Qwen3-Next: gated delta nets, and every few layers full attention whose output has a gate."""
    hidden = f.size("hidden_size")
    if f.config.layer_types[index] == "full_attention":
        (group,) = _attention(f, index)
        return [replace(group, matrices=group.matrices + hidden * group.query_heads * group.head_dim)]
    delta = DeltaNet(
        f.size("linear_num_key_heads"),
        f.size("linear_num_value_heads"),
        f.size("linear_key_head_dim"),
        f.size("linear_value_head_dim"),
        f.size("linear_conv_kernel_dim"),
    )
    values = delta.value_heads * delta.value_dim
    into = hidden * (delta.channels + values + 2 * delta.value_heads)  # q, k, v, z; b and a
    return [LayerGroup(LayerKind.LINEAR, 1, delta.value_heads, 0, 0, 0, into + values * hidden, delta=delta)]


def _gemma4_attention(f: Fields, index: int) -> list[LayerGroup]:
    """Gemma 4: full layers have sizes of their own and may use keys as values; upper layers share a cache."""
    f.need_one_of("global_head_dim", "per_layer_config")
    if not hasattr(f.config, "per_layer_config"):
        raise ProfkitError("this version of transformers does not tell the sizes of each layer of Gemma 4: update it")
    (group,) = _attention(f, index)
    projection = f.size("hidden_size") * group.kv_heads * group.head_dim
    saved = 0
    if group.kind is LayerKind.SHARED:
        saved = 2 * projection
    elif group.kind is LayerKind.FULL and f.optional("attention_k_eq_v"):
        saved = projection
    return [replace(group, matrices=group.matrices - saved)]


def _whisper_attention(f: Fields, _index: int) -> list[LayerGroup]:
    hidden, heads = f.size("d_model"), f.size("decoder_attention_heads")
    return _with_cross(hidden, heads, hidden // heads)


def _t5_attention(f: Fields, _index: int) -> list[LayerGroup]:
    return _with_cross(f.size("d_model"), f.size("num_heads"), f.size("d_kv"))


def _with_cross(hidden: int, heads: int, dim: int) -> list[LayerGroup]:
    """Self-attention, and cross-attention whose keys and values are computed once, not by each token."""
    one = hidden * heads * dim
    return [
        LayerGroup(LayerKind.FULL, 1, heads, heads, dim, dim, 4 * one),
        LayerGroup(LayerKind.CROSS, 1, heads, heads, dim, dim, 2 * one),
    ]


def _head_dim(f: Fields, layer: Any, hidden: int, heads: int) -> int:
    if has(layer, "head_dim"):
        return f.size("head_dim", of=layer)
    if hidden % heads:
        raise ProfkitError(
            f"the config of this {f.model_type!r} model has no head_dim, and {heads} heads do not divide its "
            f"hidden_size of {hidden}"
        )
    return hidden // heads


def _kind(f: Fields, layer: Any, index: int) -> tuple[LayerKind, int | None]:
    """As transformers' `get_layer_types_and_kwargs` decides which cache a layer gets."""
    types = f.optional("layer_types")
    window, chunk = f.optional("sliding_window", of=layer), f.optional("attention_chunk_size", of=layer)
    if types is None:
        sliding = "chunked_attention" if chunk is not None else "full_attention"
        name = "sliding_attention" if window is not None else sliding
    else:
        name = types[index]
    found = {
        "full_attention": (LayerKind.FULL, None),
        "sliding_attention": (LayerKind.SLIDING, window),
        "chunked_attention": (LayerKind.CHUNKED, chunk),
    }.get(name)
    if found is None:
        raise ProfkitError(f"layer {index} of this {f.model_type!r} model is of the unknown type {name!r}")
    kind, width = found
    if kind is not LayerKind.FULL and (not isinstance(width, int) or width < 2):
        field = "sliding_window" if kind is LayerKind.SLIDING else "attention_chunk_size"
        raise ProfkitError(f"the config of this {f.model_type!r} model has {field} = {width!r} and a layer of {name}")
    modes = f.optional("kv_sharing_modes")
    if modes is not None and modes[index] == "reuse":
        return LayerKind.SHARED, width
    return kind, width


def _gated(f: Fields, _index: int) -> MlpGroup:
    size = f.size("intermediate_size")
    return MlpGroup(MlpKind.GATED, 1, size, 3 * f.size("hidden_size") * size)


def _dense(f: Fields, _index: int) -> MlpGroup:
    return _two(f.size("hidden_size"), f.size("intermediate_size"))


def _gpt2_mlp(f: Fields, _index: int) -> MlpGroup:
    hidden = f.size("hidden_size")
    return _two(hidden, f.optional("n_inner") or 4 * hidden)


def _opt_mlp(f: Fields, _index: int) -> MlpGroup:
    return _two(f.size("hidden_size"), f.size("ffn_dim"))


def _whisper_mlp(f: Fields, _index: int) -> MlpGroup:
    return _two(f.size("d_model"), f.size("decoder_ffn_dim"))


def _t5_mlp(f: Fields, _index: int) -> MlpGroup:
    hidden, size = f.size("d_model"), f.size("d_ff")
    return MlpGroup(MlpKind.GATED, 1, size, 3 * hidden * size) if f.config.is_gated_act else _two(hidden, size)


def _two(hidden: int, size: int) -> MlpGroup:
    return MlpGroup(MlpKind.DENSE, 1, size, 2 * hidden * size)


def _mixtral_mlp(f: Fields, _index: int) -> MlpGroup:
    return _experts(f, f.size("num_local_experts"), f.size("intermediate_size"))


def _qwen_moe_mlp(f: Fields, index: int) -> MlpGroup:
    step = f.optional("decoder_sparse_step") or 1
    if index in (f.optional("mlp_only_layers") or ()) or (index + 1) % step:
        return _gated(f, index)
    return _experts(f, f.size("num_experts"), f.size("moe_intermediate_size"))


def _qwen_shared_mlp(f: Fields, index: int) -> MlpGroup:
    """With an expert that every token is sent to, and a gate that gives one number a token."""
    group = _qwen_moe_mlp(f, index)
    if group.kind is not MlpKind.MOE:
        return group
    hidden, shared = f.size("hidden_size"), f.size("shared_expert_intermediate_size")
    return replace(group, matrices=group.matrices + 3 * hidden * shared + hidden)


def _gemma4_mlp(f: Fields, index: int) -> MlpGroup:
    """Dense, wider where the cache is shared, with experts beside it in some models."""
    hidden, size = f.size("hidden_size"), f.size("intermediate_size")
    if f.optional("use_double_wide_mlp") and f.config.kv_sharing_modes[index] == "reuse":
        size *= 2
    dense = 3 * hidden * size
    if not f.optional("enable_moe_block"):
        return MlpGroup(MlpKind.GATED, 1, size, dense)
    experts, active = f.size("num_experts"), f.size("top_k_experts")
    return _experts(f, experts, f.size("moe_intermediate_size"), dense, active)


def _deepseek_mlp(f: Fields, index: int) -> MlpGroup:
    if index < (f.optional("first_k_dense_replace") or 0):
        return _gated(f, index)
    size = f.size("moe_intermediate_size")
    shared = 3 * f.size("hidden_size") * size * (f.optional("n_shared_experts") or 0)
    return _experts(f, f.size("n_routed_experts"), size, shared)


def _experts(f: Fields, experts: int, size: int, beside: int = 0, active: int | None = None) -> MlpGroup:
    """Gated experts and the router that chooses among them (Mixtral, arXiv 2401.04088)."""
    hidden, active = f.size("hidden_size"), active or f.size("num_experts_per_tok")
    if active > experts:
        raise ProfkitError(
            f"the config of this {f.model_type!r} model sends a token to {active} experts and has {experts}"
        )
    return MlpGroup(MlpKind.MOE, 1, size, hidden * experts + beside, experts, active, 3 * hidden * size)


def _opt_head(f: Fields) -> tuple[int, int]:
    """OPT-350m embeds in fewer dimensions than it computes in, with a projection each way."""
    hidden, width = f.size("hidden_size"), f.size("word_embed_proj_dim")
    return f.size("vocab_size") * width, 0 if width == hidden else 2 * hidden * width


def _gemma4_head(f: Fields) -> tuple[int, int]:
    """An embedding for each layer: its gate and projection there, and one projection for all of them."""
    hidden, width = f.size("hidden_size"), f.optional("hidden_size_per_layer_input") or 0
    return f.size("vocab_size") * hidden, 3 * hidden * width * f.size("num_hidden_layers")


_LLAMA: Final = _Family(_attention, _gated)
_GEMMA3: Final = _Family(_attention, _gated, fills_in=True)
_DEEPSEEK: Final = _Family(_latent_attention, _deepseek_mlp)

FAMILIES: Final[dict[str, _Family]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "ministral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _GEMMA3,
    "gemma4_text": _Family(_gemma4_attention, _gemma4_mlp, head=_gemma4_head),
    "olmo2": _LLAMA,
    "granite": _LLAMA,
    "smollm3": _LLAMA,
    "starcoder2": _Family(_attention, _dense),
    "gpt2": _Family(_fused_multi_head, _gpt2_mlp),
    "gpt_neox": _Family(_fused_multi_head, _dense),
    "opt": _Family(_fused_multi_head, _opt_mlp, head=_opt_head),
    "mixtral": _Family(_attention, _mixtral_mlp),
    "gpt_oss": _Family(_attention, _mixtral_mlp),
    "qwen2_moe": _Family(_attention, _qwen_shared_mlp),
    "qwen3_moe": _Family(_attention, _qwen_moe_mlp),
    "qwen3_next": _Family(_gated_or_delta, _qwen_shared_mlp),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "whisper": _Family(_whisper_attention, _whisper_mlp, "decoder_layers", "d_model", "decoder_attention_heads"),
    "t5": _Family(_t5_attention, _t5_mlp, "num_decoder_layers", "d_model", "num_heads"),
}
"""Architectures whose shapes are known, by model_type."""


def read_shape(config: Any) -> ModelShape:
    """See `ModelShape.of`."""
    whole, given = open_config(config)
    text = whole.get_text_config(decoder=True) if not getattr(whole, "is_encoder_decoder", False) else whole
    if given is not None and text is not whole:
        given = next((part for name, part in given.items() if getattr(whole, name, None) is text), given)
    family = FAMILIES.get(str(text.model_type))
    if family is None:
        raise ProfkitError(
            f"the architecture {text.model_type!r} is unknown to profkit{nearest(str(text.model_type), FAMILIES)}"
        )
    fields = Fields(text, given, family.fills_in)
    hidden, vocab = fields.size(family.hidden), fields.size("vocab_size")
    indices = range(fields.size(family.layers))
    head, other = (vocab * hidden, 0) if family.head is None else family.head(fields)
    positions = next((n for n in ("max_position_embeddings", "max_target_positions") if has(text, n)), None)
    return ModelShape(
        model_type=str(text.model_type),
        hidden_size=hidden,
        vocab_size=vocab,
        query_heads=fields.size(family.heads),
        layers=_joined([group for i in indices for group in family.attention(fields, i)]),
        mlps=_joined([family.mlp(fields, i) for i in indices]),
        head_matrices=head,
        other_matrices=other,
        dtype=dtype_of(whole) or dtype_of(text),
        max_context=None if positions is None else getattr(text, positions),
        source_tokens=getattr(text, "max_source_positions", None),
        quantized=quantization_of(whole),
        config=whole,
    )


Group = TypeVar("Group", LayerGroup, MlpGroup)


def _joined(groups: list[Group]) -> tuple[Group, ...]:
    """Equal groups as one, in order of their first layer."""
    return tuple(replace(group, count=count) for group, count in Counter(groups).items())
