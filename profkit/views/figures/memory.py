"""What filled the GPU's memory, over time and at its peak."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from profkit.analysis.memory import FRAGMENTATION, MemoryPeak, memory_curve, memory_peak
from profkit.record import Record
from profkit.views import palette
from profkit.views.figures.base import INK, SOFT, ReportFigure, canvas, drawable, fill, label_ends, style, time_unit
from profkit.views.format import cut, duration, size
from profkit.views.memory_words import headline, label

_NOTE: Final = 150
"""Letters that one line holds."""


def lacks(record: Record) -> str | None:
    """What the record is short of."""
    if not len(record.memory):
        why = record.meta.not_measured.get("memory", "record it with --memory (memory=True)")
        return f"the record holds no history of the allocator: {why}"
    return None


def draw(record: Record) -> ReportFigure:
    """Categories stacked over time, of the GPU that held most; the peak is marked."""
    peak = memory_peak(record)
    assert peak is not None
    curve = memory_curve(record, peak.device)
    with style():
        figure = canvas(headline(peak), record)
        axes = figure.add_axes((0.08, 0.2, 0.64, 0.62))
        _stacked(axes, curve, peak, record.meta.wall_ns)
        note = "Sizes at the right: at the peak."
        if peak.stack is not None:
            note = cut(f"{note} It was made in {peak.stack}", _NOTE)
        figure.text(0.08, 0.075, drawable(note), fontsize=7.5, color=SOFT, va="center")
    return figure


def _stacked(axes: Axes, curve: pd.DataFrame, peak: MemoryPeak, wall_ns: int) -> None:
    factor, unit = (1e9, "GB") if peak.reserved_bytes >= 1e9 else (1e6, "MB")
    end = max(wall_ns, int(curve["time"].iloc[-1]))
    divide, time = time_unit(end)
    edges = np.append(curve["time"].clip(lower=0).to_numpy(), end) / divide
    low = np.zeros(len(curve))
    ends = []
    for name, part in peak.categories.items():
        if not curve[name].any():
            continue
        high = low + curve[name].to_numpy() / factor
        colour, idle = palette.MEMORY[name].light, name == FRAGMENTATION
        axes.stairs(high, edges, baseline=low, fill=True, **fill(colour, idle))
        ends.append((float(low[-1] + high[-1]) / 2, f"{label(name)} {size(part)}", colour))
        low = high
    axes.axvline(peak.at_ns / divide, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    said = f" peak {size(peak.allocated_bytes)} after {duration(peak.at_ns)}"
    right = peak.at_ns > end / 2
    axes.text(
        peak.at_ns / divide,
        0.99,
        said + " " if right else said,
        transform=axes.get_xaxis_transform(),
        ha="right" if right else "left",
        va="top",
        fontsize=8,
    )
    axes.set_xlim(0, end / divide or 1)
    axes.set_ylim(0, 1.15 * float(low.max()) or 1)
    axes.set_xlabel(f"time ({time})")
    axes.set_ylabel(f"GPU {peak.device} ({unit})")
    axes.grid(axis="y")
    label_ends(axes, ends)
