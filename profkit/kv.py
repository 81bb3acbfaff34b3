"""KV-cache questions that need no run: `kv_plan` (what fits) and `kv_pressure` (what happens when it is full)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

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


def _shown(plan: MemoryPlan) -> KVPlan:
    return KVPlan(**{field.name: getattr(plan, field.name) for field in fields(MemoryPlan)})
