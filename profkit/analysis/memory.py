"""What filled the GPU's memory at its peak, and what allocated it: from the allocator's history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from profkit.record import MemoryKind, Record

Ints = npt.NDArray[np.int64]

KINDS: Final = tuple(kind for kind in MemoryKind if kind is not MemoryKind.SEGMENT)
FRAGMENTATION: Final = "fragmentation"
LARGEST: Final = 5


@dataclass(frozen=True)
class Allocations:
    """What one place in the code held at the peak."""

    category: str
    count: int
    size_bytes: int
    stack: str | None  # innermost frame first; None: allocated before the history began


@dataclass(frozen=True)
class MemoryPeak:
    """The moment with most memory allocated on a GPU. Bytes, as requested."""

    device: int
    at_ns: int  # record time
    allocated_bytes: int
    reserved_bytes: int
    categories: dict[str, int]  # by MemoryKind, and fragmentation: with it they add up to what is reserved
    stack: str | None  # of the allocation that made the peak
    largest: tuple[Allocations, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def memory_peak(record: Record, device: int | None = None) -> MemoryPeak | None:
    """The peak of one GPU, or of the one that held most; None where no history was recorded."""
    devices = pc.unique(record.memory["device"]).to_pylist() if device is None else [device]
    peaks = [peak for each in devices if (peak := _peak(record, each)) is not None]
    return max(peaks, key=lambda peak: peak.allocated_bytes, default=None)


def memory_curve(record: Record, device: int, points: int = 2000) -> pd.DataFrame:
    """What lay in a GPU's memory over time: time, a column for each of `KINDS`, allocated, reserved, fragmentation.

    One row after each change; where there are more than `points`, the highest of each stretch of time.
    """
    table = _of(record, device)
    if not len(table):
        return pd.DataFrame()
    times, deltas, rows = _changes(table)
    category = table["category"].cast(pa.string()).to_numpy(zero_copy_only=False)[rows]
    curve = pd.DataFrame({"time": times})
    for kind in KINDS:
        curve[str(kind)] = np.cumsum(np.where(category == str(kind), deltas, 0))
    curve["allocated"] = curve[[str(kind) for kind in KINDS]].sum(axis=1)
    curve["reserved"] = np.cumsum(np.where(category == str(MemoryKind.SEGMENT), deltas, 0))
    curve[FRAGMENTATION] = (curve["reserved"] - curve["allocated"]).clip(lower=0)
    # What was there before is one state, not one after the other.
    curve = curve.iloc[int((times == times[0]).sum()) - 1 :].reset_index(drop=True)
    if len(curve) <= points:
        return curve
    stretch = np.linspace(0, points, len(curve), endpoint=False).astype(int)
    return curve.loc[curve["allocated"].groupby(stretch).idxmax()].reset_index(drop=True)


def _of(record: Record, device: int) -> pa.Table:
    return record.memory.filter(pc.equal(record.memory["device"], device))


def _changes(table: pa.Table) -> tuple[Ints, Ints, Ints]:
    """(time, bytes more or less, row) of each beginning and end, in order; what was there before comes first."""
    size = table["size"].to_numpy()
    start, end = table["start"], table["end"]
    known = [pc.min(column).as_py() for column in (start, end)]
    first = min([0, *(time for time in known if time is not None)]) - 1
    starts = pc.fill_null(start, first).to_numpy()
    ends = np.flatnonzero(pc.is_valid(end).to_numpy(zero_copy_only=False))
    times = np.concatenate([starts, end.take(pa.array(ends)).to_numpy()])
    rows = np.concatenate([np.arange(len(table)), ends])
    deltas = np.concatenate([size, -size[ends]])
    order = np.argsort(times, kind="stable")
    return times[order], deltas[order], rows[order]


def _peak(record: Record, device: int) -> MemoryPeak | None:
    curve = memory_curve(record, device, points=2**62)
    if curve.empty:
        return None
    at = curve.iloc[int(curve["allocated"].to_numpy().argmax())]
    time = int(at["time"])
    table = _of(record, device)
    live = table.filter(
        pc.and_(
            pc.less_equal(pc.fill_null(table["start"], time), time),
            pc.greater(pc.fill_null(table["end"], 2**62), time),
        )
    ).to_pandas()
    live = live[live["category"] != str(MemoryKind.SEGMENT)]
    made = live[live["start"] == time]["stack"]
    names = [*map(str, KINDS), FRAGMENTATION]
    return MemoryPeak(
        device=device,
        at_ns=max(time, 0),
        allocated_bytes=int(at["allocated"]),
        reserved_bytes=int(at["reserved"]),
        categories={name: int(at[name]) for name in names},
        stack=str(made.iloc[0]) if len(made) and made.notna().iloc[0] else None,
        largest=_largest(live),
    )


def _largest(live: pd.DataFrame) -> tuple[Allocations, ...]:
    live = live.astype({"category": str, "stack": object})
    grouped = live.groupby(["category", live["stack"].fillna("")], sort=False)["size"].agg(["size", "sum"])
    top = grouped.sort_values("sum", ascending=False, kind="stable").head(LARGEST)
    return tuple(
        Allocations(category, int(count), int(total), stack or None)
        for (category, stack), count, total in zip(top.index, top["size"], top["sum"], strict=True)
    )
