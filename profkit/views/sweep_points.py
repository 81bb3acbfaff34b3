"""What does the table of a sweep hold, in words for people: a row for each point, in summary and widget alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profkit.analysis.sweep import Status, SweepPhase
from profkit.analysis.sweep_curves import CurvePoint, PhaseTimes, SweepCurves
from profkit.views.format import clean, count, duration, number

_PREFILL, _DECODE, _TOTAL = map(str, (SweepPhase.PREFILL, SweepPhase.DECODE, SweepPhase.TOTAL))


@dataclass(frozen=True)
class PointTable:
    """Cells as text, "" where a point has no such number; columns that no point fills are left out."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str]  # heads of columns that hold words, not numbers


def point_table(sweeps: Sequence[SweepCurves]) -> PointTable:
    """The points of one sweep, or of two with a column that names it. Bands, floors and tokens are those of decode."""
    columns: dict[str, Callable[[SweepCurves, CurvePoint], str]] = {
        "TTFT": lambda sweep, point: _time(point, _PREFILL),
        "TPOT": lambda sweep, point: _time(point, _DECODE),
        "p10 to p90": lambda sweep, point: _band(point.phases.get(sweep.throughput)),
        "n": lambda sweep, point: count(t.samples) if (t := point.phases.get(sweep.throughput)) else "",
        "floor": lambda sweep, point: duration(t.floor_ns) if (t := point.phases.get(_DECODE)) and t.floor_ns else "",
        "bound by": lambda sweep, point: _regime(point.phases.get(_DECODE)),
        "tokens/s": lambda sweep, point: _rate(point.phases.get(sweep.throughput)),
        "whole run": lambda sweep, point: _time(point, _TOTAL),
        "J/token": lambda sweep, point: number(point.joules_per_token) if point.joules_per_token else "",
        "$/M tokens": lambda sweep, point: number(point.cost_per_mtok) if point.cost_per_mtok else "",
        "notes": _notes,
    }
    axes = [clean(axis) for axis in sweeps[0].meta.axes]
    own = ["sweep"] if len(sweeps) > 1 else []
    head = (*own, *axes, *columns)
    cells = [
        [
            *([clean(sweep.meta.name)] if own else []),
            *_places(point, len(axes)),
            *(cell(sweep, point) for cell in columns.values()),
        ]
        for sweep, point in _points(sweeps)
    ]
    filled = [at for at in range(len(head)) if any(row[at] for row in cells)]
    return PointTable(
        head=tuple(head[at] for at in filled),
        rows=tuple(tuple(row[at] for at in filled) for row in cells),
        words=frozenset({"sweep", "bound by", "notes"}),
    )


def _places(point: CurvePoint, count_of: int) -> list[str]:
    """The values of the first sweep's axes; a second sweep may have others."""
    return [clean(value) for value in (*point.values, *[""] * count_of)[:count_of]]


def _points(sweeps: Sequence[SweepCurves]) -> Iterator[tuple[SweepCurves, CurvePoint]]:
    for sweep in sweeps:
        for series in sweep.series:
            for point in series.points:
                yield sweep, point


def _time(point: CurvePoint, phase: str) -> str:
    times = point.phases.get(phase)
    return duration(times.median_ns) if times else ""


def _band(times: PhaseTimes | None) -> str:
    if times is None or times.p10_ns is None or times.p90_ns is None:
        return ""
    return f"{duration(times.p10_ns)} to {duration(times.p90_ns)}"


def _regime(times: PhaseTimes | None) -> str:
    return times.regime.removesuffix("-bound") if times and times.regime else ""


def _rate(times: PhaseTimes | None) -> str:
    return number(times.tokens_per_s) if times and times.tokens_per_s else ""


def _notes(sweep: SweepCurves, point: CurvePoint) -> str:
    """What to know of a point; that it is a knee, too."""
    at_knee = any(sweep.knees[s.label].batch == point.x for s in sweep.series if point in s.points)
    knee = ["the knee"] if at_knee and point.status == Status.OK else []
    return "; ".join([*knee, *filter(None, [clean(point.marks)])])
