"""What did each point of a sweep have to do, how fast could the GPU do it at best, and what bounds it?

The work of a point is kept in the sweep as plain numbers, `meta.model["work"]`: one entry for a point and a phase, with
`ops`, each [name, FLOPs, bytes]. It is that of one step: all of a prefill, or the decode step in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

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
        table: of `curves.measured`.
    """
    fits: dict[str, RegimeFit] = {}
    points: dict[str, tuple[int, ...]] = {}
    limits = (floors.bandwidth, floors.rate)
    for phase in map(str, PHASES):
        rows = [row for row in _measured(table, "step_batch") if row["phase"] == phase]
        known = [(row, floors.work[row["point"], phase]) for row in rows if (row["point"], phase) in floors.work]
        if known:
            steps = [StepPoint(float(row["step_batch"]), *_total(ops), float(row["median_ns"])) for row, ops in known]
            fits[phase] = fit_regimes(steps, *(ceiling.value if ceiling else None for ceiling in limits))
            points[phase] = tuple(int(row["point"]) for row, _ in known)
    return SweepRegimes(fits, points)


def sweep_roofline(floors: SweepFloors, table: pd.DataFrame) -> Roofline | None:
    """Prefill and decode of each point under the GPU's roof; None where roof or work are not known.

    Args:
        floors: of the sweep.
        table: of `curves.measured`, with `label`: what a point is called.
    """
    if floors.bandwidth is None or floors.rate is None or not floors.work:
        return None
    rows = [(row, floors.work.get((row["point"], row["phase"]))) for row in _measured(table, "label")]
    found = [
        RooflinePoint(str(row["label"]), str(row["phase"]), *_total(ops), float(row["median_ns"]))
        for row, ops in rows
        if ops
    ]
    return roofline(found, floors.bandwidth, floors.rate)


def _measured(table: pd.DataFrame, known: str) -> list[dict[str, Any]]:
    """Rows with a time and with a value in the column `known`."""
    rows = table[table["median_ns"].notna() & table[known].notna()]
    return cast("list[dict[str, Any]]", rows.to_dict("records"))


def _total(ops: Sequence[OpWork]) -> tuple[float, float]:
    """FLOPs and bytes of all parts."""
    return sum(op.flops for op in ops), sum(op.bytes for op in ops)


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
