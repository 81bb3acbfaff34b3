"""How fast could a step be on this GPU at best?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from profkit.hardware.ceilings import Ceiling, Ceilings, datasheet, from_dict, with_datasheet
from profkit.record import Record


class NoFloorError(Exception):
    """There is no floor for this record; the message says why."""


@dataclass(frozen=True)
class Floor:
    """A lower bound of a time, and what it stands on."""

    ns: int
    source: str


@dataclass(frozen=True)
class OpWork:
    """What one part of a step has to do, whatever the implementation."""

    name: str  # "linear", "attention", ...
    flops: float
    bytes: float  # read and written once


@dataclass(frozen=True)
class StepFloor(Floor):
    """The floor of one step, with what it would be by one resource alone."""

    memory_ns: float  # bytes / bandwidth
    compute_ns: float  # FLOPs / peak
    overlapped_ns: int  # max of the two: all ops at once, as no step of one batch can run them


def decode_floor(record: Record) -> Floor:
    """The time to read the weights once: weight bytes / memory bandwidth.

    A decode step reads every weight at least once whatever the batch (Pope et al. 2022, arXiv 2211.05102,
    section 2), so no implementation is faster while the weights keep their size. The KV cache and the
    arithmetic come on top: it is a floor, not a prediction. The bandwidth is what was measured on this GPU, if
    `profkit.hardware.measure` had done so before the profile, else its datasheet's.

    Raises:
        NoFloorError: the weights that a step reads, or the GPU's bandwidth, are not known.
    """
    meta = record.meta
    if meta.decode_weight_bytes is None or meta.decode_device is None:
        raise NoFloorError(meta.not_measured.get("floor", "this record does not tell the model's weights"))
    gpus = {gpu.get("index"): gpu for gpu in meta.environment.get("gpus") or []}
    gpu = gpus.get(meta.decode_device) or {}
    ceilings = ceilings_of(gpu)
    bandwidth = ceilings.bandwidth if ceilings else None
    if bandwidth is None:
        raise NoFloorError(f"the memory bandwidth of {gpu.get('name') or 'this GPU'} is not in the GPU table")
    seconds = meta.decode_weight_bytes / bandwidth.value
    return Floor(round(seconds * 1e9), f"{meta.decode_weight_bytes / 1e9:.1f} GB of weights at {at(bandwidth)}")


def step_floor(ops: Sequence[OpWork], bandwidth: Ceiling, rate: Ceiling) -> StepFloor:
    """The sum over the ops of max(FLOPs / peak, bytes / bandwidth), as in the roofline model.

    Williams, Waterman and Patterson 2009 (doi 10.1145/1498765.1498785) for one op; ops are added up because within
    one batch each needs the result of the one before. It is a floor, not a prediction: launches, work that the
    counts leave out and kernels that reach less than the ceilings come on top.

    Args:
        ops: the parts of one step; FLOPs and bytes of each. Parts that run as one kernel are one op.
        bandwidth: bytes/s of the memory.
        rate: FLOP/s of matrix products in the ops' dtype.
    """
    memory = [op.bytes / bandwidth.value * 1e9 for op in ops]
    compute = [op.flops / rate.value * 1e9 for op in ops]
    total = sum(max(pair) for pair in zip(memory, compute, strict=True))
    return StepFloor(
        ns=round(total),
        source=f"sum over {', '.join(op.name for op in ops)} of max(bytes at {at(bandwidth)}, FLOPs at {at(rate)})",
        memory_ns=sum(memory),
        compute_ns=sum(compute),
        overlapped_ns=round(max(sum(memory), sum(compute))),
    )


def ceilings_of(gpu: Mapping[str, Any]) -> Ceilings | None:
    """The ceilings of one entry of `environment["gpus"]`: measured if they are with it, else its datasheet's."""
    sheet = datasheet(str(gpu.get("name") or ""))
    try:
        kept = from_dict(gpu.get("ceilings") or {})
    except msgspec.ValidationError:  # no ceilings of ours, or of another version: the datasheet is as good as ever
        return sheet
    return with_datasheet(kept) if _sane(kept) else sheet


def at(ceiling: Ceiling) -> str:
    """``4.27 TB/s (measured on NVIDIA H200, 2026-11-24 20:00 UTC)``, ``989 TFLOP/s (H200 SXM datasheet)``."""
    tera = ceiling.value / 1e12
    figure = f"{tera:.2f} TB/s" if ceiling.unit == "bytes/s" else f"{tera:.0f} TFLOP/s"
    return f"{figure} ({ceiling.source})"


def _sane(ceilings: Ceilings) -> bool:
    """Whether its bandwidth, if it has one, can be divided by: a file may say anything."""
    bandwidth = ceilings.bandwidth
    return bandwidth is None or (math.isfinite(bandwidth.value) and bandwidth.value > 0)
