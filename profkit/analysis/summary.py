"""The profile in a dozen numbers, each computed by the analysis that owns it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from profkit.analysis import telemetry
from profkit.analysis.events import kind_rows, launch_calls
from profkit.analysis.floor import NoFloorError, decode_floor
from profkit.analysis.idle import Idle, idle
from profkit.analysis.kernels import kernels
from profkit.analysis.kv import KVGrowth, kv_growth
from profkit.analysis.memory import MemoryPeak, memory_peak
from profkit.analysis.steps import StepStats, step_stats, steps_frame
from profkit.record import EventKind, Phase, Record

TOP: int = 8
"""Kernels that a summary names."""


@dataclass(frozen=True)
class Work:
    """One kernel, one host operator or one kind of work, with its share of all of them."""

    name: str
    kind: str
    count: int
    total_ns: int
    share: float


@dataclass(frozen=True)
class Summary:
    """One profile. Times in ns, sizes in bytes.

    What was not measured is None and has its reason in `not_measured`.
    """

    name: str
    created: str
    gpu: str | None
    wall_ns: int
    unprofiled_wall_ns: int | None  # median of the unprofiled passes
    unprofiled_range_ns: tuple[int, int] | None  # the fastest and the slowest
    ttft_ns: float | None
    tpot_ns: float | None
    steps: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_s: float | None  # output tokens / wall time
    gpu_busy_ns: int | None
    gpu_busy_share: float | None
    kernel_count: int | None
    launches_per_token: float | None  # launches from the first to the last token / decode steps
    profiler_share: float | None  # of the wall time: what profiling added
    profiler_measured: bool  # against unprofiled passes that agree; else estimated from the cost of operators
    peak_memory_bytes: int | None
    energy_j: float | None
    energy_error_j: float | None
    joules_per_token: float | None
    mean_power_w: float | None
    floor_ns: int | None  # of a decode step: no implementation on this GPU is faster
    floor_source: str | None
    stats: StepStats | None
    idle: Idle
    where: str  # "gpu" or "host": what `top` and `kinds` count
    top: tuple[Work, ...]
    kinds: tuple[Work, ...]
    kv: KVGrowth | None = None
    memory: MemoryPeak | None = None  # from the allocator's history, with --memory
    findings: tuple[Any, ...] = ()
    error: str | None = None
    warnings: tuple[str, ...] = ()
    not_measured: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def summarize(record: Record) -> Summary:
    """The summary of a record."""
    meta = record.meta
    stats = step_stats(record)
    busy = idle(record)
    missing = dict(meta.not_measured)
    output = stats.output_tokens if stats else None
    if stats is not None and output is None:
        missing["output_tokens"] = "the cell ran prompts through the model and generated no token"
    energy = telemetry.energy(record)
    passes = meta.unprofiled_wall_ns
    unprofiled = int(np.median(passes)) if passes else None
    # Passes that differ by more than the profile does from them cannot tell what profiling added.
    agree = unprofiled is not None and max(passes) - min(passes) <= abs(meta.wall_ns - unprofiled)
    frame = kernels(record)
    try:
        floor = decode_floor(record)
    except NoFloorError as reason:
        floor = None
        missing["floor"] = str(reason)
    return Summary(
        name=meta.name,
        created=meta.created,
        gpu=_gpu_name(meta.environment),
        wall_ns=meta.wall_ns,
        unprofiled_wall_ns=unprofiled,
        unprofiled_range_ns=(min(passes), max(passes)) if passes else None,
        ttft_ns=stats.ttft_ns if stats else None,
        tpot_ns=stats.tpot_ns if stats else None,
        steps=stats.steps if stats else None,
        prompt_tokens=stats.prompt_tokens if stats else None,
        output_tokens=output,
        tokens_per_s=output / (meta.wall_ns / 1e9) if output and meta.wall_ns else None,
        gpu_busy_ns=busy.busy_ns,
        gpu_busy_share=busy.busy_ns / busy.window_ns if busy.busy_ns is not None and busy.window_ns else None,
        kernel_count=_kernel_count(record, busy),
        launches_per_token=launches_per_token(record, busy, stats),
        profiler_share=_profiler_share(record, unprofiled if agree else None),
        profiler_measured=agree,
        peak_memory_bytes=max(meta.peak_memory_bytes.values(), default=None),
        energy_j=energy.total_j if energy else None,
        energy_error_j=energy.error_j if energy else None,
        joules_per_token=energy.total_j / output if energy and output else None,
        mean_power_w=telemetry.mean_power_w(record),
        floor_ns=floor.ns if floor else None,
        floor_source=floor.source if floor else None,
        stats=stats,
        idle=busy,
        kv=kv_growth(record),
        memory=memory_peak(record),
        where=frame.attrs["where"],
        top=_work(frame.head(TOP)),
        kinds=_work(kernels(record, by="kind")),
        error=meta.error,
        warnings=tuple(meta.warnings),
        not_measured=missing,
    )


def launches_per_token(record: Record, busy: Idle, stats: StepStats | None) -> float | None:
    """Launches of kernels, graphs, copies and sets for one decode step, what runs between two steps included.

    Those from the end of the step that made the first token to the end of the last, by the number of steps
    between. One step makes one token of each sequence.
    """
    if busy.busy_ns is None or stats is None or stats.decode is None:
        return None
    starts = record.events["start"].to_numpy()[launch_calls(record.events)]
    launches = decode_steps = 0
    for _, steps in steps_frame(record).groupby("generation"):
        made = steps[steps["tokens_out"] > 0]
        if len(made) > 1:
            host_end = (made["start"] + made["host_duration"]).to_numpy()
            launches += int(((starts >= host_end[0]) & (starts < host_end[-1])).sum())
            decode_steps += int((made["phase"].iloc[1:] == str(Phase.DECODE)).sum())
    return launches / decode_steps if decode_steps else None


def _kernel_count(record: Record, busy: Idle) -> int | None:
    return None if busy.busy_ns is None else len(kind_rows(record.events, EventKind.KERNEL))


def _profiler_share(record: Record, unprofiled: int | None) -> float | None:
    meta = record.meta
    if unprofiled is not None and meta.wall_ns:
        return 1 - unprofiled / meta.wall_ns
    if meta.profiler_added_ns is None or not meta.host_wall_ns:
        return None
    return min(meta.profiler_added_ns / meta.host_wall_ns, 1.0)


def _work(frame: Any) -> tuple[Work, ...]:
    columns = (frame[name] for name in ("name", "kind", "count", "total_ns", "share"))
    return tuple(
        Work(name, kind, int(count), int(total), float(share))
        for name, kind, count, total, share in zip(*columns, strict=True)
    )


def _gpu_name(environment: dict[str, Any]) -> str | None:
    counted = Counter(gpu["name"] for gpu in environment.get("gpus") or [])
    return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counted.items()) or None
