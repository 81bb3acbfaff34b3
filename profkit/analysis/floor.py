"""How fast could a decode step be on this GPU at best?"""

from __future__ import annotations

from dataclasses import dataclass

from profkit.hardware.gpus import find
from profkit.record import Record


class NoFloorError(Exception):
    """There is no floor for this record; the message says why."""


@dataclass(frozen=True)
class Floor:
    """A lower bound of a time, and what it stands on."""

    ns: int
    source: str


def decode_floor(record: Record) -> Floor:
    """The time to read the weights once: weight bytes / memory bandwidth.

    A decode step reads every weight at least once whatever the batch (Pope et al. 2022, arXiv 2211.05102,
    section 2), so no implementation is faster while the weights keep their size. The KV cache and the
    arithmetic come on top: it is a floor, not a prediction.

    Raises:
        NoFloorError: the weights that a step reads, or the GPU's bandwidth, are not known.
    """
    meta = record.meta
    if meta.decode_weight_bytes is None or meta.decode_device is None:
        raise NoFloorError(meta.not_measured.get("floor", "this record does not tell the model's weights"))
    names = {gpu.get("index"): gpu.get("name") for gpu in meta.environment.get("gpus") or []}
    name = names.get(meta.decode_device)
    spec = find(name) if name else None
    if spec is None:
        raise NoFloorError(f"the memory bandwidth of {name or 'this GPU'} is not in the GPU table")
    seconds = meta.decode_weight_bytes / (spec.bandwidth_gb_s * 1e9)
    weights = f"{meta.decode_weight_bytes / 1e9:.1f} GB of weights"
    return Floor(round(seconds * 1e9), f"{weights} at {spec.bandwidth_gb_s / 1000:.2f} TB/s ({spec.name} datasheet)")
