"""What fits into the GPU: memory over the context at one batch, and the largest batch over the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from profkit.models.plan import MemoryPlan
from profkit.views import palette
from profkit.views.figures.base import INK, SOFT, ReportFigure, legend, sheet, style
from profkit.views.format import count, memory
from profkit.views.kv_plan import model, sentence, setup
from profkit.views.kv_plan_chart import batches, contexts, parts

_GIB: Final = 2**30
_POINTS: Final = 160
_BOTTOM: Final = 0.14
_TALL: Final = 0.66


def draw(plan: MemoryPlan) -> ReportFigure:
    """Stacked memory on the left; on the right, where a GPU is given, the largest batch."""
    with style():
        figure = sheet(sentence(plan), f"{model(plan)} · {setup(plan)} · computed from the config, not measured")
        drawn = contexts(plan, _POINTS)
        curve = batches(plan, drawn)
        left = figure.add_axes((0.075, _BOTTOM, 0.40 if curve else 0.86, _TALL))
        _memory(left, plan, drawn)
        seen = {part.label: part.colour.light for part in parts(plan)}
        legend(figure, [(label, colour, False) for label, colour in seen.items()], y=0.905)
        if curve:
            _batches(figure.add_axes((0.565, _BOTTOM, 0.40, _TALL)), plan, curve)
    return figure


def _memory(axes: Axes, plan: MemoryPlan, drawn: Sequence[int]) -> None:
    """What the plan's batch takes, from short contexts to long ones, and where the GPU is full."""
    most = plan.gpu.memory_bytes if plan.gpu else None
    columns = [[part.size / _GIB for part in parts(plan.changed(context=context))] for context in drawn]
    axes.stackplot(drawn, np.array(columns).T, colors=[part.colour.light for part in parts(plan)])
    if most is not None:
        axes.axhline(most / _GIB, color=palette.ERROR.light, linewidth=1.4)
        said = f" {plan.gpu.name if plan.gpu else ''}: {memory(most)}"
        axes.text(drawn[0], most / _GIB * 1.012, said, va="bottom", fontsize=9, color=palette.ERROR.light)
        axes.set_ylim(0, 1.25 * most / _GIB)
    axes.axvline(plan.context, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(drawn[0], drawn[-1])
    axes.set_title(f"Memory at batch {count(plan.batch)}", loc="left", fontsize=10, color=SOFT)
    axes.set_ylabel("GiB of each GPU" if plan.request.tensor_parallel > 1 else "GiB")
    _contexts(axes)


def _batches(axes: Axes, plan: MemoryPlan, curve: Sequence[tuple[int, int]]) -> None:
    axes.plot(*zip(*curve, strict=True), color=palette.GPU.light, linewidth=2.2, drawstyle="steps-post")
    fits = plan.fits is not False
    axes.plot([plan.context], [plan.batch], "o", color=INK if fits else palette.ERROR.light, markersize=6)
    axes.set_yscale("log")
    axes.set_ylim(0.8, 2 * max(plan.batch, *(batch for _, batch in curve)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value)) if value >= 1 else ""))
    axes.grid(axis="y")
    said = f"Largest batch; the dot is batch {count(plan.batch)}" + ("" if fits else ", which does not fit")
    axes.set_title(said, loc="left", fontsize=10, color=SOFT)
    _contexts(axes)


def _contexts(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("tokens of context")
