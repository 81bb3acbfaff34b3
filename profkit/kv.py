"""KV-cache questions that need no run: `kv_plan` (what fits) and `kv_pressure` (what happens when it is full)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from profkit.analysis.kv_pressure import POLICIES, Pressure, pressure, read_sessions
from profkit.errors import OptionError
from profkit.models.plan import MemoryPlan, Request, make_plan
from profkit.models.shape import ModelShape

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class KVPlan(MemoryPlan):
    """A `MemoryPlan` that notebooks and terminals can show. The data are those of `MemoryPlan`."""

    def changed(self, **changes: Any) -> KVPlan:
        """The plan with other arguments of `kv_plan`, for example `plan.changed(kv_dtype="fp8")`."""
        return _shown(super().changed(**changes))

    def figure(self) -> Figure:
        """Memory over context at the plan's batch, and the largest batch over context, as a matplotlib figure."""
        from profkit.views.figures.kv_plan import draw

        return draw(self)

    def widget(self) -> Any:
        """Sliders for batch, context, KV dtype, GPU and tensor parallelism over the plan."""
        from profkit.views.widgets.kv_plan import KVPlanView

        return KVPlanView(self)

    def __repr__(self) -> str:
        from profkit.views.kv_plan import text

        return text(self)

    def _repr_html_(self) -> str:
        from profkit.views.kv_plan import fragment

        return fragment(self)


def kv_plan(
    config: str | os.PathLike[str] | Mapping[str, Any] | Any,
    *,
    gpu: str | float | None = None,
    weights_dtype: str | None = None,
    kv_dtype: str | None = None,
    page: int | None = None,
    context: int | None = None,
    batch: int = 1,
    tensor_parallel: int = 1,
    overhead: float | None = None,
    lengths: Sequence[int] | None = None,
    source_tokens: int | None = None,
) -> KVPlan:
    """Plan the memory of a GPU: weights, KV cache, and what is left for more sequences or longer ones.

    The plan is for a cache that is allocated at once, in whole or in pages, as serving engines and transformers'
    static cache do. transformers' dynamic cache copies a layer's keys or values at every step and needs room for
    that copy and for what the allocator cannot reuse. Prefill of many tokens at once needs room for its activations.
    Sources of the formulas: `models.shape_costs.kv_bytes`, `models.shape_weights.stored_bytes`, `models.shard.shard`,
    `hardware.memory.gpu_memory`.

    Args:
        config: a transformers config or a model that has one, a dict with a "model_type", or the path of a
            config.json or of its folder. A `ModelShape` too.
        gpu: a name of the GPU table ("H200", "A100 80GB SXM"), "here" for what this process can use of its GPU, or
            a number of bytes. Without one there are sizes, and no largest batch or context.
        weights_dtype: one of `WEIGHT_FORMATS` ("bf16", "fp8", "int4", ...); by default the config's dtype.
        kv_dtype: one of `KV_FORMATS` ("bf16", "fp8", "int4", ...); by default the config's dtype.
        page: tokens of a page of a paged cache (vLLM: 16).
        context: tokens of each sequence in the cache; by default 8,192, or what the config allows if that is less.
        batch: sequences.
        tensor_parallel: GPUs that share the model; sizes are those of each.
        overhead: what is neither weights nor cache, a share of the GPU's memory below 1 or bytes. By default what
            CUDA does not report of the printed size, and 0.75 GiB for its context, kernels and workspaces.
        lengths: token counts of sequences to come: how many of such sequences fit.
        source_tokens: that an encoder-decoder model's cross-attention caches; Whisper's config says how many.

    Raises:
        OptionError: a value that cannot be; it names those that can.
        ProfkitError: the config cannot be read, is of an unknown architecture, or lacks a size.
    """
    shape = config if isinstance(config, ModelShape) else ModelShape.of(config)
    request = Request(
        gpu, weights_dtype, kv_dtype, page, context, batch, tensor_parallel, overhead, lengths, source_tokens
    )
    return _shown(make_plan(shape, request))


@dataclass(frozen=True, repr=False)
class KVPressure(Pressure):
    """A `Pressure` that notebooks and terminals can show. The data are those of `Pressure`."""

    def figure(self) -> Figure:
        """The cache by tenant over time under each policy, and the hit shares, as a matplotlib figure."""
        from profkit.views.figures.kv_pressure import draw

        return draw(self)

    def __repr__(self) -> str:
        from profkit.views.kv_pressure import text

        return text(self)

    def _repr_html_(self) -> str:
        from profkit.views.kv_pressure import fragment

        return fragment(self)


def kv_pressure(
    sessions: Any,
    capacity: int | MemoryPlan,
    policy: str | Sequence[str] | None = None,
    *,
    window: int | None = None,
    shares: Mapping[str, float] | None = None,
    page: int = 1,
) -> KVPressure:
    """Simulate policies for a KV cache that is too small for all sessions: who keeps what, who computes twice.

    Turns are served in order of time and take none themselves: what is simulated is what the cache keeps between
    them. A session of history h (all tokens of its earlier turns) whose next turn has p new and o answered tokens
    finds c of the h tokens in the cache. Then

    - hit share = Σ c / Σ h, recompute tokens = Σ (h − c): prefilled a second time;
    - afterwards it holds h + p + o tokens, rounded up to pages, and other sessions give way;
    - after its last turn a session holds nothing.

    Policies:

    - "none": nothing gives way. A turn that does not fit waits until sessions end, and the oldest that fits goes
      first; turns that still wait when nothing will end any more are refused, and those after them.
    - "lru": the least recently used session gives way, newest tokens first, as paged engines free blocks
      (vLLM, arXiv 2309.06180, section 4.5, and its prefix cache).
    - "sliding": each session keeps and attends to its newest `window` tokens, h = min(h, window); older ones are
      forgotten, not computed again (forgotten tokens: what the answers cannot see). Then as "lru".
    - "partition": every tenant has a share of the capacity, and its sessions give way to each other only. Of a
      session longer than the share, the first tokens are kept; while a turn runs, it may use what others leave.

    A turn that alone is longer than the capacity is refused under every policy.

    Args:
        sessions: `Session` objects, dicts, or a table of turns: see `analysis.kv_pressure.read_sessions`.
        capacity: tokens that the cache holds, or a `KVPlan`: what is left beside the weights, by its bytes per token
            at its context.
        policy: one or several; by default all, "sliding" only with a window.
        window: tokens, of "sliding".
        shares: of "partition", tenant to part of the capacity; equal parts by default.
        page: tokens of a page.

    Raises:
        OptionError: a value that cannot be.
    """
    tokens = _tokens(capacity) if isinstance(capacity, MemoryPlan) else capacity
    if policy is None:
        policies: Sequence[str] = [name for name in POLICIES if name != "sliding" or window is not None]
    else:
        policies = [policy] if isinstance(policy, str) else list(policy)
    found = pressure(read_sessions(sessions), tokens, policies, window, shares, page)
    return KVPressure(**{field.name: getattr(found, field.name) for field in fields(Pressure)})


def _tokens(plan: MemoryPlan) -> int:
    if plan.room_bytes is None:
        raise OptionError("this plan has no GPU, so it does not say how many tokens fit: give gpu= to kv_plan")
    return max(plan.room_bytes, 0) * plan.context // max(plan.sequence_bytes, 1)


def _shown(plan: MemoryPlan) -> KVPlan:
    return KVPlan(**{field.name: getattr(plan, field.name) for field in fields(MemoryPlan)})
