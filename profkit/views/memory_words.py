"""What does a memory peak say? Its parts as sentences, for summaries and figures."""

from __future__ import annotations

from collections.abc import Iterator

from profkit.analysis.memory import FRAGMENTATION, MemoryPeak
from profkit.record import MemoryKind
from profkit.views.format import clean, duration, plural, share, size


def headline(peak: MemoryPeak) -> str:
    """``GPU 0 held 21.4 GB at its peak, 75.0 % of it weights``."""
    name, most = max(_allocated(peak).items(), key=lambda part: part[1])
    found = f"GPU {peak.device} held {size(peak.allocated_bytes)} at its peak"
    return f"{found}, {share(most / peak.allocated_bytes)} of it {label(name)}" if most else found


def sentences(peak: MemoryPeak) -> Iterator[str]:
    """What it consisted of, and what made it."""
    parts = [f"{label(name)} {size(part)}" for name, part in _allocated(peak).items() if part]
    lost = peak.categories[FRAGMENTATION]
    spare = f"; {size(lost)} more was reserved and held nothing (fragmentation)" if lost else ""
    yield f"The peak came after {duration(peak.at_ns)}: {', '.join(parts)}{spare}."
    if peak.stack is not None:
        yield f"The allocation that made it: {clean(peak.stack)}."
    named = [found for found in peak.largest if found.stack is not None]
    if named:
        first = named[0]
        yield (
            f"Most of what the history saw being allocated: {size(first.size_bytes)} of {label(first.category)} in "
            f"{plural(first.count, 'piece')}, in {clean(str(first.stack).partition(' < ')[0])}."
        )


def label(category: str) -> str:
    """What people call a category."""
    return "KV cache" if category == MemoryKind.KV else category


def _allocated(peak: MemoryPeak) -> dict[str, int]:
    return {name: part for name, part in peak.categories.items() if name != FRAGMENTATION}
