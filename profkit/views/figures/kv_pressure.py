"""Who holds the cache under each policy, and what of their history tenants find there."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from profkit.analysis.kv_pressure import EVERYONE, Pressure
from profkit.views import palette
from profkit.views.figures.base import INK, SOFT, ReportFigure, legend, sheet, style
from profkit.views.format import count, plural, share
from profkit.views.kv_pressure import sentence

_LEFT: Final = 0.075
_WIDTH: Final = 0.905
_GAP: Final = 0.035
_NAMED: Final = 6
"""Tenants with a colour of their own; the others share one."""


def draw(found: Pressure) -> ReportFigure:
    """A column for each policy: tokens held over time by tenant, and hit shares below."""
    tenants = list(found.table.loc[found.table["tenant"] != EVERYONE, "tenant"].unique())
    colours = {tenant: palette.SERIES[min(at, _NAMED - 1)].light for at, tenant in enumerate(tenants)}
    with style():
        caption = f"{plural(found.capacity, 'token')} of cache · simulated, not measured"
        figure = sheet(sentence(found), caption)
        legend(figure, [(tenant, colours[tenant], False) for tenant in tenants[:_NAMED]], y=0.885)
        wide = (_WIDTH - _GAP * (len(found.policies) - 1)) / len(found.policies)
        for at, policy in enumerate(found.policies):
            left = _LEFT + at * (wide + _GAP)
            top, low = figure.add_axes((left, 0.44, wide, 0.35)), figure.add_axes((left, 0.145, wide, 0.18))
            _held(top, found, policy, tenants, colours)
            _shares(low, found.table[found.table["policy"] == policy], tenants, colours)
            top.set_title(policy, loc="left", fontsize=10, color=SOFT)
            if at:
                top.tick_params(labelleft=False)
                low.tick_params(labelleft=False)
            else:
                top.set_ylabel("tokens held")
    return figure


def _held(axes: Axes, found: Pressure, policy: str, tenants: list[str], colours: dict[str, str]) -> None:
    rows = found.held[found.held["policy"] == policy]
    wide = rows.pivot_table(index="time_s", columns="tenant", values="tokens", aggfunc="last").reindex(columns=tenants)
    layers = wide.ffill().fillna(0).to_numpy(float).T
    axes.stackplot(wide.index.to_numpy(float), layers, colors=[colours[t] for t in tenants], step="post")
    axes.axhline(found.capacity, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 1.08 * found.capacity)
    axes.set_xlim(0, max(float(found.held["time_s"].max()), 1e-9) if len(found.held) else 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("time (s)")


def _shares(axes: Axes, rows: pd.DataFrame, tenants: list[str], colours: dict[str, str]) -> None:
    rows = rows.set_index("tenant").loc[tenants]
    found = rows["hit_share"].astype(float).to_numpy()
    at = np.arange(len(tenants))
    axes.barh(at, np.nan_to_num(found), color=[colours[tenant] for tenant in tenants], height=0.7)
    for y, value, refused in zip(at.tolist(), found.tolist(), rows["refused"].tolist(), strict=True):
        said = share(value) + (f", {count(refused)} refused" if refused else "")
        inside = value > 0.6
        axes.text(
            value - 0.02 if inside else (value if value > 0 else 0.0) + 0.02,
            y,
            said,
            va="center",
            ha="right" if inside else "left",
            fontsize=8,
            color=palette.BACKGROUND.light if inside else INK,
        )
    axes.set_yticks(at, tenants)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_xlabel("of history found in the cache")
