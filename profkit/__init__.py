"""profkit: Jupyter-first profiling for LLM inference on GPUs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from profkit.version import __version__

_HOMES = {
    "profile": "run",
    "load": "run",
    "last": "run",
    "Run": "run",
    "kv_plan": "kv",
    "kv_pressure": "kv",
    "KVPlan": "kv",
    "KVPressure": "kv",
    "sweep": "sweeps",
    "last_sweep": "sweeps:last",
    "Sweep": "sweeps",
    "step": "capture.session",
    "region": "capture.session",
    "track_kv": "capture.trackers",
    "ProfkitError": "errors",
}
"""Public names and the modules they live in (module:name where it differs there).

They are imported on first use: `import profkit` stays instant."""

__all__ = [
    "KVPlan",
    "KVPressure",
    "ProfkitError",
    "Run",
    "Sweep",
    "__version__",
    "kv_plan",
    "kv_pressure",
    "last",
    "last_sweep",
    "load",
    "load_ipython_extension",
    "profile",
    "region",
    "step",
    "sweep",
    "track_kv",
    "unload_ipython_extension",
]

if TYPE_CHECKING:
    from profkit.capture.session import region as region
    from profkit.capture.session import step as step
    from profkit.capture.trackers import track_kv as track_kv
    from profkit.errors import ProfkitError as ProfkitError
    from profkit.kv import KVPlan as KVPlan
    from profkit.kv import KVPressure as KVPressure
    from profkit.kv import kv_plan as kv_plan
    from profkit.kv import kv_pressure as kv_pressure
    from profkit.run import Run as Run
    from profkit.run import load as load
    from profkit.run import profile as profile
    from profkit.sweeps import Sweep as Sweep
    from profkit.sweeps import sweep as sweep

    last: Run | None
    last_sweep: Sweep | None


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'profkit' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"profkit.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext profkit`: register the magics."""
    from profkit.magics import register

    register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext profkit`: take the magics and their hooks out again."""
    from profkit.magics import unregister

    unregister(shell)
