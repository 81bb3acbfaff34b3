"""How many sequences, and how long, fit into a GPU's memory beside the weights?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from profkit.errors import OptionError
from profkit.hardware.memory import GpuMemory, gpu_memory
from profkit.models.shape import LayerGroup, LayerKind, ModelShape
from profkit.models.shape_costs import kv_bytes, kv_bytes_per_token, kv_name
from profkit.models.shape_weights import stored_bytes, weight_name
from profkit.models.shard import shard

_DEFAULT_CONTEXT: Final = 8192
_MOST_TOKENS: Final = 2**40
"""Where a search for a longest context ends, of a model whose config names no limit."""
_ONE_IN_TWENTY: Final = 1.645
"""Standard deviations above its mean that a normal variable exceeds once in 20 times."""


@dataclass(frozen=True)
class Request:
    """What a plan is asked for. Units: tokens of one sequence, sequences, bytes."""

    gpu: str | float | None = None
    weights_dtype: str | None = None
    kv_dtype: str | None = None
    page: int | None = None
    context: int | None = None
    batch: int = 1
    tensor_parallel: int = 1
    overhead: float | None = None
    lengths: Sequence[int] | None = None
    source_tokens: int | None = None


@dataclass(frozen=True)
class Lengths:
    """Sequences that fit when their lengths differ."""

    samples: int
    mean_tokens: float
    p95_tokens: int
    at_mean: int | None  # on average: half of the time they need more
    in_19_of_20: int | None  # of so many, drawn from these lengths, the sum fits in 19 of 20 cases
    at_p95: int | None  # if each is as long as the 95th percentile


@dataclass(frozen=True)
class Saving:
    """One step from plain multi-head attention in bf16 to what this model caches."""

    what: str
    sequence_bytes: int  # of one sequence at the plan's context, this step and those before it done


@dataclass(frozen=True)
class MemoryPlan:
    """Where the memory of a GPU goes. With tensor parallelism, bytes are those of each GPU."""

    shape: ModelShape
    request: Request
    gpu: GpuMemory | None
    weights_dtype: str
    kv_dtype: str
    context: int
    batch: int
    bytes_per_token: float  # that the next token of one sequence adds at the plan's context
    sequence_bytes: int  # of one sequence at the plan's context
    cache_bytes: int  # at the plan's batch and context
    weights_bytes: int | None
    logits_bytes: int  # of one step at the plan's batch
    max_batch: int | None  # at the plan's context; None without a GPU, or where weights are not known
    max_context: int | None  # at the plan's batch, at most what the config allows; 0: not one token fits
    lengths: Lengths | None
    savings: tuple[Saving, ...]
    notes: tuple[str, ...]
    part: ModelShape  # what each GPU caches

    @property
    def room_bytes(self) -> int | None:
        """What overhead and weights leave for cache and logits; negative where the weights alone do not fit."""
        if self.gpu is None or self.weights_bytes is None:
            return None
        return self.gpu.memory_bytes - self.gpu.overhead_bytes - self.weights_bytes

    @property
    def free_bytes(self) -> int | None:
        """What is left at the plan's batch and context; negative where it does not fit."""
        room = self.room_bytes
        return None if room is None else room - self.cache_bytes - self.logits_bytes

    @property
    def fits(self) -> bool | None:
        """Whether the plan's batch and context fit; None where that is not known."""
        return None if self.free_bytes is None else self.free_bytes >= 0

    @property
    def layers(self) -> pd.DataFrame:
        """One row per group of layers: what a layer caches, and the bytes of the group for one sequence."""
        rows: list[dict[str, Any]] = []
        for group in self.part.layers:
            alone = replace(self.part, layers=(group,))
            rows.append(
                {
                    "kind": str(group.kind),
                    "count": group.count,
                    "kv_heads": group.kv_heads or None,
                    "head_dim": group.head_dim or None,
                    "value_dim": group.value_dim or None,
                    "window": group.window,
                    "bytes_per_token": self._per_token(alone),
                    "sequence_bytes": self._sequence(alone),
                }
            )
        frame = pd.DataFrame(rows)
        sizes = ("count", "kv_heads", "head_dim", "value_dim", "window", "sequence_bytes")
        frame = frame.astype(dict.fromkeys(sizes, "Int64"))
        frame["share"] = frame["sequence_bytes"].astype(float) / max(self.sequence_bytes, 1)
        return frame

    def changed(self, **changes: Any) -> MemoryPlan:
        """The plan with another batch, context, kv_dtype, gpu, ...: the weights are not counted again."""
        return make_plan(self.shape, replace(self.request, **changes))

    def batch_at(self, context: int) -> int | None:
        """The largest batch at another context."""
        return None if self.room_bytes is None else _largest_batch(self, context, self.room_bytes)

    def need_bytes(self, batch: int, context: int) -> int:
        """Bytes of cache and logits at another batch and context."""
        return self._cache(batch, context) + _logits(self.part, batch)

    def _cache(self, batch: int, context: int, part: ModelShape | None = None) -> int:
        sizes = kv_bytes(
            part or self.part,
            context,
            batch,
            kv_dtype=self.kv_dtype,
            page=self.request.page,
            source_tokens=self.request.source_tokens,
        )
        return sum(sizes.values())

    def _sequence(self, part: ModelShape) -> int:
        return self._cache(1, self.context, part)

    def _per_token(self, part: ModelShape) -> float:
        return kv_bytes_per_token(part, self.kv_dtype, self.context)


def make_plan(shape: ModelShape, request: Request) -> MemoryPlan:
    """See `profkit.kv_plan`."""
    context = request.context
    if context is None:
        context = min(_DEFAULT_CONTEXT, shape.max_context or _DEFAULT_CONTEXT)
    _whole("context", context)
    _whole("batch", request.batch)
    weights_dtype = weight_name(request.weights_dtype or _stored_as(shape))
    kv_dtype = kv_name(request.kv_dtype or _cached_as(shape))
    part = shard(shape, request.tensor_parallel)
    plan = MemoryPlan(
        shape=shape,
        request=request,
        gpu=None if request.gpu is None else _with_overhead(gpu_memory(request.gpu), request.overhead),
        weights_dtype=weights_dtype,
        kv_dtype=kv_dtype,
        context=context,
        batch=request.batch,
        bytes_per_token=kv_bytes_per_token(part.shape, kv_dtype, context),
        sequence_bytes=0,
        cache_bytes=0,
        weights_bytes=stored_bytes(shape, weights_dtype, request.tensor_parallel, part.replicated),
        logits_bytes=_logits(shape, request.batch),
        max_batch=None,
        max_context=None,
        lengths=None,
        savings=(),
        notes=(),
        part=part.shape,
    )
    room = plan.room_bytes
    plan = replace(
        plan,
        sequence_bytes=plan._cache(1, context),
        cache_bytes=plan._cache(request.batch, context),
        max_batch=None if room is None else _largest_batch(plan, context, room),
        max_context=None if room is None else _longest_context(plan, request.batch, room),
        lengths=None if request.lengths is None else _lengths(plan, request.lengths, room),
        savings=tuple(_savings(plan)),
    )
    return replace(plan, notes=(*part.notes, *_notes(plan)))


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} is a whole number from 1 on, not {value!r}")


def _stored_as(shape: ModelShape) -> str:
    if shape.quantized is not None:
        raise OptionError(
            f"the config says that the weights are quantized ({shape.quantized}): weights_dtype= says to how many "
            "bits, for example 'fp8' or 'int4'"
        )
    return shape.dtype or "bf16"


def _cached_as(shape: ModelShape) -> str:
    return shape.dtype if shape.dtype in ("float32", "float16", "bfloat16") else "bf16"


def _with_overhead(memory: GpuMemory, overhead: float | None) -> GpuMemory:
    """A share below 1 or bytes from 1 on; by default what the GPU is known to hold back."""
    if overhead is None:
        return memory
    if isinstance(overhead, bool) or not isinstance(overhead, int | float) or not 0 <= overhead < memory.memory_bytes:
        raise OptionError(f"overhead is a share of the GPU's memory below 1, or bytes, not {overhead!r}")
    share = overhead < 1
    size = memory.memory_bytes * overhead if share else overhead
    why = f"as given: {100 * overhead:g} % of the memory" if share else "as given"
    return replace(memory, overhead_bytes=math.ceil(size), overhead=why)


def _logits(shape: ModelShape, batch: int) -> int:
    """Logits of a decode step, in 16 bits as computed and in fp32 as sampling reads them."""
    return batch * shape.vocab_size * (2 + 4)


def _largest_batch(plan: MemoryPlan, context: int, room: int) -> int:
    """The need grows with the batch along a line, but for bytes that are rounded up."""
    one = plan.need_bytes(1, context)
    if one > room:
        return 0
    batch = 1 + (room - one) // (plan.need_bytes(2, context) - one)
    while plan.need_bytes(batch, context) > room:
        batch -= 1
    while plan.need_bytes(batch + 1, context) <= room:
        batch += 1
    return batch


def _longest_context(plan: MemoryPlan, batch: int, room: int) -> int:
    most = plan.shape.max_context or _MOST_TOKENS
    return _largest(lambda context: plan.need_bytes(batch, context) <= room, most)


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits, where all smaller ones do; 0 where none does."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _lengths(plan: MemoryPlan, given: Sequence[int], room: int | None) -> Lengths:
    """Of n sequences the need has mean n · µ and deviation √n · σ, and is near normal (central limit theorem)."""
    tokens = np.asarray(list(given))
    if not tokens.size or tokens.dtype.kind not in "iu" or tokens.min() < 1:
        raise OptionError("lengths are whole numbers of tokens from 1 on, at least one of them")
    distinct, counts = np.unique(tokens, return_counts=True)
    need = np.array([plan.need_bytes(1, int(length)) for length in distinct], float)
    mean = float(np.average(need, weights=counts))
    deviation = math.sqrt(float(np.average((need - mean) ** 2, weights=counts)))
    p95 = int(np.percentile(tokens, 95, method="inverted_cdf"))
    if room is None:
        return Lengths(tokens.size, float(tokens.mean()), p95, None, None, None)
    return Lengths(
        samples=tokens.size,
        mean_tokens=float(tokens.mean()),
        p95_tokens=p95,
        at_mean=max(int(room // mean), 0),
        in_19_of_20=_largest(lambda n: n * mean + _ONE_IN_TWENTY * deviation * math.sqrt(n) <= room, _MOST_TOKENS),
        at_p95=_largest_batch(plan, p95, room),
    )


def _savings(plan: MemoryPlan) -> list[Saving]:
    """From every layer as multi-head attention over all tokens in bf16, one change at a time."""
    real, page = plan.part.layers, plan.request.page
    steps: list[tuple[str, list[LayerGroup], str, int | None]] = [
        ("multi-head attention in bf16", [_multi_head(group, real) for group in real], "bf16", None)
    ]
    now = [_grouped(group, real) for group in real]
    steps.append(("fewer KV heads (GQA, MQA)", now, "bf16", None))
    for what, kinds in _CHANGES.items():
        now = [group if group.kind in kinds else kept for group, kept in zip(real, now, strict=True)]
        steps.append((what, now, "bf16", None))
    steps.append((f"cache in {plan.kv_dtype}", now, plan.kv_dtype, None))
    steps.append((f"pages of {page} tokens", now, plan.kv_dtype, page))
    found: list[Saving] = []
    for what, layers, kv_dtype, pages in steps:
        part = replace(plan.part, layers=tuple(layers))
        source = plan.request.source_tokens
        size = sum(kv_bytes(part, plan.context, kv_dtype=kv_dtype, page=pages, source_tokens=source).values())
        if not found or size != found[-1].sequence_bytes:
            found.append(Saving(what, size))
    return found


_CHANGES: Final[dict[str, frozenset[LayerKind]]] = {
    "one latent for all heads (MLA)": frozenset({LayerKind.MLA}),
    "a window in some layers": frozenset({LayerKind.SLIDING, LayerKind.CHUNKED}),
    "layers that share a cache": frozenset({LayerKind.SHARED}),
    "linear attention in some layers": frozenset({LayerKind.LINEAR}),
}


def _multi_head(group: LayerGroup, layers: Sequence[LayerGroup]) -> LayerGroup:
    """The same layers with keys and values of their own for every query head, over all tokens."""
    if group.kind is LayerKind.CROSS:
        return group
    if group.latent is not None:
        keys, values = group.latent.key_dim + group.latent.rope_dim, group.latent.value_dim
        heads = group.query_heads
        return replace(group, kind=LayerKind.FULL, kv_heads=heads, head_dim=keys, value_dim=values, latent=None)
    if group.delta is not None:
        attention = next((other for other in layers if other.delta is None), None)
        return group if attention is None else replace(_multi_head(attention, layers), count=group.count)
    return replace(group, kind=LayerKind.FULL, kv_heads=group.query_heads, window=None)


def _grouped(group: LayerGroup, layers: Sequence[LayerGroup]) -> LayerGroup:
    """The same layers with the model's KV heads, over all tokens."""
    plain = _multi_head(group, layers)
    if group.delta is not None:
        attention = next((other for other in layers if other.delta is None), group)
        return replace(plain, kv_heads=attention.kv_heads)
    return plain if group.latent is not None else replace(plain, kv_heads=group.kv_heads)


def _notes(plan: MemoryPlan) -> list[str]:
    shape, found = plan.shape, []
    if shape.weights.reason is not None:
        found.append(f"weights were not counted: {shape.weights.reason}")
    if shape.max_context is not None and plan.context > shape.max_context:
        found.append(f"the config allows {shape.max_context:,} positions, fewer than this context")
    if plan.room_bytes is not None and plan.room_bytes < 0:
        found.append("the weights alone do not fit")
    elif plan.max_context is not None and plan.max_context == shape.max_context:
        found.append("the longest context is what the config allows; memory would hold more")
    return found
