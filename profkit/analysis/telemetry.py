"""What did the GPUs draw, and what held their clocks back, while the block ran?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from profkit.record import Metric, Record

_MIN_SAMPLES: Final = 3
"""Fewer readings than this make no mean."""

_THROTTLING: Final = {
    0x4: "SW power cap",
    0x8: "HW slowdown",
    0x10: "sync boost",
    0x20: "SW thermal slowdown",
    0x40: "HW thermal slowdown",
    0x80: "HW power brake slowdown",
    0x200: "board limit",
    0x400: "reliability",
}
"""nvmlClocksEventReasons of nvml.h that hold clocks below what was asked for."""

_NOT_THROTTLING: Final = 0x1 | 0x2 | 0x100
"""Idle, and clocks that somebody set (applications clocks, display clocks)."""


@dataclass(frozen=True)
class Power:
    """Power of one GPU over the profiled block, W."""

    device: int
    mean_w: float
    max_w: float
    samples: int


@dataclass(frozen=True)
class Energy:
    """Energy of the profiled block by the hardware's counter, J."""

    total_j: float
    error_j: float | None  # ±; the devices' errors add up, for they share the block's ends
    devices: tuple[int, ...]


def series(record: Record, metric: Metric, device: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times (ns) and values of one metric of one GPU, oldest first; both empty where it was not measured."""
    table = record.telemetry
    mask = pc.and_(pc.equal(table["metric"], metric.value), pc.equal(table["device"], device))
    rows = table.filter(pc.and_(mask, pc.is_valid(table["value"]))).sort_by("time")
    return rows["time"].to_numpy(), rows["value"].to_numpy()


def power(record: Record, device: int) -> Power | None:
    """Mean and highest power of a GPU while the block ran; None where fewer than 3 samples fall in it."""
    watts = _within(record, Metric.POWER, device)
    if len(watts) < _MIN_SAMPLES:
        return None
    return Power(device, float(watts.mean()), float(watts.max()), len(watts))


def mean_power_w(record: Record) -> float | None:
    """Mean power of all GPUs together while the block ran; None where one of them has too few samples."""
    powers = [power(record, device) for device in _devices(record, Metric.POWER)]
    known = [found.mean_w for found in powers if found is not None]
    return sum(known) if known and len(known) == len(powers) else None


def energy(record: Record) -> Energy | None:
    """Energy of all GPUs together; None where no counter could be read."""
    joules, errors = record.meta.energy_j, record.meta.energy_error_j
    if not joules:
        return None
    error = sum(errors[device] for device in joules) if joules.keys() <= errors.keys() else None
    return Energy(sum(joules.values()), error, tuple(sorted(joules)))


def clock_reasons(record: Record) -> list[str]:
    """What throttled each GPU while the block ran, and in what share of the readings, most frequent first.

    An idle GPU and clocks that somebody set are not throttling.
    """
    found = []
    for device in _devices(record, Metric.CLOCK_EVENT_REASONS):
        masks = _within(record, Metric.CLOCK_EVENT_REASONS, device).astype(np.int64)
        for bit in (1 << shift for shift in range(63)):
            share = float(np.mean(masks & bit != 0)) if len(masks) else 0.0
            if share and not bit & _NOT_THROTTLING:
                name = _THROTTLING.get(bit, f"reason {bit:#x}")
                found.append((share, f"{name}: {_percent(share)} of {len(masks)} readings (device {device})"))
    return [text for _, text in sorted(found, key=lambda entry: -entry[0])]


def _within(record: Record, metric: Metric, device: int) -> NDArray[np.float64]:
    """The values that were read while the block ran."""
    times, values = series(record, metric, device)
    return values[(times >= 0) & (times <= record.meta.wall_ns)]


def _devices(record: Record, metric: Metric) -> list[int]:
    """The GPUs that have readings of a metric."""
    table = record.telemetry
    return sorted(pc.unique(table.filter(pc.equal(table["metric"], metric.value))["device"]).to_pylist())


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"
