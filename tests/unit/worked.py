"""Sweeps with known work: an 8B Llama shape under an H200's ceilings, with the three regimes where one expects them.

`eager()` is held up by launches, 52 ms a step; `graph()` by memory at 70 % of 4.2 TB/s, and at short contexts and large
batches by arithmetic at 80 % of 780 TFLOP/s. Work and times are computed from the same shape.
"""

from __future__ import annotations

import itertools
from typing import Any

from unit.records import ENVIRONMENT
from unit.sweeps import measured, sweep_meta

from profkit.analysis.sweep import SweepData
from profkit.hardware.ceilings import Ceiling, Ceilings

SOURCE = "measured on NVIDIA H200, 2026-11-24 20:00 UTC"
CEILINGS = Ceilings(
    "NVIDIA H200",
    copy=Ceiling(4.2e12, "bytes/s", SOURCE, measured=True, spread=0.01),
    bf16=Ceiling(780e12, "FLOP/s", SOURCE, measured=True, spread=0.02),
)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS = (512, 4096, 16384)
WEIGHTS, KV, PARAMETERS, HEADS = 15e9, 131_072, 7.5e9, 32 * 32 * 128
RUNS, STEPS = 5, 8
ROOM = 120e9


def ops(batch: int, query: int, context: int) -> list[list[Any]]:
    """Linear layers and attention of one step."""
    pairs = query * context + query * (query + 1) // 2
    return [
        ["linear", 2 * PARAMETERS * batch * query, WEIGHTS],
        ["attention", 4 * batch * HEADS * pairs, float(batch * (context + query) * KV)],
    ]


def step_ns(work: list[list[Any]], launch_ns: float) -> float:
    """What a step takes on this GPU."""
    flops, moved = sum(op[1] for op in work), sum(op[2] for op in work)
    return max(launch_ns, moved / (0.7 * 4.2e12) * 1e9, flops / (0.8 * 780e12) * 1e9)


def sweep(launch_ns: float, contexts: tuple[int, ...] = CONTEXTS, **changes: Any) -> SweepData:
    """A sweep whose steps take `step_ns`, give or take 1 % in a fixed pattern."""
    points, samples, work = [], [], []
    jitter = itertools.cycle((1.0, 1.012, 0.992, 1.004, 0.997, 1.02, 0.99))
    for point, (batch, context) in enumerate(itertools.product(BATCHES, contexts)):
        row: dict[str, Any] = {"point": point, "batch": batch, "context": context, "order": point}
        if batch * context * KV > ROOM:
            points.append(row | {"status": "out of memory", "message": "at 141 GB, by plan 143 GB"})
            continue
        reading, writing = ops(batch, context, 0), ops(batch, 1, context)
        work += [
            {"point": point, "phase": "prefill", "ops": reading},
            {"point": point, "phase": "decode", "ops": writing},
        ]
        at = 0
        for run in range(RUNS):
            began = at
            common = {"point": point, "repetition": run}
            for phase, each, count, query, before in (
                ("prefill", step_ns(reading, launch_ns), 1, context, 0),
                ("decode", step_ns(writing, launch_ns), STEPS, 1, context),
            ):
                for _ in range(count):
                    duration = round(each * next(jitter))
                    tokens = {"step_batch": batch, "query_tokens": query, "context_tokens": before, "tokens_out": batch}
                    samples.append({**common, "phase": phase, "time_ns": at, "duration_ns": duration, **tokens})
                    at += duration
            total = {"phase": "total", "time_ns": began, "duration_ns": at - began, "tokens_out": batch * (STEPS + 1)}
            samples.append({**common, **total})
        points.append(row | measured(batch, context, at // RUNS) | {"tokens_out": batch * (STEPS + 1)})
    meta = sweep_meta(
        **{
            "axes": {"batch": list(BATCHES), "context": list(contexts)},
            "slo_ns": {"tpot": 30_000_000, "ttft": 500_000_000},
            "model": {"name": "llama", "dtype": "bfloat16", "work": work},
            "ceilings": CEILINGS.to_dict(),
            "environment": ENVIRONMENT,
        }
        | changes
    )
    return SweepData.of(meta, points, samples)


def eager(**changes: Any) -> SweepData:
    """Launch-bound, then memory-bound."""
    return sweep(52e6, **{"name": "eager", "id": "aaaa456789ab"} | changes)


def graph(**changes: Any) -> SweepData:
    """Memory-bound all along."""
    return sweep(2e6, **{"name": "graph", "id": "bbbb456789ab"} | changes)


def graph_of(contexts: int) -> SweepData:
    """`graph` with so many contexts."""
    return sweep(2e6, contexts=tuple(512 * 2**at // 4 for at in range(contexts)), name="graph")
