"""What does a step of a model cost: KV cache, arithmetic and memory traffic, from its shape alone.

Symbols: B sequences, q new tokens of each, c tokens of each in the cache before, H query heads, d head_dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from profkit.errors import OptionError, ProfkitError
from profkit.models.shape import LayerGroup, LayerKind, ModelShape
from profkit.models.shape_weights import weight_bytes


@dataclass(frozen=True)
class KvFormat:
    """How a cache stores its elements."""

    bits: int
    group: int | None = None  # elements that share a scale and a zero point, 2 bytes each
    per_layer: int = 0  # bytes of scales of a whole layer
    residual: int = 0  # newest tokens that stay in 16 bits

    @property
    def bytes_per_element(self) -> float:
        """Scales included."""
        return self.bits / 8 + (4 / self.group if self.group else 0)


KV_FORMATS: Final[dict[str, KvFormat]] = {
    "fp32": KvFormat(32),
    "bf16": KvFormat(16),
    "fp16": KvFormat(16),
    "fp8": KvFormat(8, per_layer=8),
    "int8": KvFormat(8, group=64, residual=128),
    "int4": KvFormat(4, group=64, residual=128),
    "int2": KvFormat(2, group=64, residual=128),
}
"""fp8 has one fp32 scale for the keys and one for the values of a layer (transformers' `Fp8QuantizedLayer`);
int formats have a scale and a zero point for 64 elements and a residual of up to 128 tokens (KIVI,
arXiv 2402.02750; the defaults of transformers' `QuantizedLayer`)."""
_TORCH_NAMES: Final = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float8_e4m3fn": "fp8"}
_STATE_BYTES: Final = 4
"""A recurrent state is fp32 whatever the model's dtype."""


def kv_format(kv_dtype: str) -> KvFormat:
    """The format of this name, ours or torch's.

    Raises:
        OptionError: there is none.
    """
    return KV_FORMATS[kv_name(kv_dtype)]


def kv_name(kv_dtype: str) -> str:
    """The name in `KV_FORMATS`; raises as `kv_format` does."""
    name = _TORCH_NAMES.get(str(kv_dtype).removeprefix("torch."), kv_dtype)
    if name not in KV_FORMATS:
        raise OptionError(f"kv_dtype is one of {', '.join(KV_FORMATS)}, not {kv_dtype!r}")
    return name


def kv_bytes(
    shape: ModelShape,
    tokens: int,
    batch: int = 1,
    *,
    kv_dtype: str = "bf16",
    page: int | None = None,
    static: int | None = None,
    source_tokens: int | None = None,
) -> dict[str, int]:
    """Bytes of the cache by layer kind, logical ones: what transformers' tensors hold.

    A layer costs B · tokens · kv_heads · (head_dim + value_dim) · bytes per element, where tokens are

    ===========  =========================  ==========================
    kind         dynamic cache              static cache of N tokens
    ===========  =========================  ==========================
    full, mla    S                          N
    sliding      min(S, window − 1)         min(N, window)
    chunked      min(S, chunk − 1)          min(N, chunk)
    cross        source tokens              source tokens
    shared       0                          0
    ===========  =========================  ==========================

    and MLA has one head of latent and rotary part (DeepSeek-V2, arXiv 2405.04434). A linear layer costs
    B · (channels · kernel · bytes + value_heads · key_dim · value_dim · 4), whatever S is. Source: transformers
    5.23, cache_utils.py. In int formats the newest tokens stay in 16 bits for a while: counted is the most that
    can be held at S.

    Args:
        shape: the model.
        tokens: S, those of each sequence in the cache. After `generate` of n tokens from a prompt of p they are
            p + n − 1: the last token is not fed back.
        batch: sequences.
        kv_dtype: one of `KV_FORMATS`.
        page: tokens of a page, for a paged cache: a layer's tokens are rounded up to whole pages, and a full
            window straddles one page more.
        static: N, for a cache that is allocated at once.
        source_tokens: that cross-attention sees; a Whisper config says how many.

    Raises:
        OptionError: a value that cannot be.
        ProfkitError: source_tokens are needed and not known.
    """
    _check("tokens", tokens, 0)
    _check("batch", batch, 1)
    _check("page", page, 1)
    _check("static", static, 1)
    if static is not None and tokens > static:
        raise OptionError(f"a static cache of {static} tokens does not hold {tokens}")
    form = kv_format(kv_dtype)
    found: dict[str, int] = {}
    for group in shape.layers:
        cached = _cached_tokens(shape, group, tokens, page, static, source_tokens)
        size = group.count * _layer_bytes(group, form, cached, batch)
        found[str(group.kind)] = found.get(str(group.kind), 0) + size
    return found


def kv_bytes_per_token(shape: ModelShape, kv_dtype: str = "bf16", at: int = 0) -> float:
    """Bytes that the next token of one sequence adds to its cache of `at` tokens: a full window adds none.

    2 · layers · kv_heads · head_dim · bytes for keys and values of one size, summed over the layers that grow.
    """
    _check("at", at, 0)
    form = kv_format(kv_dtype)
    growing = sum(g.count * g.cached_elements for g in shape.layers if g.kind is not LayerKind.CROSS and _grows(g, at))
    return growing * form.bytes_per_element


@dataclass(frozen=True)
class StepFlops:
    """Floating-point operations of one step, a multiply and an add being two."""

    projections: int  # of attention, and what belongs to no layer
    attention: int  # scores and weighted values; state updates of linear layers
    mlp: int
    head: int  # vocabulary projection

    @property
    def total(self) -> int:
        """All of them."""
        return self.projections + self.attention + self.mlp + self.head


def step_flops(
    shape: ModelShape,
    batch: int,
    query: int,
    context: int = 0,
    *,
    logits: Literal["last", "all"] = "last",
    masked: bool = False,
    expand_latents: bool = False,
    source_tokens: int | None = None,
) -> StepFlops:
    """Arithmetic of one forward of the decoder over `query` new tokens of each sequence.

    - Matrices: 2 · tokens · in · out; of a mixture of experts, those that each token is sent to.
    - Attention: 2 · B · H · pairs · (d of keys + d of values), that is 4 · B · H · pairs · d; pairs of a query
      and a key that it may see are q · c + q · (q + 1) / 2, within a window at most `window` for each query.
      (Kaplan et al. 2020, arXiv 2001.08361, table 1, with the mask; FlashAttention-2, arXiv 2307.08691, 4.1.)
    - MLA: the smaller of two forms. Expanded, as transformers computes it: the latents of all c + q tokens become
      keys and values, 2 · B · (c + q) · H · rank · (key + value). Absorbed (DeepSeek-V2, arXiv 2405.04434,
      appendix C): queries go to the latent's space and back, and attend over rank + rotary and rank dimensions.
    - Gated delta net: decay, read, update and read-out of the state, 6 · B · q · value_heads · key · value in the
      recurrent form (arXiv 2412.06464, equation 10), and its convolution.
    - Vocabulary: for one token of each sequence, as `generate` asks for, or for all (`logits="all"`, a bare
      forward).

    Not counted: norms, activations, softmax, rotary embeddings, biases, routing, additions; the encoder of an
    encoder-decoder model; keys and values of its cross-attention, which are computed once for all steps.

    Args:
        shape: the model.
        batch: sequences.
        query: q, new tokens of each: 1 in a decode step.
        context: c, tokens of each that are in the cache before the step.
        logits: which tokens get logits.
        masked: count the pairs that the mask hides too, as an eager attention computes them and
            `torch.utils.flop_counter` counts them.
        expand_latents: count MLA as transformers computes it.
        source_tokens: that cross-attention sees; a Whisper config says how many.
    """
    _check("batch", batch, 1)
    _check("query", query, 1)
    _check("context", context, 0)
    tokens = batch * query
    projections = tokens * (sum(g.count * g.matrices for g in shape.layers) + shape.other_matrices)
    mlp = tokens * sum(g.count * (g.matrices + g.active_experts * g.expert_matrices) for g in shape.mlps)
    head = batch * (1 if logits == "last" else query) * shape.head_matrices
    attention = 0
    for group in shape.layers:
        if group.delta is not None:
            attention += group.count * tokens * (6 * group.delta.state + 2 * group.delta.channels * group.delta.kernel)
        elif group.kind is LayerKind.CROSS:
            pairs = query * _source(shape, source_tokens)
            attention += group.count * batch * _attention(group, pairs)
        else:
            held = _cached_tokens(shape, group, context, None, None, None)
            pairs = query * (held + query) if masked else _pairs(query, context, group)
            attention += group.count * batch * _attention(group, pairs, query, context, expand_latents)
    return StepFlops(2 * projections, attention, 2 * mlp, 2 * head)


@dataclass(frozen=True)
class StepBytes:
    """Memory traffic of one step, each byte once."""

    weights: int
    kv_read: int
    kv_written: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.kv_read + self.kv_written


def step_bytes(
    shape: ModelShape,
    batch: int,
    query: int,
    context: int = 0,
    *,
    weights_dtype: str = "bf16",
    kv_dtype: str = "bf16",
    routing: Literal["expected", "least"] = "expected",
    source_tokens: int | None = None,
) -> StepBytes:
    """Bytes that one forward of the decoder must move: weights and cache read once, new entries written once.

    Weights are all matrices, the vocabulary's projection included, and of the embedding the rows of the new tokens.
    Of a layer with E experts, tokens that each choose k of them independently and evenly touch
    E · (1 − (1 − k / E) ^ tokens) in expectation (`routing="expected"`); all tokens may choose the same k
    (`"least"`), the bound that no step can be below. Layers that share a cache read it once, where it was written.
    (Pope et al. 2022, arXiv 2211.05102, section 2.)

    Not counted: activations, logits, norms and biases; the encoder; keys and values of cross-attention are read and
    not written.

    Args:
        shape: the model.
        batch: sequences.
        query: new tokens of each.
        context: tokens of each in the cache before the step.
        weights_dtype: one of `WEIGHT_FORMATS`.
        kv_dtype: one of `KV_FORMATS`.
        routing: how many distinct experts the tokens meet.
        source_tokens: that cross-attention sees; a Whisper config says how many.
    """
    _check("batch", batch, 1)
    _check("query", query, 1)
    _check("context", context, 0)
    tokens = batch * query
    elements: float = sum(g.count * g.step_weights for g in shape.layers) + shape.head_matrices + shape.other_matrices
    for mlp in shape.mlps:
        met = _experts_met(mlp.experts, mlp.active_experts, tokens, routing)
        elements += mlp.count * (mlp.matrices + met * mlp.expert_matrices)
    elements += tokens * shape.hidden_size
    form = kv_format(kv_dtype)
    read = written = 0
    for group in shape.layers:
        held = context if group.kind is not LayerKind.CHUNKED else context % (group.window or 1)
        cached = _cached_tokens(shape, group, held, None, None, source_tokens)
        read += group.count * _layer_bytes(group, form, cached, batch)
        if group.kind is not LayerKind.CROSS:
            new = _cached_tokens(shape, group, query, None, None, None)
            written += group.count * _layer_bytes(group, form, new, batch)
    return StepBytes(weight_bytes(math.ceil(elements), weights_dtype), read, written)


def _cached_tokens(
    shape: ModelShape, group: LayerGroup, tokens: int, page: int | None, static: int | None, source: int | None
) -> int:
    """Tokens of a sequence that one layer of the group holds."""
    if group.kind is LayerKind.CROSS:
        return _source(shape, source)
    if static is not None:
        return static if group.window is None else min(static, group.window)
    held = tokens if group.window is None else min(tokens, group.window - 1)
    if page is None:
        return held
    straddled = held < tokens
    return (-(-held // page) + straddled) * page


def _layer_bytes(group: LayerGroup, form: KvFormat, cached: int, batch: int) -> int:
    """Bytes of one layer that holds so many tokens of each sequence."""
    if group.delta is not None:
        conv = 2 if form.group or form.per_layer else form.bits // 8  # states are not quantized
        return batch * (group.delta.channels * group.delta.kernel * conv + group.delta.state * _STATE_BYTES)
    elements = batch * group.cached_elements
    if not elements or not cached:
        return 0
    whole = min(cached, max(form.residual - 1, 0))  # in 16 bits, at most
    return math.ceil(elements * (whole * 2 + (cached - whole) * form.bytes_per_element)) + form.per_layer


def _attention(group: LayerGroup, pairs: int, query: int = 0, context: int = 0, expand_latents: bool = False) -> int:
    """FLOPs of one layer's scores and weighted values for one sequence."""
    if group.latent is None:
        return 2 * group.query_heads * pairs * (group.head_dim + group.value_dim)
    latent, heads = group.latent, group.query_heads
    up = 2 * heads * latent.expansion
    expanded = up * (context + query) + 2 * heads * pairs * (latent.key_dim + latent.rope_dim + latent.value_dim)
    absorbed = up * query + 2 * heads * pairs * (2 * latent.rank + latent.rope_dim)
    return expanded if expand_latents else min(expanded, absorbed)


def _pairs(query: int, context: int, group: LayerGroup) -> int:
    """Pairs of a new token and a token that it may see, itself included."""
    if group.window is None:
        return query * context + query * (query + 1) // 2
    if group.kind is LayerKind.CHUNKED:
        first, last = context // group.window, (context + query) // group.window
        before = _chunk_pairs(first, context % group.window, group.window)
        return _chunk_pairs(last, (context + query) % group.window, group.window) - before
    growing = min(max(group.window - context, 0), query)  # tokens whose window is not full
    return growing * context + growing * (growing + 1) // 2 + (query - growing) * group.window


def _chunk_pairs(chunks: int, rest: int, window: int) -> int:
    """Pairs in so many whole chunks and the beginning of another."""
    return chunks * window * (window + 1) // 2 + rest * (rest + 1) // 2


def _experts_met(experts: int, active: int, tokens: int, routing: str) -> float:
    """Distinct experts that so many tokens are sent to."""
    if not experts or routing == "least":
        return float(active)
    return experts * (1 - (1 - active / experts) ** tokens)


def _grows(group: LayerGroup, at: int) -> bool:
    return group.window is None or at < group.window - 1


def _source(shape: ModelShape, given: int | None) -> int:
    tokens = shape.source_tokens if given is None else given
    if tokens is None:
        raise ProfkitError(f"a {shape.model_type!r} model caches its source: source_tokens= says how long it is")
    _check("source_tokens", tokens, 1)
    return tokens


def _check(name: str, value: int | None, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise OptionError(f"{name} is a whole number from {least} on, not {value!r}")
