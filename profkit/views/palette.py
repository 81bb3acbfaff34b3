"""Which colour stands for what: one palette for figures, pages and widgets, light and dark.

Colours of one group can be told apart with normal sight, deuteranopia and protanopia, and stand out from
the background (contrast of 3:1 or more, WCAG 2.1, 1.4.11). Kinds of work and causes of idle time meet in
one picture: work is drawn solid, idle time hatched.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from profkit.analysis.idle import Cause
from profkit.analysis.kernels import WorkKind
from profkit.record import Metric, Phase


class Colour(NamedTuple):
    """One meaning's colour on a light and on a dark background."""

    light: str
    dark: str


BACKGROUND: Final = Colour("#ffffff", "#111111")
TEXT: Final = Colour("#1b1f24", "#e6e8eb")
FAINT: Final = Colour("#5b636e", "#a3abb6")
"""Captions, ticks and units."""
GRID: Final = Colour("#d9dde3", "#353b43")
ERROR: Final = Colour("#b3261e", "#ff8a80")

WORK: Final[dict[WorkKind, Colour]] = {
    WorkKind.ATTENTION: Colour("#bc461b", "#f18852"),
    WorkKind.MATMUL: Colour("#2860a1", "#5690e8"),
    WorkKind.NORM: Colour("#259d7b", "#4fd1a5"),
    WorkKind.ELEMENTWISE: Colour("#b9860c", "#efc24f"),
    WorkKind.COPY: Colour("#894cdf", "#bda9fe"),
    WorkKind.COMMUNICATION: Colour("#e35cc6", "#c94775"),
    WorkKind.OTHER: Colour("#5c6066", "#8e99b0"),
}

IDLE: Final[dict[Cause, Colour]] = {
    Cause.LAUNCH: Colour("#d6293a", "#ff6451"),
    Cause.SYNC: Colour("#7a3e9d", "#af8bf4"),
    Cause.DEPENDENCY: Colour("#2787c2", "#6ac6d1"),
    Cause.EDGE: Colour("#90948e", "#8891a0"),
    Cause.UNKNOWN: Colour("#3d3d3d", "#e8e8e8"),
}

KV: Final[dict[str, Colour]] = {
    "full": WORK[WorkKind.MATMUL],
    "sliding": WORK[WorkKind.NORM],
    "mla": WORK[WorkKind.COPY],
    "linear": WORK[WorkKind.ELEMENTWISE],
    "cross": WORK[WorkKind.ATTENTION],
    "quantized": WORK[WorkKind.COMMUNICATION],
    "other": WORK[WorkKind.OTHER],
}
"""Kinds of layers in a KV cache; kinds of work are not drawn beside them."""

MEMORY: Final[dict[str, Colour]] = {
    "weights": WORK[WorkKind.MATMUL],
    "kv": WORK[WorkKind.ATTENTION],
    "activations": WORK[WorkKind.NORM],
    "workspace": WORK[WorkKind.COPY],
    "other": WORK[WorkKind.ELEMENTWISE],
    "fragmentation": WORK[WorkKind.OTHER],
}
"""What a GPU's memory is used for."""

PHASES: Final[dict[Phase, Colour]] = {
    Phase.PREFILL: Colour("#333c48", "#e3e8ee"),
    Phase.DECODE: Colour("#8490a0", "#7f8a99"),
}
"""Without hue: they are drawn over or under the colours of work."""

HOST: Final = Colour("#c9772b", "#f0b070")
GPU: Final = Colour("#3a6ea5", "#6fa8dc")
"""Time of the host and time of the GPU where the two are compared."""

METRICS: Final[dict[Metric, Colour]] = {
    Metric.POWER: Colour("#bc461b", "#f18852"),
    Metric.TEMPERATURE: Colour("#d6293a", "#ff6451"),
    Metric.MEMORY_USED: Colour("#894cdf", "#bda9fe"),
    Metric.CLOCK_EVENT_REASONS: Colour("#5c6066", "#8e99b0"),
    Metric.SM_CLOCK: Colour("#259d7b", "#4fd1a5"),
    Metric.MEMORY_CLOCK: Colour("#a8347d", "#c94775"),
    Metric.GPU_UTILIZATION: Colour("#7c92ca", "#9ea9ae"),
    Metric.SM_ACTIVE: Colour("#2c6cb8", "#57a9f5"),
    Metric.SM_OCCUPANCY: Colour("#299e7b", "#78c865"),
    Metric.TENSOR_ACTIVE: Colour("#a93480", "#bc61ae"),
    Metric.DRAM_ACTIVE: Colour("#b67c02", "#ebe195"),
    Metric.PCIE_TX: Colour("#2b6cb8", "#5aa9ee"),
    Metric.PCIE_RX: Colour("#2a9e7d", "#4fdebc"),
    Metric.NVLINK_TX: Colour("#b57e06", "#eac260"),
    Metric.NVLINK_RX: Colour("#a8347d", "#db7aac"),
}
"""Metrics of one unit share an axis and can be told apart; others have an axis each."""

SERIES: Final[tuple[Colour, ...]] = tuple(
    WORK[kind]
    for kind in (
        WorkKind.MATMUL,
        WorkKind.ATTENTION,
        WorkKind.NORM,
        WorkKind.COPY,
        WorkKind.ELEMENTWISE,
        WorkKind.COMMUNICATION,
    )
)
"""Curves of one plot that differ in an axis of a sweep, in this order."""

IDLE_LABELS: Final[dict[Cause, str]] = {
    Cause.LAUNCH: "waits for a launch",
    Cause.SYNC: "host waits for it",
    Cause.DEPENDENCY: "between kernels",
    Cause.EDGE: "start and end",
    Cause.UNKNOWN: "cause unknown",
}
"""What a legend calls a cause, after "idle:"."""


def work(kind: str) -> Colour:
    """The colour of a kind of work; a kind that only a newer version knows has that of "other"."""
    return WORK[next((known for known in WorkKind if known == kind), WorkKind.OTHER)]


def kv(kind: str) -> Colour:
    """The colour of a kind of layer in a KV cache; an engine's own kinds have that of "other"."""
    return KV[kv_group(kind)]


def kv_group(kind: str) -> str:
    """The name in `KV` of a kind of layer, also of "full on the host"."""
    name = kind.partition(" ")[0]
    return name if name in KV else "other"


def as_json() -> dict[str, dict[str, dict[str, str]]]:
    """The palette as plain data: group → name → {"light", "dark"}.

    Groups are "work", "idle", "phase", "side" (host, gpu), "metric", "kv", "series" (0, 1, ...) and "page"
    (background, text, faint, grid, error).
    """
    groups: dict[str, dict[str, Colour]] = {
        "work": {str(name): colour for name, colour in WORK.items()},
        "idle": {str(name): colour for name, colour in IDLE.items()},
        "phase": {str(name): colour for name, colour in PHASES.items()},
        "side": {"host": HOST, "gpu": GPU},
        "metric": {str(name): colour for name, colour in METRICS.items()},
        "kv": KV,
        "series": {str(at): colour for at, colour in enumerate(SERIES)},
        "page": {"background": BACKGROUND, "text": TEXT, "faint": FAINT, "grid": GRID, "error": ERROR},
    }
    return {group: {name: colour._asdict() for name, colour in colours.items()} for group, colours in groups.items()}
