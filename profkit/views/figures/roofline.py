"""How much of what the GPU allows does each piece of work reach? Points under the roof of a GPU."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from profkit.analysis.floor import at
from profkit.analysis.roofline import Roofline, RooflinePoint
from profkit.hardware.ceilings import Ceiling
from profkit.views import palette
from profkit.views.figures.base import INK, SOFT, drawable
from profkit.views.format import count, number

_MARKERS: Final = "osD^v"
_ROOM: Final = 2.0


def draw_roofline(axes: Axes, roof: Roofline) -> None:
    """The roof with its two ceilings named, and the points of each group in a colour of their own.

    Points of a group are joined in their order, and the first and the last of them are named.
    """
    groups = {name: list(members) for name, members in itertools.groupby(_sorted(roof), lambda point: point.group)}
    x = [point.intensity for point in roof.points]
    y = [point.achieved for point in roof.points]
    low = min([*x, roof.ridge]) / _ROOM
    high = max([*x, roof.ridge]) * _ROOM * 2
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    axes.set_ylim(min([*y, roof.roof(low)]) / _ROOM, roof.rate.value * _ROOM)
    intensities = np.array([low, roof.ridge, high])
    axes.plot(intensities, [roof.roof(value) for value in intensities], color=INK, linewidth=2)
    _name_ceilings(axes, roof, low, high)
    for place, (name, members) in enumerate(groups.items()):
        colour = palette.SERIES[place % len(palette.SERIES)].light
        marker = _MARKERS[place % len(_MARKERS)]
        axes.plot(
            [p.intensity for p in members],
            [p.achieved for p in members],
            marker,
            color=colour,
            markersize=6,
            alpha=0.85,
            label=drawable(name),
        )
        _name_ends(axes, members, colour)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.grid(which="major")
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value / 1e12)))
    axes.set_xlabel("FLOPs per byte that the work needs")
    axes.set_ylabel("TFLOP/s")


def _sorted(roof: Roofline) -> list[RooflinePoint]:
    names = list(dict.fromkeys(point.group for point in roof.points))
    return sorted(roof.points, key=lambda point: names.index(point.group))


def _name_ceilings(axes: Axes, roof: Roofline, low: float, high: float) -> None:
    axes.annotate(
        drawable(at(roof.rate).split(" (")[0] + _kind(roof.rate)),
        (high, roof.rate.value),
        (-4, 5),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color=SOFT,
    )
    slope_at = low * 1.15
    axes.annotate(
        drawable(at(roof.bandwidth).split(" (")[0] + _kind(roof.bandwidth)),
        (slope_at, roof.roof(slope_at)),
        (0, 8),
        textcoords="offset points",
        rotation=_slope(axes),
        rotation_mode="anchor",
        fontsize=8.5,
        color=SOFT,
    )


def _kind(ceiling: Ceiling) -> str:
    return " measured" if ceiling.measured else " by datasheet"


def _slope(axes: Axes) -> float:
    """Degrees at which a line of slope one rises on these logarithmic axes."""
    box = axes.get_window_extent()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    across, up = np.log10(right / left), np.log10(high / low)
    return float(np.degrees(np.arctan2(box.height / up, box.width / across)))


def _name_ends(axes: Axes, members: list[RooflinePoint], colour: str) -> None:
    ends = {id(point): point for point in (min(members, key=_x), max(members, key=_x))}
    for point in ends.values():
        axes.annotate(
            drawable(point.label),
            (point.intensity, point.achieved),
            (6, -10),
            textcoords="offset points",
            fontsize=8,
            color=colour,
        )


def _x(point: RooflinePoint) -> float:
    return point.intensity


def _plain(value: float) -> str:
    return count(round(value)) if value >= 1 else number(value).rstrip("0").rstrip(".")
