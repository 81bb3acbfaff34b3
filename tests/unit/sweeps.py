"""Sweeps made by hand, with numbers that a reader can check.

`gpu_sweep()` is an 8B model in bf16 on an H200, batch 1, 8, 64, 512 × context 512, 4096. Three runs of each point
make 32 tokens a sequence, so 31 decode steps a run:

    decode step   6 ms at batch 1; + 10 µs a sequence, + 1 µs a sequence for each 1,000 tokens of context
    prefill       10 ms, or 50 µs for each 1,000 tokens over the batch where that is more
    energy        600 W × the run's time

Every measurement is its point's time, but for the second of each five, which takes 2 % longer. The largest point
ran out of memory; batch 64 × 4096 was throttled.
"""

from __future__ import annotations

import itertools
from typing import Any

from unit.records import ENVIRONMENT, NO_GPU

from profkit.analysis.sweep import SweepData, SweepMeta

US, MS = 1_000, 1_000_000
BATCHES, CONTEXTS = (1, 8, 64, 512), (512, 4096)
RUNS, STEPS = 3, 31


def decode_ns(batch: int, context: int) -> int:
    """One decode step of `gpu_sweep`."""
    return round(6 * MS + 10 * US * batch + 1 * US * batch * context / 1000)


def prefill_ns(batch: int, context: int) -> int:
    """Its time to first token."""
    return round(max(10 * MS, 50 * US * batch * context / 1000))


def run_ns(batch: int, context: int) -> int:
    """One run of its cell."""
    return prefill_ns(batch, context) + STEPS * decode_ns(batch, context)


def sweep_meta(**changes: Any) -> SweepMeta:
    """Metadata that do not change from call to call."""
    defaults: dict[str, Any] = {
        "name": "curves",
        "id": "0123456789ab",
        "profkit_version": "0.1.0",
        "created": "2026-01-31T12:00:00+00:00",
        "axes": {"batch": list(BATCHES), "context": list(CONTEXTS)},
        "slo_ns": {"tpot": 7 * MS, "ttft": 500 * MS},
        "price_per_gpu_hour": 3.6,
        "carbon_g_per_kwh": 400.0,
        "gpus": 1,
        "gpu_name": "NVIDIA H200",
        "idle_power_w": 120.0,
        "environment": ENVIRONMENT,
        "source": "generate(batch, context)",
    }
    return SweepMeta(**defaults | changes)


def gpu_sweep(**changes: Any) -> SweepData:
    """The sweep of this module's first lines; `changes` replace fields of its metadata."""
    points, samples = [], []
    for point, (batch, context) in enumerate(itertools.product(BATCHES, CONTEXTS)):
        row: dict[str, Any] = {"point": point, "batch": batch, "context": context, "order": point}
        if (batch, context) == (512, 4096):
            row |= {"status": "out of memory", "peak_memory_bytes": 140_100_000_000}
            row["message"] = "at 140 GB, by plan 143 GB. CUDA out of memory. Tried to allocate 16.00 GiB"
        else:
            row |= measured(batch, context, run_ns(batch, context))
            row["throttling"] = "SW power cap: 40% of 12 readings (device 0)" if (batch, context) == (64, 4096) else ""
            samples += point_samples(point, batch, context)
        points.append(row)
    return SweepData.of(sweep_meta(**changes), points, samples)


def measured(batch: int, context: int, wall_ns: int) -> dict[str, Any]:
    """The columns of a point that was measured."""
    return {
        "status": "ok",
        "warm_up_passes": 2,
        "warm_up_stable": True,
        "repetitions": RUNS,
        "wall_ns": 5 * wall_ns,
        "requests": batch,
        "tokens_out": batch * (STEPS + 1),
        "energy_j": 600 * wall_ns / 1e9,
        "energy_error_j": 6 * wall_ns / 1e9,
        "energy_window_ns": RUNS * wall_ns,
        "sm_clock_mhz": 1980.0,
        "temperature_c": 45.0,
        "peak_memory_bytes": 17_000_000_000 + 131_072 * batch * context,
    }


def point_samples(point: int, batch: int, context: int) -> list[dict[str, Any]]:
    """Three runs of a prefill and 31 decode steps."""
    rows: list[dict[str, Any]] = []
    number = itertools.count()
    at = 0

    def add(phase: str, repetition: int, time_ns: int, duration_ns: int, **columns: Any) -> int:
        duration = round(duration_ns * 1.02) if next(number) % 5 == 1 else duration_ns
        common = {"point": point, "phase": phase, "repetition": repetition, "time_ns": time_ns}
        rows.append({**common, "duration_ns": duration, **columns})
        return duration

    for run in range(RUNS):
        began = at
        reading = {"step_batch": batch, "query_tokens": context, "context_tokens": 0, "tokens_out": batch}
        at += add("prefill", run, at, prefill_ns(batch, context), **reading)
        for step in range(STEPS):
            decode = {"step_batch": batch, "query_tokens": 1, "context_tokens": context + step, "tokens_out": batch}
            at += add("decode", run, at, decode_ns(batch, context), **decode)
        rows.append(
            {
                "point": point,
                "phase": "total",
                "repetition": run,
                "time_ns": began,
                "duration_ns": at - began,
                "tokens_out": batch * (STEPS + 1),
            }
        )
    return rows


def cpu_sweep(**changes: Any) -> SweepData:
    """`gpu_sweep` without what only a GPU has, without SLO and price, on one axis."""
    full = gpu_sweep()
    plain = ("energy_j", "energy_error_j", "energy_window_ns", "sm_clock_mhz", "temperature_c", "throttling")
    points = [row for row in full.points.to_pylist() if row["context"] == 512]
    kept = {row["point"] for row in points}
    points = [row | dict.fromkeys((*plain, "peak_memory_bytes")) | {"energy_reason": NO_GPU} for row in points]
    defaults: dict[str, Any] = {
        "axes": {"batch": list(BATCHES)},
        "slo_ns": {},
        "price_per_gpu_hour": None,
        "carbon_g_per_kwh": None,
        "gpus": 0,
        "gpu_name": None,
        "idle_power_w": None,
        "environment": ENVIRONMENT | {"gpus": [], "driver": None},
        "not_measured": dict.fromkeys(("energy", "floor"), NO_GPU),
    }
    samples = [row for row in full.samples.to_pylist() if row["point"] in kept]
    return SweepData.of(sweep_meta(**defaults | changes), points, samples)
