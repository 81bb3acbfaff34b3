"""How do time, throughput, energy and cost of a sweep move along its axes: one row per point and phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from profkit.analysis.bootstrap import median_interval
from profkit.analysis.steps import SAMPLES_FOR
from profkit.analysis.sweep import TABLE, Status, SweepData, SweepPhase
from profkit.analysis.sweep_floor import sweep_floors, sweep_regimes

_PRECISION: Final = 0.02
_PHASES: Final = [str(phase) for phase in SweepPhase]


def table(data: SweepData) -> pd.DataFrame:
    """The axes and the columns of `sweep.TABLE`; a point that was not measured has one row, phase "total".

    Units: times ns, `floor_ns` that of one prefill or decode step; `tokens_per_s` prompt tokens read (prefill), new
    tokens (decode, total), over the batch; `energy_j` of one run and `joules_per_token` of its new tokens in the rows
    "total" only, for the counter cannot be divided between phases; `cost_per_mtok` dollars per million of the tokens
    that `tokens_per_s` counts.
    """
    frame = curves(data)
    return frame[[*data.meta.axes, *TABLE]]


def curves(data: SweepData) -> pd.DataFrame:
    """`table` and what views draw beside it.

    Further columns: point, status; low_ns and high_ns (95 % interval of the median, block bootstrap over runs), min_ns,
    max_ns; repetitions; step_batch, query_tokens, context_tokens (medians, per step); joules_per_request;
    carbon_g_per_mtok.
    """
    frame = measured(data)
    floors = sweep_floors(data)
    regimes = sweep_regimes(floors, frame)
    keys = list(zip(frame["point"], frame["phase"], strict=True))
    frame["floor_ns"] = [floors.floors[key].ns if key in floors.floors else None for key in keys]
    frame["regime"] = [regimes.of(*key) for key in keys]
    return frame


def measured(data: SweepData) -> pd.DataFrame:
    """`curves` but for floors and regimes, which are reckoned from it."""
    samples = data.samples.to_pandas()
    numbers = {name: samples[name].to_numpy(float, na_value=np.nan) for name in _NUMBERS}
    places = samples.groupby(["point", "phase"], observed=True).indices
    rows = []
    for point in data.points.to_pylist():
        found = {phase: places[point["point"], phase] for phase in _PHASES if (point["point"], phase) in places}
        if point["status"] != Status.OK or not found:
            rows.append(_row(data, point, str(SweepPhase.TOTAL), {}))
            continue
        for phase, at in found.items():
            spread = _spread(phase, {name: column[at] for name, column in numbers.items()})
            rows.append(_row(data, point, phase, spread))
    frame = pd.DataFrame(rows, columns=_columns(data))
    return frame.astype({"samples": "Int64", "repetitions": "Int64"})


def _columns(data: SweepData) -> list[str]:
    more = ("point", "status", "low_ns", "high_ns", "min_ns", "max_ns", "repetitions", *_PER_STEP)
    return [*data.meta.axes, *TABLE, *more, "joules_per_request", "carbon_g_per_mtok"]


_PER_STEP: Final = ("step_batch", "query_tokens", "context_tokens")


_NUMBERS: Final = ("repetition", "duration_ns", "tokens_out", *_PER_STEP)
"""Columns of the samples that are summed up. As floats they are exact up to 2^53 ns, which is 104 days."""


def _spread(phase: str, sample: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """One phase of one point, from the columns `_NUMBERS` of its samples; absent values are NaN."""
    times = sample["duration_ns"]
    order = np.argsort(sample["repetition"], kind="stable")
    ends = np.flatnonzero(np.diff(sample["repetition"][order])) + 1
    interval = median_interval(np.split(times[order], ends))
    reading = phase == SweepPhase.PREFILL
    tokens = sample["step_batch"] * sample["query_tokens"] if reading else sample["tokens_out"]
    counted = not np.isnan(tokens).any() and times.sum() > 0
    tails = len(times) >= SAMPLES_FOR[90]  # the lower tail needs as many as the upper
    return {
        "median_ns": float(np.median(times)),
        "low_ns": interval.low if interval else None,
        "high_ns": interval.high if interval else None,
        "p10_ns": float(np.percentile(times, 10)) if tails else None,
        "p90_ns": float(np.percentile(times, 90)) if tails else None,
        "min_ns": int(times.min()),
        "max_ns": int(times.max()),
        "samples": len(times),
        "tokens_per_s": float(tokens.sum() / (times.sum() / 1e9)) if counted else None,
        **{name: _median(sample[name]) for name in _PER_STEP},
    }


def _median(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _row(data: SweepData, point: Mapping[str, Any], phase: str, spread: dict[str, Any]) -> dict[str, Any]:
    meta = data.meta
    rate = spread.get("tokens_per_s")
    row = {
        **{axis: point[axis] for axis in meta.axes},
        **spread,
        "phase": phase,
        "point": point["point"],
        "status": point["status"],
        "repetitions": point["repetitions"],
        "marks": "; ".join(marks(data, point, spread)),
    }
    if rate and meta.price_per_gpu_hour is not None and meta.gpus:
        row["cost_per_mtok"] = meta.price_per_gpu_hour * meta.gpus / 3600 / rate * 1e6
    if phase == SweepPhase.TOTAL and pd.notna(point["energy_j"]):
        row["energy_j"] = joules = float(point["energy_j"])
        if pd.notna(point["tokens_out"]) and point["tokens_out"]:
            row["joules_per_token"] = joules / int(point["tokens_out"])
            if meta.carbon_g_per_kwh is not None:
                row["carbon_g_per_mtok"] = row["joules_per_token"] * 1e6 / 3.6e6 * meta.carbon_g_per_kwh
        if pd.notna(point["requests"]) and point["requests"]:
            row["joules_per_request"] = joules / int(point["requests"])
    return row


def marks(data: SweepData, point: Mapping[str, Any], spread: dict[str, Any]) -> list[str]:
    """What to know before one trusts a row."""
    if point["status"] != Status.OK:
        message = "" if pd.isna(point["message"]) else str(point["message"])
        return [f"{point['status']}: {message}" if message else str(point["status"])]
    found = []
    if isinstance(point["throttling"], str) and point["throttling"]:
        found.append(f"throttled: {point['throttling']}")
    if pd.notna(point["drift"]) and point["drift"]:
        found.append("drift: times rose or fell all along")
    if pd.notna(point["warm_up_stable"]) and not point["warm_up_stable"]:
        found.append(f"warm-up not settled after {int(point['warm_up_passes'])} passes")
    low, high, median = (spread.get(name) for name in ("low_ns", "high_ns", "median_ns"))
    if low is None or high is None:
        runs = int(point["repetitions"])
        found.append(f"{runs} {'run' if runs == 1 else 'runs'}: too few for an interval of the median")
    elif median and (high - low) / 2 / median > data.meta.options.get("precision", _PRECISION):
        found.append(f"median known to ± {100 * (high - low) / 2 / median:.2g} %")
    return found
