"""A memory plan as a small SVG: what fills the GPU, and the largest batch over the context.

Plain strings, so that a slider redraws it in a few milliseconds.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from profkit.models.plan import MemoryPlan
from profkit.models.shape_costs import kv_bytes
from profkit.record import Phase
from profkit.views import palette
from profkit.views.format import count, memory

WEIGHTS: Final = palette.HOST
LOGITS: Final = palette.PHASES[Phase.DECODE]
OVERHEAD: Final = palette.GRID
_WIDTH: Final = 720
_BAR: Final = 22
_LEFT: Final = 52
_TOP: Final = 92
_HEIGHT: Final = 250
_POINTS: Final = 64
_PAGE: Final = "var(--jp-layout-color0,var(--vscode-editor-background,Canvas))"
_HALO: Final = f'paint-order="stroke" stroke-width="3" style="stroke:{_PAGE}"'
"""The page's colour around letters: they read over lines."""
_SHORTEST: Final = 128
"""Tokens of context where the curve begins, or the plan's own."""


@dataclass(frozen=True)
class Part:
    """A part of the memory of a GPU."""

    label: str
    size: int
    colour: palette.Colour


def parts(plan: MemoryPlan) -> list[Part]:
    """What takes memory at the plan's batch and context, in the order in which it is drawn."""
    sizes = kv_bytes(
        plan.part,
        plan.context,
        plan.batch,
        kv_dtype=plan.kv_dtype,
        page=plan.request.page,
        source_tokens=plan.request.source_tokens,
    )
    found = [] if plan.gpu is None else [Part("overhead", plan.gpu.overhead_bytes, OVERHEAD)]
    found += [] if plan.weights_bytes is None else [Part("weights", plan.weights_bytes, WEIGHTS)]
    found += [Part(f"cache, {kind} layers", size, palette.kv(kind)) for kind, size in sizes.items() if size]
    return [*found, Part("logits of a step", plan.logits_bytes, LOGITS)]


def contexts(plan: MemoryPlan, points: int = _POINTS) -> list[int]:
    """Contexts for a curve, evenly apart on a log scale, up to what the config allows or twice the plan's."""
    low = min(_SHORTEST, plan.context)
    high = max(plan.shape.max_context or 0, 2 * plan.context)
    steps = (low * (high / low) ** (at / (points - 1)) for at in range(points))
    return sorted({round(step) for step in steps} | {plan.context})


def batches(plan: MemoryPlan, at: Sequence[int]) -> list[tuple[int, int]]:
    """(context, largest batch) where at least one sequence fits."""
    found = ((context, plan.batch_at(context)) for context in at)
    return [(context, batch) for context, batch in found if batch]


def svg(plan: MemoryPlan) -> str:
    """The picture, in colours that read on light and on dark pages."""
    curve = batches(plan, contexts(plan))
    height = _HEIGHT if curve else _TOP
    lines = [*_bar(plan), *(_curve(plan, curve) if curve else ())]
    style = "max-width:100%;display:block;margin:0 0 14px;font:11px system-ui,sans-serif"
    body = "".join(lines)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img" style="{style}" '
        f'aria-label="Memory of the plan">{body}</svg>'
    )


def _bar(plan: MemoryPlan) -> Iterator[str]:
    """One bar as long as the GPU's memory; what does not fit stands out beyond its end."""
    taken = parts(plan)
    total = sum(part.size for part in taken)
    limit = plan.gpu.memory_bytes if plan.gpu else total
    scale = (_WIDTH - 2) / max(total, limit, 1)
    x = 1.0
    for part in taken:
        width = part.size * scale
        yield _rect(x, 18, width, _BAR, part.colour.light, f"{part.label}: {memory(part.size)}")
        x += width
    yield f'<rect x="1" y="18" width="{limit * scale:.1f}" height="{_BAR}" fill="none" stroke="currentColor"/>'
    end = min(limit * scale, _WIDTH - 4)
    over = total > limit
    said = f"does not fit: {memory(total - limit)} too much" if over else f"{memory(limit - total)} free"
    label = f"{memory(limit)}: {said}" if plan.gpu else memory(total)
    yield _words(end, 12, label, "end", palette.ERROR.light if over else "currentColor")
    yield from _keys(taken)


def _keys(taken: Sequence[Part]) -> Iterator[str]:
    x, y = 1.0, 58
    for part in taken:
        label = f"{part.label} {memory(part.size)}"
        width = 26 + 6.0 * len(label)
        if x + width > _WIDTH:
            x, y = 1.0, y + 16
        yield _rect(x, y - 9, 10, 10, part.colour.light, "")
        yield _words(x + 15, y, label)
        x += width


def _curve(plan: MemoryPlan, curve: Sequence[tuple[int, int]]) -> Iterator[str]:
    """The largest batch over the context, both on log scales, with the plan's own point."""
    low_x, high_x = curve[0][0], max(curve[-1][0], plan.context)
    top = max(plan.batch, *(batch for _, batch in curve))
    bottom = _HEIGHT - 26

    def x(context: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 12) * math.log(context / low_x) / max(math.log(high_x / low_x), 1e-9)

    def y(batch: float) -> float:
        return bottom - (bottom - _TOP - 12) * math.log(batch) / max(math.log(top), 1e-9)

    for exponent in range(1 + int(math.log10(top))):
        level = y(10**exponent)
        yield f'<path d="M{_LEFT} {level:.1f}H{_WIDTH - 12}" stroke="currentColor" opacity=".15"/>'
        yield _words(_LEFT - 6, level + 4, count(10**exponent), "end")
    ticks = [2**power for power in range(4, 25, 2) if low_x <= 2**power <= high_x]
    for tick in ticks:
        yield f'<path d="M{x(tick):.1f} {_TOP + 12}V{bottom}" stroke="currentColor" opacity=".15"/>'
        yield _words(x(tick), bottom + 13, count(tick), "middle")
    points = " ".join(f"{x(context):.1f},{y(batch):.1f}" for context, batch in curve)
    yield f'<polyline points="{points}" fill="none" stroke="{palette.GPU.light}" stroke-width="2.5"/>'
    fits = plan.fits
    colour = palette.ERROR.light if fits is False else "currentColor"
    at = f"batch {count(plan.batch)} at {count(plan.context)} tokens" + ("" if fits else ": does not fit")
    px, py = x(plan.context), y(plan.batch)
    yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{colour}"/>'
    # The curve falls: above and to the right of a point on it, or below and to the left, nothing is in the way.
    right = (fits is False or px - 6.2 * len(at) < _LEFT) and px + 6.2 * len(at) < _WIDTH
    yield _words(px + (9 if right else -9), py + (-8 if right else 16), at, "start" if right else "end", colour)
    yield _words(_LEFT, _TOP + 4, "largest batch, by tokens of context")


def _rect(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    inner = f"<title>{html.escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">{inner}</rect>'


def _words(x: float, y: float, text: str, anchor: str = "start", colour: str = "currentColor") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" {_HALO}>{html.escape(text)}</text>'
