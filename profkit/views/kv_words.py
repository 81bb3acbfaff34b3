"""What does the growth of a KV cache say? Its numbers as sentences, for summaries, figures and widgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from profkit.analysis.kv import Full, KVGrowth, KVWaste
from profkit.views.format import clean, count, memory, plural, share, size

_EXACT: Final = 0.0005
"""A deviation that rounds to 0.0 % is none."""


def headline(growth: KVGrowth) -> str:
    """``A token costs 131 kB of KV cache; 4.29 GB for 32 sequences of 1 024 tokens``."""
    held = size(growth.peak_bytes if growth.peak_bytes is not None else _logical(growth))
    whose = f" for {_sequences(growth)}" if growth.peak_sequences is not None else ""
    if growth.bytes_per_token is None:
        return f"The KV cache takes {held}{whose}"
    windows = " once its windows are full" if any(kind.window is not None for kind in growth.kinds) else ""
    return f"A token costs {size(growth.bytes_per_token)} of KV cache{windows}; {held}{whose}"


def sentences(growth: KVGrowth) -> Iterator[str]:
    """How large, why, what of it is wasted, and when the GPU is full."""
    yield f"{headline(growth)}."
    yield _formula(growth)
    yield from _waste(growth.waste, growth.peak_bytes)
    if growth.full is not None:
        yield _full(growth.full, growth.bytes_per_token)


def _sequences(growth: KVGrowth) -> str:
    together = "with {} tokens in all" if growth.waste.paged else "of {} tokens"
    tokens = "" if growth.peak_tokens is None else " " + together.format(count(growth.peak_tokens))
    return f"{plural(growth.peak_sequences or 0, 'sequence')}{tokens}"


def _logical(growth: KVGrowth) -> int | None:
    parts = [kind.logical_bytes for kind in growth.kinds]
    return None if None in parts else sum(part for part in parts if part is not None)


def _formula(growth: KVGrowth) -> str:
    if growth.bytes_per_token is None:
        return "It does not grow with the tokens any more, or how many it held is not known."
    if growth.formula_bytes_per_token is None:
        return f"What the architecture says of that is not known: {clean(growth.formula_missing or 'no such layers')}."
    off = growth.deviation or 0.0
    if abs(off) < _EXACT:
        return "That is what the architecture says."
    less = "more" if off > 0 else "less"
    return f"That is {share(abs(off))} {less} than the {size(growth.formula_bytes_per_token)} of the architecture."


def _waste(waste: KVWaste, held: int | None) -> Iterator[str]:
    unfilled = "ends of pages" if waste.paged else "slots that no token fills yet"
    pinned = "pages not given out" if waste.paged else "memory that views keep and do not show"
    parts = (
        (waste.padding_bytes, "padding of prompts"),
        (waste.unfilled_bytes, unfilled),
        (waste.pinned_bytes, pinned),
    )
    found = [f"{share(part / held)} {name}" for part, name in parts if part and held]
    if found:
        yield f"Of what is held for it at its largest, {' and '.join(found)}."
    if waste.fragmentation_bytes:
        yield f"Then the allocator reserved {size(waste.fragmentation_bytes)} in which nothing lay (fragmentation)."


def _full(full: Full, per_token: float | None) -> str:
    gpu = f"this GPU ({memory(full.memory_bytes)})"
    if full.context is None:
        return f"At batch {count(full.batch)} the cache never fills {gpu}: it does not grow with the context."
    outside = "" if full.outside_bytes is None else f", {size(full.outside_bytes)} outside torch"
    return (
        f"At batch {count(full.batch)}, {gpu} is full at {_about(full.context)} tokens of context, if what was beside "
        f"the cache at the peak stays as it is ({size(full.beside_bytes)}{outside}) and nothing more is wasted."
    )


def _about(tokens: int) -> str:
    """``41 000``: three digits, never more than there is room for."""
    unit = 10 ** max(len(str(tokens)) - 3, 0)
    return count(tokens // unit * unit)
