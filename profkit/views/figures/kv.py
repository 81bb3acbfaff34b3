"""How did the KV cache grow: by kind of layer, against the memory held for it and the GPU's."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from profkit.analysis.kv import KIND, KVGrowth, kv_curve, kv_growth
from profkit.record import Phase, Record
from profkit.views import palette
from profkit.views.figures.base import INK, SOFT, ReportFigure, canvas, label_ends, legend, style
from profkit.views.format import memory, size
from profkit.views.kv_words import headline

Floats = npt.NDArray[np.float64]

_GENERATIONS: Final = 12
"""More generations than this have no line each."""
_SHADE: Final = "#ccd3dc"  # the phase's colour, pale enough to read a curve on it


def lacks(record: Record) -> str | None:
    """What the record is short of."""
    if not len(record.kv):
        why = record.meta.not_measured.get("kv", "no KV cache was read")
        return f"the record holds no sizes of a KV cache: {why}"
    return None


def draw(record: Record) -> ReportFigure:
    """The cache, and below, where there is a GPU, all of its memory."""
    growth = kv_growth(record)
    assert growth is not None
    curve = kv_curve(record)
    on_gpu = curve["allocated"].notna().any()
    with style():
        figure = canvas(headline(growth), record)
        top = figure.add_axes((0.08, 0.45 if on_gpu else 0.14, 0.7, 0.37 if on_gpu else 0.68))
        kinds = _cache(top, curve)
        _marks(top, curve)
        if on_gpu:
            bottom = figure.add_axes((0.08, 0.14, 0.7, 0.25), sharex=top)
            _gpu(bottom, curve, growth)
            top.tick_params(labelbottom=False)
        lowest = bottom if on_gpu else top
        lowest.set_xlabel("step" if (curve["step"] >= 0).all() else "call of the model")
        lowest.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        lowest.set_xlim(0.5, len(curve) + 0.5)
        entries = [(kind, palette.kv(kind).light, False) for kind in kinds]
        if (curve["phase"] == str(Phase.PREFILL)).any():
            entries.append(("prefill", _SHADE, False))
        legend(figure, entries, y=0.88)
    return figure


def _cache(axes: Axes, curve: pd.DataFrame) -> list[str]:
    """Tokens' bytes stacked by kind of layer, and what is held for them."""
    kinds = [name.removeprefix(KIND) for name in curve.columns if name.startswith(KIND)]
    parts = {kind: _values(curve[f"{KIND}{kind}"]) for kind in kinds}
    lines = {name: _values(curve[f"{name}_bytes"]) for name in ("capacity", "storage")}
    stacked: Floats = np.sum([np.nan_to_num(values) for values in parts.values()], axis=0)
    factor, unit = _unit(max(_top(values) for values in (stacked, *lines.values())))
    edges = np.arange(len(curve) + 1) + 0.5
    low: Floats = np.zeros(len(curve))
    for kind, values in parts.items():
        high = low + np.nan_to_num(values) / factor
        axes.stairs(high, edges, baseline=low, fill=True, color=palette.kv(kind).light, linewidth=0)
        low = high
    ends = [(float(low[-1]), f"tokens {size(low[-1] * factor)}", SOFT)] if low.any() else []
    drawn = low
    for name, dash, label in (("capacity", (0, (3, 2)), "room for"), ("storage", "-", "held")):
        values = lines[name] / factor
        if np.isfinite(values).any() and not np.allclose(values, drawn, equal_nan=True):
            axes.stairs(values, edges, baseline=None, color=INK, linewidth=1.3, linestyle=dash)
            last = float(values[np.isfinite(values)][-1])
            ends.append((last, f"{label} {size(last * factor)}", INK))
            drawn = values
    axes.set_ylim(0, 1.15 * max(_top(low), *(_top(values) / factor for values in lines.values())) or 1)
    axes.set_ylabel(f"KV cache ({unit})")
    axes.grid(axis="y")
    label_ends(axes, ends)
    return kinds


def _marks(axes: Axes, curve: pd.DataFrame) -> None:
    """Prefills shaded, and a line where a generation begins."""
    for at in np.flatnonzero((curve["phase"] == str(Phase.PREFILL)).to_numpy()):
        axes.axvspan(at + 0.5, at + 1.5, color=_SHADE, linewidth=0, zorder=0)
    known = curve["generation"].dropna()
    begins = known.index[known.diff().fillna(1).to_numpy() != 0]
    if 1 < len(begins) <= _GENERATIONS:
        for number, at in enumerate(begins, 1):
            axes.axvline(at + 0.5, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
            axes.text(
                at + 0.5, 0.985, f" generation {number}", transform=axes.get_xaxis_transform(), va="top", fontsize=7.5,
                color=SOFT,
            )  # fmt: skip


def _gpu(axes: Axes, curve: pd.DataFrame, growth: KVGrowth) -> None:
    """The allocator's curves, the cache's part of them, and the end of the memory."""
    allocated, reserved = _values(curve["allocated"]), _values(curve["reserved"])
    limit = growth.full.memory_bytes if growth.full is not None else None
    factor, unit = (2**30, "GiB") if max(_top(reserved), limit or 0) >= 2**30 else (2**20, "MiB")
    edges = np.arange(len(curve) + 1) + 0.5
    held = np.nan_to_num(_values(curve["storage_bytes"])) / factor
    base = np.nan_to_num(allocated) / factor - held
    axes.stairs(
        np.nan_to_num(allocated) / factor, edges, baseline=base, fill=True, color=palette.GPU.light, linewidth=0
    )
    axes.stairs(allocated / factor, edges, baseline=None, color=palette.GPU.light, linewidth=1.3)
    axes.stairs(reserved / factor, edges, baseline=None, color=palette.HOST.light, linewidth=1.3)
    ends = [
        (float(allocated[np.isfinite(allocated)][-1]) / factor, "allocated, its KV cache filled", palette.GPU.light),
        (float(reserved[np.isfinite(reserved)][-1]) / factor, "reserved", palette.HOST.light),
    ]
    top = _top(reserved) / factor
    if limit is not None:
        axes.axhline(limit / factor, color=palette.ERROR.light, linewidth=1.2, linestyle=(0, (4, 3)))
        ends.append((limit / factor, f"memory {memory(limit)}", palette.ERROR.light))
        top = max(top, limit / factor)
    axes.set_ylim(0, 1.1 * top)
    axes.set_ylabel(f"GPU ({unit})")
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y")
    label_ends(axes, ends)


def _values(column: pd.Series[float]) -> Floats:
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan), float)


def _top(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else 0.0


def _unit(largest: float) -> tuple[float, str]:
    """What to divide bytes by on an axis that ends there."""
    return next(unit for limit, unit in ((1e9, (1e9, "GB")), (1e6, (1e6, "MB")), (0, (1e3, "kB"))) if largest >= limit)
