"""What does a sweep say in sentences: regimes, knees, SLOs, floors? Written once for figures, summary and widget."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from profkit.analysis.floor import at
from profkit.analysis.slo import Verdict
from profkit.analysis.sweep import SLOS, Status
from profkit.analysis.sweep_curves import CurvePoint, Series, SweepCurves
from profkit.analysis.sweep_floor import SweepFloors
from profkit.views.format import clean, cut, duration, share

_NAME_WIDTH: Final = 22


def names(sweeps: Sequence[SweepCurves]) -> list[str]:
    """One for each series of each sweep, in order: the sweep is named where there are two, and told apart by its id."""
    own = [clean(sweep.meta.name) for sweep in sweeps]
    if len(set(own)) < len(own):
        own = [f"{name} ({sweep.meta.id[:4]})" for name, sweep in zip(own, sweeps, strict=True)]
    found = []
    for name, sweep in zip(own, sweeps, strict=True):
        for series in sweep.series:
            parts = [name] if len(sweeps) > 1 or not series.label else []
            found.append(cut(", ".join([*parts, *filter(None, [clean(series.label)])]), _NAME_WIDTH))
    return found


def ceilings(floors: SweepFloors) -> str | None:
    """``4.20 TB/s and 780 TFLOP/s (measured on NVIDIA H200, 2026-11-24 20:00 UTC)``; None where one is unknown."""
    if floors.bandwidth is None or floors.rate is None:
        return None
    memory, rate = at(floors.bandwidth), at(floors.rate)
    source = f" ({floors.bandwidth.source})"
    return f"{memory.removesuffix(source)} and {rate}" if rate.endswith(source) else f"{memory} and {rate}"


def floor(sweep: SweepCurves) -> str:
    """What the floors stand on, or why there are none."""
    if sweep.floors.floors:
        return f"floor at {ceilings(sweep.floors)}"
    return f"no floor: {sweep.floors.reason}"


def regimes(sweep: SweepCurves, series: Series, phase: str) -> str | None:
    """``launch-bound up to batch 64, bandwidth-bound from batch 128 on``; None where nothing is claimed."""
    known = [(point.x, times.regime) for point, times in series.measured(phase)]
    claimed = [pair for pair in known if pair[1] is not None]
    runs = [(regime, [x for x, _ in group]) for regime, group in itertools.groupby(claimed, key=lambda pair: pair[1])]
    if len(runs) == 1 and len(claimed) == len(known):
        return f"{runs[0][0]} at every {sweep.axis}"
    parts = []
    for place, (regime, at_x) in enumerate(runs):
        first, last = f"{at_x[0]:g}", f"{at_x[-1]:g}"
        if place == 0 and len(runs) > 1:
            where = f"up to {sweep.axis} {last}"
        elif place == len(runs) - 1 and place > 0:
            where = f"from {sweep.axis} {first} on"
        else:
            where = f"at {sweep.axis} {first}" + (f" to {last}" if last != first else "")
        parts.append(f"{regime} {where}")
    if not parts:
        return None
    between = [f"{x:g}" for x, regime in known if regime is None]
    if between:
        listed = " and ".join(filter(None, (", ".join(between[:-1]), between[-1])))
        parts.append(f"no single term at {sweep.axis} {listed}")
    return ", ".join(parts)


def failure(point: CurvePoint) -> str:
    """``out of memory at 141 GB, by plan 143 GB``, or what else ended a point, in one line."""
    message = clean(point.message or "")
    if point.status == Status.OUT_OF_MEMORY and message.startswith("at "):
        return f"{point.status} {message.split('. ')[0]}"  # the allocator's own words follow
    return f"{point.status}: {message}" if message else point.status


def regime_of_all(sweep: SweepCurves, phase: str) -> str:
    """The regimes of a phase over all series in one line, or why none is claimed."""
    said = {series.label: regimes(sweep, series, phase) for series in sweep.series if series.measured(phase)}
    fit = sweep.fits.get(phase)
    if not any(said.values()):
        reason = fit.reason if fit is not None else sweep.floors.reason
        return f"{phase}: no regime claimed: {reason}" if reason else ""
    if len(set(said.values())) == 1:
        return f"{phase} is {next(iter(said.values()))}"
    by_words: dict[str, list[str]] = {}
    for label, words in said.items():
        by_words.setdefault(words or "no regime claimed", []).append(label)
    return f"{phase}, " + "; ".join(f"{' and '.join(labels)}: {words}" for words, labels in by_words.items())


def verdict(answer: Verdict) -> str:
    """``batch 64 is the largest that meets tpot ≤ 30.0 ms``, or by how much the best one misses."""
    unknown = f"; {', '.join(answer.unknown)} not measured" if answer.unknown else ""
    if answer.largest is not None and answer.at_largest is not None:
        met = answer.at_largest
        return (
            f"{answer.axis} {answer.largest:g} is the largest that meets the SLOs "
            f"({met.slo} {duration(met.median_ns)} of {duration(met.limit_ns)}){unknown}"
        )
    if answer.miss is None:
        return f"no {answer.axis} is known to meet the SLOs{unknown}"
    miss = answer.miss
    return (
        f"no {answer.axis} meets the SLOs: the best, {answer.axis} {answer.best:g}, misses {miss.slo} by "
        f"{share(miss.ratio - 1)} ({duration(miss.median_ns)} instead of {duration(miss.limit_ns)}){unknown}"
    )


def limits(sweep: SweepCurves) -> str:
    """``tpot ≤ 30.0 ms, ttft ≤ 500 ms``; "" without SLOs."""
    return ", ".join(f"{name} ≤ {duration(ns)}" for name, ns in sweep.meta.slo_ns.items() if name in SLOS)
