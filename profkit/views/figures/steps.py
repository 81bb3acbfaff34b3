"""How long did each step take, and what of it was work: prefill apart from decode, idle time by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from profkit.analysis.idle import Cause, idle_by_step
from profkit.analysis.steps import StepStats, step_stats, steps_frame, token_gaps
from profkit.record import Phase, Record
from profkit.views import palette
from profkit.views.figures.base import INK, SOFT, ReportFigure, canvas, fill, label_ends, style, time_unit
from profkit.views.format import duration, plural, share

MAX_POINTS: Final = 400
"""More steps than a page has room for are drawn as means of neighbours."""
_MARKED: Final = 64
"""Up to so many steps each has its dot."""
_THIN_LINE: Final = 1.6
_BARS: Final = 4
"""Up to so many are bars: a line needs more points to be one."""
_LINES: Final = (
    ("gap", "token gap", INK, 1.3),
    ("host_duration", "host in forward", palette.HOST.light, 3.0),
    ("device_duration", "GPU span in forward", palette.GPU.light, 1.3),
)
"""Column, label, colour, line width: host and GPU often lie on each other, and both must be seen."""


@dataclass(frozen=True)
class _Panel:
    """The steps of one phase: one column of the figure."""

    name: str
    steps: pd.DataFrame
    left: float
    width: float


def lacks(record: Record) -> str | None:
    """What the record is short of."""
    if not len(record.steps):
        why = record.meta.not_measured.get("steps", "no forward pass of a model was seen")
        return f"the record holds no steps: {why}"
    return None


def draw(record: Record) -> ReportFigure:
    """Times of each forward, and below, where the GPU was traced, its busy and idle time in it."""
    table = _table(record)
    traced = "busy_ns" in table
    stats = step_stats(record)
    with style():
        figure = canvas(_title(stats, table), record)
        panels = _panels(table)
        for panel in panels:
            last = panel is panels[-1]
            top = figure.add_axes((panel.left, 0.51 if traced else 0.14, panel.width, 0.34 if traced else 0.71))
            _times(top, panel, stats, label=last)
            top.set_title(panel.name, loc="left", fontsize=10, color=SOFT)
            if traced:
                bottom = figure.add_axes((panel.left, 0.14, panel.width, 0.29), sharex=top)
                _parts(bottom, panel, label=last)
                top.tick_params(labelbottom=False)
            lowest = bottom if traced else top
            lowest.set_xlabel(_x_label(panel))
            few = len(panel.steps) <= _BARS
            ticks = FixedLocator(range(1, len(panel.steps) + 1)) if few else MaxNLocator(8, integer=True)
            lowest.xaxis.set_major_locator(ticks)
    return figure


def _table(record: Record) -> pd.DataFrame:
    """One row per step, with the gap to the token before it, and with its idle time where there is any."""
    table = steps_frame(record).copy()
    table["gap"] = token_gaps(table)
    by_step = idle_by_step(record)
    return table if by_step.empty else table.join(by_step.drop(columns="step"))


def _title(stats: StepStats | None, table: pd.DataFrame) -> str:
    if stats is None or stats.token_gap is None or stats.token_gap.p50_ns is None:
        return f"How long the {plural(len(table), 'step')} took"
    gap = stats.token_gap
    found = f"From token to token {duration(gap.p50_ns)} (median of {plural(gap.samples, 'gap')})"
    decode = table[table["phase"] == str(Phase.DECODE)]
    if "busy_ns" not in table or decode.empty:
        return found
    part = decode["busy_ns"].sum() / (decode["end"] - decode["start"]).sum()
    return f"{found}; the GPU works {share(float(part))} of a decode step"


def _panels(table: pd.DataFrame) -> list[_Panel]:
    """Prefill in a narrow column of its own scale, decode beside it; one phase alone has all the room."""
    phases = [
        (str(phase), table[table["phase"] == str(phase)])
        for phase in (Phase.PREFILL, Phase.DECODE)
        if (table["phase"] == str(phase)).any()
    ]
    if len(phases) == 1:
        return [_Panel(*phases[0], left=0.07, width=0.73)]
    return [_Panel(*phases[0], left=0.07, width=0.11), _Panel(*phases[1], left=0.245, width=0.555)]


def _x_label(panel: _Panel) -> str:
    each = _group(len(panel.steps))
    means = f" (means of {each})" if each > 1 else ""
    return f"{panel.name} step{means}"


def _group(steps: int) -> int:
    """How many neighbours one point of the figure stands for."""
    return -(-steps // MAX_POINTS)


def _thin(values: pd.Series[float]) -> npt.NDArray[np.float64]:
    """Means of neighbours; NaN where one of them is absent."""
    full = values.to_numpy(dtype=float, na_value=np.nan)
    each = _group(len(full))
    starts = np.arange(0, len(full), each)
    return np.asarray(np.add.reduceat(full, starts) / np.diff(np.append(starts, len(full))), float)


def _times(axes: Axes, panel: _Panel, stats: StepStats | None, label: bool) -> None:
    drawn = [(text, colour, width, _thin(panel.steps[column])) for column, text, colour, width in _LINES]
    drawn = [line for line in drawn if np.isfinite(line[3]).any()]
    factor, unit = time_unit(max(float(np.nanmax(values)) for *_, values in drawn))
    each = _group(len(panel.steps))
    at = 1 + each * np.arange(len(drawn[0][3])) + (each - 1) / 2
    marker = "o" if len(at) <= _MARKED else ""
    for i, (_, colour, usual, values) in enumerate(drawn):
        width = usual if marker else min(usual, _THIN_LINE)
        if len(at) <= _BARS:
            wide = 0.8 / len(drawn)
            axes.bar(at - 0.4 + wide * (i + 0.5), values / factor, width=wide, color=colour)
        else:
            axes.plot(
                at,
                values / factor,
                color=colour,
                marker=marker,
                markersize=width + 1.5,
                linewidth=width if marker else min(width, _THIN_LINE),
            )
    axes.set_ylim(0, 1.12 * max(float(np.nanmax(values)) for *_, values in drawn) / factor or 1)
    axes.set_xlim(0.5, len(panel.steps) + 0.5)
    axes.set_ylabel(f"time ({unit})")
    axes.grid(axis="y")
    ends = [(float(values[np.isfinite(values)][-1]) / factor, text, colour) for text, colour, _, values in drawn]
    gap = stats.token_gap if stats else None
    if panel.name == Phase.DECODE and gap is not None and gap.p50_ns is not None:
        median = gap.p50_ns / factor
        axes.axhline(median, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        ends.append((median, f"median gap {duration(gap.p50_ns)}", INK))
    if label:
        label_ends(axes, ends)


def _parts(axes: Axes, panel: _Panel, label: bool) -> None:
    """Each step's time on the GPU, stacked: busy, then idle by cause."""
    steps = panel.steps
    parts = [("busy_ns", "busy", palette.GPU.light, False)]
    parts += [(f"{cause}_ns", palette.IDLE_LABELS[cause], palette.IDLE[cause].light, True) for cause in Cause]
    parts = [part for part in parts if part[0] in steps and steps[part[0]].sum() > 0]
    whole = float((steps["end"] - steps["start"]).sum())
    factor, unit = time_unit(float((steps["end"] - steps["start"]).max()))
    each = _group(len(steps))
    low: npt.NDArray[np.float64] = np.zeros(-(-len(steps) // each))
    edges = np.append(np.arange(0, len(steps), each), len(steps)) + 0.5
    ends = []
    for column, text, colour, idle in parts:
        high = low + _thin(steps[column]) / factor
        axes.stairs(high, edges, baseline=low, fill=True, **fill(colour, idle))
        part = float(steps[column].sum()) / whole
        ends.append((float(low[-1] + high[-1]) / 2, f"{text} {share(part)}", colour))
        low = high
    axes.set_ylim(0, 1.12 * float(low.max()) or 1)
    axes.set_ylabel(f"GPU ({unit})")
    if label:
        label_ends(axes, ends)
