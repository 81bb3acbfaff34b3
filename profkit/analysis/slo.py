"""Which points of a sweep meet its service-level objectives, and by how much does the best one miss?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from profkit.analysis.curves import measured
from profkit.analysis.sweep import SLOS, Status, SweepData, x_axis


@dataclass(frozen=True)
class Miss:
    """The objective that a point misses by most, or that it comes closest to missing."""

    slo: str
    median_ns: float
    limit_ns: int

    @property
    def ratio(self) -> float:
        """Measured / allowed: above 1 it is missed."""
        return self.median_ns / self.limit_ns


@dataclass(frozen=True)
class Verdict:
    """The answer along one axis, the other axes' values held."""

    where: dict[str, Any]  # the other axes
    axis: str  # along which the largest value is sought: "batch", else the first that holds numbers
    largest: Any | None  # value of the largest point that meets every objective; None: none does
    at_largest: Miss | None
    best: Any | None  # where none does: value of the point that misses by least
    miss: Miss | None  # and its miss
    unknown: tuple[str, ...]  # objectives whose phase was not measured


def verdicts(data: SweepData, table: pd.DataFrame | None = None) -> list[Verdict]:
    """One for each combination of the other axes; [] without objectives or without an axis of numbers.

    A point meets an objective if its median does. A point that was not measured, or not in the phase of an
    objective, is not said to meet it. `table` is `curves.measured`, where it is at hand.
    """
    axis = x_axis(data.meta)
    limits = data.meta.slo_ns
    if axis is None or not limits:
        return []
    frame = measured(data) if table is None else table
    frame = frame[frame["status"] == Status.OK]
    others = [name for name in data.meta.axes if name != axis]
    groups = frame.groupby(others, sort=False, dropna=False) if others else [((), frame)]
    return [_verdict(axis, dict(zip(others, _tuple(key), strict=True)), group, limits) for key, group in groups]


def _tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _verdict(axis: str, where: dict[str, Any], group: pd.DataFrame, limits: dict[str, int]) -> Verdict:
    worst: dict[Any, Miss] = {}
    unknown: set[str] = set()
    for value, rows in group.groupby(axis, sort=True):
        medians = dict(zip(rows["phase"], rows["median_ns"], strict=True))
        missing = [name for name in limits if SLOS[name] not in medians]
        unknown.update(missing)
        if not missing:
            misses = [Miss(name, float(medians[SLOS[name]]), limit) for name, limit in limits.items()]
            worst[value] = max(misses, key=lambda miss: miss.ratio)
    meeting = [value for value, miss in worst.items() if miss.ratio <= 1]
    largest = max(meeting, default=None)
    best = min(worst, key=lambda value: worst[value].ratio) if worst and largest is None else None
    return Verdict(
        where,
        axis,
        largest,
        worst.get(largest),
        best,
        worst.get(best) if best is not None else None,
        tuple(sorted(unknown)),
    )
