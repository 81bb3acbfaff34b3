"""Why was the GPU idle: its busy time, and every gap with one cause."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from profkit.analysis.events import kind_rows, launch_rows, name_mask
from profkit.analysis.intervals import Intervals, Ints, union
from profkit.errors import OptionError
from profkit.record import GPU_WORK, EventKind, Record


class Cause(enum.StrEnum):
    """Why a GPU had nothing to do."""

    LAUNCH = "launch"
    """The call that launched the next work began after the GPU had run dry: the host was late."""
    SYNC = "sync"
    """As launch, and the GPU ran dry while the host was waiting for it, in a synchronise or a copy to
    the host: the host could not have launched in time."""
    DEPENDENCY = "dependency"
    """The next work was launched in time and started late: it waited for other work, or for the GPU's
    own time between two kernels."""
    EDGE = "edge"
    """Before the first and after the last GPU work of the window."""
    UNKNOWN = "unknown"
    """The call that launched the next work is not in the record."""


CAUSES: Final = tuple(cause for cause in Cause if cause is not Cause.UNKNOWN)
_WAITS: Final = r"Synchronize|^cudaMemcpy$|^cuMemcpyDtoH"
"""Runtime and driver calls in which the host waits for the GPU. Asynchronous copies to the host count
too (into pageable memory they block); they are known by the copy that they launched."""


@dataclass(frozen=True)
class Gaps:
    """Idle stretches of one GPU in order, edges included: together with `busy` they fill the window."""

    window_ns: int
    busy: Intervals
    start: Ints
    end: Ints
    cause: npt.NDArray[np.int8]  # index into tuple(Cause)
    event: Ints  # row of `events` that ended the gap; -1: the window's end


@dataclass(frozen=True)
class Idle:
    """GPU time by cause; `busy_ns` and `causes` add up to `window_ns`.

    Without GPU work recorded `busy_ns` is None and `causes` is empty, and `reason` says why.
    """

    window_ns: int
    busy_ns: int | None
    causes: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)  # how many stretches, by cause
    device: int = 0
    reason: str | None = None

    @property
    def idle_ns(self) -> int | None:
        """Time without GPU work, ns."""
        return None if self.busy_ns is None else self.window_ns - self.busy_ns

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "window_ns": self.window_ns,
            "busy_ns": self.busy_ns,
            "causes": dict(self.causes),
            "gaps": dict(self.gaps),
            "device": self.device,
            "reason": self.reason,
        }


def devices(record: Record) -> list[int]:
    """GPUs that did work in the record."""
    return np.unique(record.events["device"].to_numpy()[_gpu_work(record.events)]).tolist()


def idle(record: Record, device: int | None = None) -> Idle:
    """Busy and idle time of one GPU over the profiled window; `device` None: the busiest.

    Work is the union of kernels, copies and sets over all streams.
    """
    window = record.meta.wall_ns
    if not traced_gpu(record):
        return Idle(window, None, reason=record.meta.not_measured.get("gpu_busy", "no GPU trace in this record"))
    seen = devices(record)
    known = {*seen, *range(len(record.meta.environment.get("gpus") or []))}
    if device is not None and device not in known:
        raise OptionError(f"no GPU {device!r} in this record: it has {', '.join(map(str, sorted(known))) or 'none'}")
    candidates = [device] if device is not None else seen or [0]
    found = {candidate: gaps(record, candidate) for candidate in candidates}
    chosen = max(found, key=lambda candidate: found[candidate].busy.total)
    best = found[chosen]
    length = best.end - best.start
    causes: dict[str, int] = {}
    counts: dict[str, int] = {}
    for code, cause in enumerate(Cause):
        of = best.cause == code
        if of.any() or cause is not Cause.UNKNOWN:
            causes[str(cause)] = int(length[of].sum())
            counts[str(cause)] = int(of.sum())
    return Idle(window, best.busy.total, causes, counts, device=chosen)


def idle_by_step(record: Record, device: int | None = None) -> pd.DataFrame:
    """One row per step: `busy_ns` and one column per cause, which add up to the step's `end - start`."""
    if not traced_gpu(record) or not len(record.steps):
        return pd.DataFrame()
    found = gaps(record, idle(record, device).device)
    start, end = record.steps["start"].to_numpy(), record.steps["end"].to_numpy()
    table = {"step": np.arange(len(start)), "busy_ns": found.busy.covered(start, end)}
    for code, cause in enumerate(Cause):
        of = found.cause == code
        if of.any() or cause is not Cause.UNKNOWN:
            table[f"{cause}_ns"] = Intervals(found.start[of], found.end[of]).covered(start, end)
    outside = (end - start) - sum(table[name] for name in table if name.endswith("_ns"))
    # A step may end a moment after the window, where its last event was read later than the host's clock.
    table["edge_ns"] = table["edge_ns"] + outside
    return pd.DataFrame(table)


def traced_gpu(record: Record) -> bool:
    """Whether the record holds what a GPU did, be it nothing."""
    return "gpu_busy" not in record.meta.not_measured


def gaps(record: Record, device: int) -> Gaps:
    """Every idle stretch of one GPU with its cause, in order."""
    window = record.meta.wall_ns
    events = record.events
    row = _gpu_work(events, device)
    start = events["start"].to_numpy()[row]
    end = np.clip(start + events["duration"].to_numpy()[row], 0, window)
    start = np.clip(start, 0, window)
    busy = union(start, end)
    if not len(busy.start):
        whole = np.array([window], np.int64)
        edge = np.array([list(Cause).index(Cause.EDGE)], np.int8)
        return Gaps(window, busy, whole * 0, whole, edge, np.array([-1]))

    between = busy.gaps()
    some = end > start
    next_at = np.searchsorted(start[some], between.end, side="left")  # events are in order of start
    next_row = row[some][next_at]
    cause = _causes(events, between, next_row)

    edge_code = list(Cause).index(Cause.EDGE)
    gap_start = np.concatenate(([0], between.start, busy.end[-1:]))
    gap_end = np.concatenate((busy.start[:1], between.end, [window]))
    codes = np.concatenate(([edge_code], cause, [edge_code])).astype(np.int8)
    ended_by = np.concatenate(([row[some][0]], next_row, [-1]))
    real = gap_end > gap_start
    return Gaps(window, busy, gap_start[real], gap_end[real], codes[real], ended_by[real])


def _causes(events: pa.Table, between: Intervals, next_row: Ints) -> npt.NDArray[np.int8]:
    """One cause for each gap between two stretches of work, by the launch of the work that ended it."""
    code = {cause: index for index, cause in enumerate(Cause)}
    start, lane = events["start"].to_numpy(), events["lane"].to_numpy()
    end = start + events["duration"].to_numpy()
    launch = launch_rows(events, next_row)
    known = launch >= 0
    launched_at = np.where(known, start[launch], 0)
    late = known & (launched_at >= between.start)
    cause = np.full(len(next_row), code[Cause.DEPENDENCY], np.int8)
    cause[~known] = code[Cause.UNKNOWN]
    cause[late] = code[Cause.LAUNCH]

    waits = _wait_rows(events)
    for thread in np.unique(lane[launch[late]]):
        of = np.flatnonzero(late & (lane[launch] == thread))
        waiting = union(*(side[waits[lane[waits] == thread]] for side in (start, end)))
        dry = between.start[of]
        cause[of[waiting.covered(dry, dry + 1) > 0]] = code[Cause.SYNC]
    return cause


def _wait_rows(events: pa.Table) -> Ints:
    """Rows of runtime calls in which the host waits for a GPU."""
    runtime = kind_rows(events, EventKind.RUNTIME)
    by_name = runtime[name_mask(events, _WAITS)[runtime]]
    copies = kind_rows(events, EventKind.MEMCPY)
    to_host = launch_rows(events, copies[name_mask(events, "DtoH")[copies]])
    return np.unique(np.concatenate((by_name, to_host[to_host >= 0])))


def _gpu_work(events: pa.Table, device: int | None = None) -> Ints:
    """Rows of GPU work in order of start, of all GPUs or of one."""
    rows = kind_rows(events, *GPU_WORK)
    return rows if device is None else rows[events["device"].to_numpy()[rows] == device]
