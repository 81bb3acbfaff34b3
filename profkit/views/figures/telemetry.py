"""What did the GPU draw and do meanwhile: power, clock, activity and memory over the steps."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes

from profkit.analysis import telemetry
from profkit.analysis.idle import idle
from profkit.record import Metric, Phase, Record
from profkit.views import palette
from profkit.views.figures.base import ReportFigure, canvas, label_ends, legend, style, time_unit
from profkit.views.format import duration, power

TRACKS: Final[tuple[tuple[str, float, tuple[Metric, ...]], ...]] = (
    ("power (W)", 1.0, (Metric.POWER,)),
    ("clock (MHz)", 1.0, (Metric.SM_CLOCK,)),
    (
        "activity (%)",
        1.0,
        (Metric.GPU_UTILIZATION, Metric.SM_ACTIVE, Metric.TENSOR_ACTIVE, Metric.DRAM_ACTIVE),
    ),
    ("memory (GB)", 1e9, (Metric.MEMORY_USED,)),
)
"""Label with unit, what to divide by, metrics; tracks share the time axis."""
_BOTTOM, _TOP, _GAP = 0.14, 0.82, 0.035
_MARKED: Final = 40


def lacks(record: Record) -> str | None:
    """What the record is short of."""
    if not any(_drawable(record, _device(record))):
        missing = record.meta.not_measured
        why = missing.get("power") or missing.get("energy") or "no GPU was read, or the cell was too short"
        return f"the record holds no telemetry: {why}"
    return None


def draw(record: Record) -> ReportFigure:
    """One track for each unit that was read, of the GPU that worked most."""
    device = _device(record)
    tracks = [track for track, some in zip(TRACKS, _drawable(record, device), strict=True) if some]
    factor, unit = time_unit(record.meta.wall_ns)
    with style():
        figure = canvas(_title(record, device), record)
        height = (_TOP - _BOTTOM - _GAP * (len(tracks) - 1)) / len(tracks)
        first: Axes | None = None
        for at, (label, scale, metrics) in enumerate(tracks):
            bottom = _TOP - height - at * (height + _GAP)
            axes = figure.add_axes((0.08, bottom, 0.73, height), sharex=first)
            first = first or axes
            _track(axes, record, device, metrics, factor, scale)
            _shade(axes, record, factor)
            axes.set_ylabel(label)
            axes.tick_params(labelbottom=at == len(tracks) - 1)
        axes.set_xlim(0, record.meta.wall_ns / factor or 1)
        axes.set_xlabel(f"time ({unit})")
        phases = dict.fromkeys(record.steps["phase"].to_pylist())
        legend(figure, [(f"{name} step", _shade_colour(name), False) for name in phases], y=0.88)
    return figure


def _device(record: Record) -> int:
    """The GPU that worked most, else the first that was read."""
    found = idle(record)
    if found.busy_ns is not None:
        return found.device
    return int(pc.min(record.telemetry["device"]).as_py() or 0)


def _drawable(record: Record, device: int) -> list[bool]:
    """For each track whether it has a reading."""
    return [any(len(telemetry.series(record, metric, device)[0]) for metric in metrics) for *_, metrics in TRACKS]


def _title(record: Record, device: int) -> str:
    drawn = telemetry.power(record, device)
    if drawn is None:
        return f"What GPU {device} did over {duration(record.meta.wall_ns)}"
    mean = f"GPU {device} drew {power(drawn.mean_w)} on average, {power(drawn.max_w)} at most"
    return f"{mean}, over {duration(record.meta.wall_ns)}"


def _track(axes: Axes, record: Record, device: int, metrics: tuple[Metric, ...], factor: float, scale: float) -> None:
    ends = []
    top = 0.0
    for metric in metrics:
        times, values = telemetry.series(record, metric, device)
        if not len(times):
            continue
        values = values / scale
        colour = palette.METRICS[metric].light
        marker = "o" if len(times) <= _MARKED else ""
        axes.plot(times / factor, values, color=colour, linewidth=1.4, marker=marker, markersize=2.5)
        # The last reading of the block: later ones lie outside the picture.
        inside = np.flatnonzero(times <= record.meta.wall_ns)
        last = float(values[inside[-1] if len(inside) else -1])
        ends.append((last, metric.label, colour))
        top = max(top, float(values.max()))
    axes.set_ylim(0, 100 if metrics[0].unit == "%" else 1.15 * top or 1)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y")
    label_ends(axes, ends)


def _shade(axes: Axes, record: Record, factor: float) -> None:
    """The steps behind the curves."""
    steps = record.steps
    spans = zip(steps["phase"].to_pylist(), steps["start"].to_pylist(), steps["end"].to_pylist(), strict=True)
    by_phase: dict[str, list[tuple[float, float]]] = {}
    for phase, start, end in spans:
        by_phase.setdefault(phase, []).append((start / factor, (end - start) / factor))
    for phase, bars in by_phase.items():
        low, high = axes.get_ylim()
        axes.broken_barh(bars, (low, high - low), color=_shade_colour(phase), linewidth=0, zorder=0)


def _shade_colour(phase: str) -> str:
    return _SHADES.get(phase, palette.GRID.light)


_SHADES: Final = {str(Phase.PREFILL): "#ccd3dc", str(Phase.DECODE): "#edf0f4"}
"""The phases' colours, pale enough to read a curve on them."""
