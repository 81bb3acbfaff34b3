"""What does one GPU hold of a model that tensor parallelism spreads over several?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from profkit.errors import OptionError
from profkit.models.shape import LayerGroup, LayerKind, ModelShape


@dataclass(frozen=True)
class Shard:
    """One GPU's part."""

    shape: ModelShape  # with the heads that its cache holds
    replicated: int  # weight elements of matrices that every GPU has whole
    notes: tuple[str, ...]


def shard(shape: ModelShape, gpus: int) -> Shard:
    """The part of each of `gpus` GPUs.

    Query heads are divided. KV heads too, while there are enough; with fewer KV heads than GPUs each head, with
    its projections, is replicated on gpus / kv_heads of them. MLA's latent has no heads to divide: each GPU
    caches all of it, with the down-projections. (Megatron-LM, arXiv 1909.08053, section 3; vLLM does the same.)

    Raises:
        OptionError: `gpus` does not divide the heads.
    """
    if isinstance(gpus, bool) or not isinstance(gpus, int) or gpus < 1:
        raise OptionError(f"tensor_parallel is a whole number from 1 on, not {gpus!r}")
    if gpus == 1:
        return Shard(shape, 0, ())
    allowed = possible(shape)
    if gpus not in allowed:
        heads = sorted({h for g in shape.layers for h in (g.query_heads, *([g.kv_heads] if g.kv_heads else []))})
        raise OptionError(
            f"tensor_parallel={gpus} does not divide the heads of this model ({', '.join(map(str, heads))}); "
            f"possible are {', '.join(map(str, allowed))}"
        )
    notes: list[str] = []
    replicated = 0
    for group in shape.layers:
        if group.latent is not None:
            replicated += group.count * shape.hidden_size * (group.cached_elements + (group.latent.query_rank or 0))
            notes.append("the latent of MLA has no heads to divide: every GPU caches all of it")
        elif 0 < group.kv_heads < gpus:
            held = gpus / group.kv_heads
            projections = group.count * shape.hidden_size * group.kv_heads * (group.head_dim + group.value_dim)
            replicated += round(projections * (held - 1) / (gpus - 1))
            notes.append(f"each of the {group.kv_heads} KV heads of {group.kind} layers is held by {held:g} GPUs")
    part = replace(shape, layers=tuple(_part(group, gpus) for group in shape.layers))
    return Shard(part, replicated, tuple(dict.fromkeys(notes)))


def possible(shape: ModelShape) -> list[int]:
    """Numbers of GPUs that the heads can be divided among."""
    return [n for n in range(1, shape.query_heads + 1) if all(_divides(n, group) for group in shape.layers)]


def _divides(gpus: int, group: LayerGroup) -> bool:
    if group.query_heads % gpus:
        return False
    if group.delta is not None:
        return group.delta.key_heads % gpus == 0
    return group.latent is not None or group.kv_heads % gpus == 0 or gpus % group.kv_heads == 0


def _part(group: LayerGroup, gpus: int) -> LayerGroup:
    heads = group.query_heads // gpus
    if group.kind is LayerKind.MLA:
        return replace(group, query_heads=heads)
    if group.delta is not None:
        delta = replace(
            group.delta, key_heads=group.delta.key_heads // gpus, value_heads=group.delta.value_heads // gpus
        )
        return replace(group, query_heads=heads, delta=delta)
    return replace(group, query_heads=heads, kv_heads=max(group.kv_heads // gpus, 1))
