"""What did each point of a sweep have to do, how fast could the GPU do it at best, and what bounds it?

The work of a point is kept in the sweep as plain numbers, `meta.model["work"]`: one entry for a point and a phase, with
`ops`, each [name, FLOPs, bytes]. It is that of one step: all of a prefill, or the decode step in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pandas as pd

from profkit.analysis.floor import OpWork, StepFloor, step_floor
from profkit.analysis.regime import RegimeFit, StepPoint, fit_regimes
from profkit.analysis.roofline import Roofline, RooflinePoint, roofline
from profkit.analysis.sweep import SweepData, SweepPhase
from profkit.hardware.ceilings import Ceiling, Ceilings, from_dict

PHASES: Final = (SweepPhase.PREFILL, SweepPhase.DECODE)
"""Those that have work of their own; a whole run is made of them."""

Key = tuple[int, str]
"""Number of a point, phase."""


@dataclass(frozen=True)
class SweepFloors:
    """Work and floors of the points for which both the model's shape and the ceilings are known."""

    work: Mapping[Key, tuple[OpWork, ...]]
    floors: Mapping[Key, StepFloor]
    bandwidth: Ceiling | None
    rate: Ceiling | None
    reason: str | None  # why there are no floors


@dataclass(frozen=True)
class SweepRegimes:
    """The fit of each phase, and the regimes that it claims."""

    fits: Mapping[str, RegimeFit]  # by phase
    points: Mapping[str, tuple[int, ...]]  # by phase: the points of the fit, in its order

    def of(self, point: int, phase: str) -> str | None:
        """The regime of a point; None where nothing is claimed."""
        numbers = self.points.get(phase, ())
        return self.fits[phase].regimes[numbers.index(point)] if point in numbers else None

    def fitted_ns(self, point: int, phase: str) -> float | None:
        """The time that the fit gives a point; None where there is no fit."""
        numbers = self.points.get(phase, ())
        return self.fits[phase].fitted_ns[numbers.index(point)] if point in numbers else None


def ceilings(data: SweepData) -> Ceilings | None:
    """The ceilings that the sweep was recorded with; None where it has none, or what it has are not any."""
    try:
        return from_dict(data.meta.ceilings) if data.meta.ceilings else None
    except msgspec.ValidationError:
        return None


def sweep_floors(data: SweepData) -> SweepFloors:
    """The floor of each point's prefill and decode step."""
    known = ceilings(data)
    bandwidth = known.bandwidth if known else None
    dtype = str(data.meta.model.get("dtype", ""))
    rate = known.rate(dtype) if known else None
    work = dict(_work(data.meta.model.get("work")))
    reason = None
    if bandwidth is None or rate is None or not work:
        reason = data.meta.not_measured.get("floor") or _lacking(bandwidth, rate, dtype)
        return SweepFloors(work, {}, bandwidth, rate, reason)
    floors = {key: step_floor(ops, bandwidth, rate) for key, ops in work.items()}
    return SweepFloors(work, floors, bandwidth, rate, None)


def sweep_regimes(floors: SweepFloors, table: pd.DataFrame) -> SweepRegimes:
    """The regimes of prefill and of decode, each fitted over all points that were measured.

    Args:
        floors: of the sweep.
        table: its rows by point and phase; the columns point, batch, phase and median_ns are read. `batch` is the
            axis along which steps grow.
    """
    fits, points = {}, {}
    bandwidth, rate = floors.bandwidth, floors.rate
    for phase in PHASES:
        rows = table[(table["phase"] == str(phase)) & table["median_ns"].notna()]
        known = [row for row in rows.itertuples() if (row.point, str(phase)) in floors.work]
        if not known:
            continue
        steps = [
            StepPoint(
                float(row.batch),
                sum(op.flops for op in floors.work[row.point, str(phase)]),
                sum(op.bytes for op in floors.work[row.point, str(phase)]),
                float(row.median_ns),
            )
            for row in known
        ]
        fits[str(phase)] = fit_regimes(steps, bandwidth and bandwidth.value, rate and rate.value)
        points[str(phase)] = tuple(int(row.point) for row in known)
    return SweepRegimes(fits, points)


def sweep_roofline(floors: SweepFloors, table: pd.DataFrame) -> Roofline | None:
    """Prefill and decode of each point under the GPU's roof; None where roof or work are not known.

    Args:
        floors: of the sweep.
        table: as for `sweep_regimes`, and `label`, what a point is called.
    """
    if floors.bandwidth is None or floors.rate is None or not floors.work:
        return None
    found = []
    for row in table[table["median_ns"].notna()].itertuples():
        ops = floors.work.get((row.point, row.phase))
        if ops:
            flops, moved = sum(op.flops for op in ops), sum(op.bytes for op in ops)
            found.append(RooflinePoint(str(row.label), str(row.phase), flops, moved, float(row.median_ns)))
    return roofline(found, floors.bandwidth, floors.rate)


def _work(entries: Any) -> Iterator[tuple[Key, tuple[OpWork, ...]]]:
    """What is well-formed of `meta.model["work"]`: a file may say anything."""
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"point": int(point), "phase": str(phase), "ops": [*ops]}:
                read = [OpWork(str(op[0]), float(op[1]), float(op[2])) for op in ops if _is_op(op)]
                if read and len(read) == len(ops):
                    yield (point, phase), tuple(read)


def _is_op(op: Any) -> bool:
    match op:
        case [str(), int() | float() as flops, int() | float() as moved]:
            return math.isfinite(flops) and math.isfinite(moved) and flops >= 0 and moved >= 0
    return False


def _lacking(bandwidth: Ceiling | None, rate: Ceiling | None, dtype: str) -> str:
    if bandwidth is None:
        return "the GPU's ceilings are not known: profkit.hardware.measure() finds them"
    if rate is None:
        return f"no ceiling is known for matrix products in {dtype or 'the model’s dtype'}"
    return "the model's shape is not known"
