"""What did the block run on: machine, packages, driver, GPUs? Plain data that names no person and no host."""

from __future__ import annotations

import functools
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from profkit.capture.nvml import Gpu, Limits, ReadingError, driver_version, find_gpus, torch_gpus
from profkit.hardware import cache

PACKAGES: Final = ("torch", "triton", "transformers", "numpy", "profkit")
"""Packages whose versions can change a measurement."""


def environment() -> dict[str, Any]:
    """The environment of this process, ready for JSON; None where something is not known.

    GPUs are in torch's order, with the clocks and the power limit that are in force now. UUIDs, serial
    numbers, names of hosts and users, and the values of environment variables stay out. CUDA_VISIBLE_DEVICES
    is kept where it holds indices only. What `profkit.hardware.measure` has found for a GPU is with it; nothing is
    measured here.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": _platform(),
        "cpu": _cpu(),
        "cpu_cores": os.cpu_count(),
        "packages": dict(_versions()),
        "cuda": _cuda(),
        "driver": driver_version(),
        "cuda_visible_devices": _visible_devices(),
        "gpus": _gpus(),
    }
    for gpu in found["gpus"]:
        kept = cache.load(cache.path_of(gpu, found))
        gpu["ceilings"] = kept.to_dict() if kept else None
    return found


def _gpus() -> list[dict[str, Any]]:
    try:
        properties = torch_gpus()
    except ReadingError:  # telemetry gives the reason: `not_measured` of the record
        return []
    handles = {gpu.device: gpu for gpu in find_gpus().gpus}
    return [_gpu(index, found, handles.get(index)) for index, found in enumerate(properties)]


def _gpu(index: int, properties: object, gpu: Gpu | None) -> dict[str, Any]:
    known = functools.partial(getattr, properties)
    limits = gpu.limits() if gpu is not None else Limits(None, None, None)
    return {
        "index": index,
        "name": known("name"),
        "memory_bytes": known("total_memory"),
        "compute_capability": f"{known('major')}.{known('minor')}",
        "sms": known("multi_processor_count"),
        "sm_clock_max_mhz": limits.sm_clock_max_mhz,
        "memory_clock_max_mhz": limits.memory_clock_max_mhz,
        "power_limit_w": limits.power_limit_w,
        "l2_bytes": known("L2_cache_size", None),
    }


@functools.cache
def _platform() -> str:
    return platform.platform()


@functools.cache
def _cpu() -> str | None:
    """The processor's model, as Linux names it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or None
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine() or None


@functools.cache
def _versions() -> dict[str, str | None]:
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cuda() -> str | None:
    """The CUDA runtime that torch was built with."""
    import torch

    return torch.version.cuda


def _visible_devices() -> str | None:
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return value if value is not None and re.fullmatch(r"[-\d,\s]*", value) else None
