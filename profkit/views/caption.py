"""What was measured, on what, with which software, when? The small print under every picture."""

from __future__ import annotations

from typing import Any, Final

from profkit.analysis.summary import Summary
from profkit.analysis.sweep import SweepMeta
from profkit.record import Meta
from profkit.views.format import clean, date

_NAMED: Final = ("torch", "transformers", "triton")
"""Packages that change a measurement most; the page lists all."""
_STACK: Final = (("cuda", "CUDA"), ("driver", "driver"))


def software(meta: Meta | SweepMeta) -> str:
    """``torch 2.11.0+cu130, CUDA 13.0, driver 580.65``: what of it the record knows."""
    found: dict[str, Any] = meta.environment
    packages = found.get("packages") or {}
    parts = [f"{name} {packages[name]}" for name in _NAMED if packages.get(name)]
    parts += [f"{label} {found[key]}" for key, label in (("cuda", "CUDA"), ("driver", "driver")) if found.get(key)]
    return clean(", ".join(parts))


def caption(summary: Summary, meta: Meta) -> str:
    """``NVIDIA H200 · torch 2.11.0 · 2026-11-24 20:00 UTC · record 6ef08a8f6655``."""
    hardware = summary.gpu or meta.environment.get("cpu") or "no GPU"
    parts = (clean(str(hardware)), software(meta), date(meta.created), f"record {clean(meta.id)}")
    return " · ".join(part for part in parts if part)
