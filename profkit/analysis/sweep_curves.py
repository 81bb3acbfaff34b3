"""What does a sweep show: its curves along batch, with floors, regimes, knees, SLOs and costs?

Figures, summary and widget of a sweep are drawn from one `SweepCurves`. The numbers are those of `curves.measured`, of
`slo.verdicts` and of the fits in `sweep_floor`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from profkit.analysis.curves import measured
from profkit.analysis.regime import Knee, RegimeFit, knee
from profkit.analysis.roofline import Roofline
from profkit.analysis.slo import Verdict, verdicts
from profkit.analysis.sweep import Status, SweepData, SweepMeta, SweepPhase, is_number, x_axis
from profkit.analysis.sweep_floor import SweepFloors, SweepRegimes, sweep_floors, sweep_regimes, sweep_roofline


@dataclass(frozen=True)
class PhaseTimes:
    """One phase of a point. Times in ns; None was not measured."""

    median_ns: float
    p10_ns: float | None
    p90_ns: float | None
    samples: int
    tokens_per_s: float | None
    floor_ns: float | None
    regime: str | None
    fitted_ns: float | None  # by the fit of the regimes


@dataclass(frozen=True)
class CurvePoint:
    """One point of the grid."""

    point: int
    x: float
    label: str  # all axes: "batch 32, context 512"
    values: tuple[str, ...]  # of the axes, in their order: "32", "512"
    status: str
    message: str | None
    marks: str  # what to know before one trusts its numbers
    doubtful: bool  # the GPU was throttled, or times drifted
    phases: Mapping[str, PhaseTimes]
    joules_per_token: float | None
    cost_per_mtok: float | None
    energy_reason: str | None


@dataclass(frozen=True)
class Series:
    """The points that differ in x only, in its order."""

    label: str  # of the other axes: "context 512"; "" where there are none
    points: tuple[CurvePoint, ...]

    def measured(self, phase: str) -> list[tuple[CurvePoint, PhaseTimes]]:
        """The points that have times of a phase."""
        return [(point, point.phases[phase]) for point in self.points if phase in point.phases]


@dataclass(frozen=True)
class SweepCurves:
    """All that the views of a sweep show."""

    meta: SweepMeta
    axis: str  # along x
    series: tuple[Series, ...]
    throughput: str  # the phase whose tokens/s are drawn: decode, or the whole run where there is none
    knees: Mapping[str, Knee]  # by label of the series
    verdicts: tuple[tuple[str, Verdict], ...]  # label of the series, what meets the SLOs in it
    floors: SweepFloors
    fits: Mapping[str, RegimeFit]  # by phase
    roofline: Roofline | None

    def phases(self) -> list[str]:
        """Those that any point has, in order."""
        return [str(p) for p in SweepPhase if any(s.measured(p) for s in self.series)]

    def all_points(self) -> list[CurvePoint]:
        """Every point of every series."""
        return [point for series in self.series for point in series.points]


def sweep_curves(data: SweepData) -> SweepCurves:
    """The curves of a sweep: every number that its views show."""
    meta = data.meta
    axis = x_axis(meta)
    others = [name for name in meta.axes if name != axis]
    table = measured(data)
    points = {int(row["point"]): row for row in data.points.to_pylist()}
    labels = {number: _label(meta.axes, row) for number, row in points.items()}
    table["label"] = [labels[number] for number in table["point"]]
    floors = sweep_floors(data)
    regimes = sweep_regimes(floors, table)
    phases: dict[int, dict[str, PhaseTimes]] = {number: {} for number in points}
    costs: dict[int, dict[str, Any]] = {}
    for row in cast("list[dict[str, Any]]", table.to_dict("records")):
        number, phase = int(row["point"]), str(row["phase"])
        if phase == SweepPhase.TOTAL:
            costs[number] = row
        if _known(row["median_ns"]) is not None:
            phases[number][phase] = _times(row, floors, regimes)
    grouped: dict[str, list[CurvePoint]] = {}
    for number, row in points.items():
        point = _point(row, meta, _x(row, axis), labels[number], phases[number], costs.get(number, {}))
        grouped.setdefault(_label(others, row), []).append(point)
    series = tuple(Series(key, tuple(sorted(group, key=lambda p: p.x))) for key, group in grouped.items())
    has_decode = any(s.measured(SweepPhase.DECODE) for s in series)
    throughput = str(SweepPhase.DECODE if has_decode else SweepPhase.TOTAL)
    return SweepCurves(
        meta=meta,
        axis=axis or "point",
        series=series,
        throughput=throughput,
        knees={s.label: _knee(s, throughput) for s in series},
        verdicts=tuple((_label(others, verdict.where), verdict) for verdict in verdicts(data, table)),
        floors=floors,
        fits=regimes.fits,
        roofline=sweep_roofline(floors, table),
    )


def _times(row: dict[str, Any], floors: SweepFloors, regimes: SweepRegimes) -> PhaseTimes:
    number, phase = int(row["point"]), str(row["phase"])
    floor = floors.floors.get((number, phase))
    return PhaseTimes(
        median_ns=float(row["median_ns"]),
        p10_ns=_known(row["p10_ns"]),
        p90_ns=_known(row["p90_ns"]),
        samples=int(row["samples"]),
        tokens_per_s=_known(row["tokens_per_s"]),
        floor_ns=float(floor.ns) if floor else None,
        regime=regimes.of(number, phase),
        fitted_ns=_known(regimes.fitted_ns(number, phase)),
    )


def _point(
    row: dict[str, Any], meta: SweepMeta, x: float, label: str, phases: dict[str, PhaseTimes], cost: dict[str, Any]
) -> CurvePoint:
    return CurvePoint(
        point=int(row["point"]),
        x=x,
        label=label,
        values=tuple(_plain(row[name]) for name in meta.axes),
        status=str(row["status"]),
        message=row["message"],
        marks=str(cost.get("marks") or ""),
        doubtful=bool(row["throttling"] or row["drift"]),
        phases=phases,
        joules_per_token=_known(cost.get("joules_per_token")),
        cost_per_mtok=_known(cost.get("cost_per_mtok")),
        energy_reason=row["energy_reason"],
    )


def _x(row: dict[str, Any], axis: str | None) -> float:
    """A point's place along x; its number where no axis holds numbers."""
    return float(row[axis or "point"])


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of (time, throughput) no other beats in both: their places, in order of time."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _knee(series: Series, phase: str) -> Knee:
    known = [(p, t) for p, t in series.measured(phase) if t.tokens_per_s and p.x > 0 and p.status == Status.OK]
    distinct = [next(group) for _, group in itertools.groupby(known, key=lambda pair: pair[0].x)]
    return knee(
        [p.x for p, _ in distinct], [t.tokens_per_s or 0.0 for _, t in distinct], [t.regime for _, t in distinct]
    )


def _label(names: Iterable[str], values: Any) -> str:
    """``batch 32, context 512``: values by the names of their axes."""
    parts = []
    for name in names:
        parts.append(f"{name} {_plain(values[name])}")
    return ", ".join(parts)


def _plain(value: Any) -> str:
    return f"{value:g}" if is_number(value) and abs(value) < 1e6 else str(value)


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) or not math.isfinite(value) else float(value)
