"""What is the most that this GPU can do: measured on it, or, where that was not done, by its datasheet?

Plain data. `measure.py` fills it on a GPU, `datasheet` from the table of GPUs; each figure tells which.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from profkit.hardware.gpus import GpuSpec, find

METRICS: Final[dict[str, str]] = {
    "copy": "memory bandwidth, copy (read + write)",
    "read": "memory bandwidth, read",
    "bf16": "bf16 matmul",
    "fp16": "fp16 matmul",
    "fp8": "fp8 matmul",
    "launch": "launch of an empty kernel",
    "graph_replay": "replay of a CUDA graph with one empty kernel",
    "graph_kernel": "each empty kernel in a long CUDA graph",
}
"""Field of `Ceilings`: what it is, for people."""

_RATES: Final = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
    "bf16": "bf16",
    "fp16": "fp16",
    "fp8": "fp8",
}


@dataclass(frozen=True)
class Ceiling:
    """The most that one part of a GPU does."""

    value: float
    unit: str  # "bytes/s", "FLOP/s", or "ns" where less is better
    source: str  # "measured on NVIDIA H200, 2026-11-24 20:00 UTC" or "H200 SXM datasheet"
    measured: bool
    spread: float | None = None  # (p90 - p10) / median of the repeats; None for a datasheet
    at: str = ""  # the size at which it was reached
    sm_clock_mhz: float | None = None  # while it was measured


@dataclass(frozen=True)
class Ceilings:
    """Upper limits of one GPU; a metric is None where `not_measured` says why and no datasheet stands in."""

    gpu: str  # torch's name of it; "" without a GPU
    copy: Ceiling | None = None
    read: Ceiling | None = None
    bf16: Ceiling | None = None
    fp16: Ceiling | None = None
    fp8: Ceiling | None = None
    launch: Ceiling | None = None
    graph_replay: Ceiling | None = None
    graph_kernel: Ceiling | None = None
    datasheet: str = ""  # where the vendor says it; "" for a GPU that is not in the table
    not_measured: dict[str, str] = field(default_factory=dict)  # metric: why
    warnings: tuple[str, ...] = ()
    software: dict[str, str] = field(default_factory=dict)  # torch, CUDA, driver
    power_limit_w: float | None = None
    created: str = ""  # UTC, ISO 8601
    took_s: float | None = None

    @property
    def bandwidth(self) -> Ceiling | None:
        """The most bytes/s that the memory was seen to move, measured before promised.

        A floor needs the greater of copy and read: a decode step reads nearly all that it moves.
        """
        known = [ceiling for ceiling in (self.copy, self.read) if ceiling is not None]
        return max(known, key=lambda ceiling: (ceiling.measured, ceiling.value), default=None)

    def rate(self, dtype: str) -> Ceiling | None:
        """FLOP/s of matrix products in a dtype as torch names it; None for one that is not among them."""
        name = _RATES.get(dtype.removeprefix("torch."))
        return getattr(self, name) if name else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def from_dict(plain: Any) -> Ceilings:
    """What `Ceilings.to_dict` gave.

    Raises:
        msgspec.ValidationError: it is something else.
    """
    return msgspec.convert(plain, Ceilings, strict=False)


def datasheet(gpu: str) -> Ceilings | None:
    """The figures of a GPU's vendor, by torch's name or by the name in `GPUS`; None for an unknown GPU."""
    spec = find(gpu)
    if spec is None:
        return None
    source = f"{spec.name} datasheet"
    bandwidth = Ceiling(spec.bandwidth_gb_s * 1e9, "bytes/s", source, measured=False)
    matmul = Ceiling(spec.bf16_tflops * 1e12, "FLOP/s", source, measured=False)
    return Ceilings(
        gpu=gpu,
        copy=bandwidth,
        read=bandwidth,
        bf16=matmul,
        fp16=matmul,  # tensor cores take both at one rate, on every GPU of the table
        fp8=None if spec.fp8_tflops is None else Ceiling(spec.fp8_tflops * 1e12, "FLOP/s", source, measured=False),
        datasheet=spec.source,
        not_measured=_sheet_gaps(spec),
    )


def with_datasheet(ceilings: Ceilings) -> Ceilings:
    """`ceilings` with the datasheet's figures where nothing was measured. The reasons stay."""
    sheet = datasheet(ceilings.gpu)
    if sheet is None:
        return ceilings
    gaps = {name: getattr(sheet, name) for name in METRICS if getattr(ceilings, name) is None}
    return replace(ceilings, datasheet=sheet.datasheet, **gaps)


def _sheet_gaps(spec: GpuSpec) -> dict[str, str]:
    reasons = dict.fromkeys(("launch", "graph_replay", "graph_kernel"), "no datasheet gives it: it is measured")
    if spec.fp8_tflops is None:
        reasons["fp8"] = f"{spec.name} has no fp8 tensor cores"
    return reasons
