"""The data of a sweep, and the table that people read: how fast is each point of a grid?

A point is one combination of the axes' values. Times are int64 nanoseconds, sizes bytes, energy joules; what was
not measured is null, never zero, and has its reason in `message`, `meta.warnings` or `meta.not_measured`.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
import pandas as pd
import pyarrow as pa

from profkit.analysis.steps import nullable

SCHEMA_VERSION: Final = 1

AxisValue = bool | int | float | str
"""What an axis holds in the record; any other object is named by its label."""


class SweepPhase(enum.StrEnum):
    """What a row of `samples` timed."""

    PREFILL = "prefill"  # one generation: sent → its first token (TTFT)
    DECODE = "decode"  # one step of one generation: the token before → its token (the token gap)
    TOTAL = "total"  # one run of the cell, GPU work that it left behind included


class Status(enum.StrEnum):
    """What became of a point."""

    OK = "ok"
    OUT_OF_MEMORY = "out of memory"
    ERROR = "error"  # the cell raised
    SKIPPED = "skipped"  # the budget ended, or the sweep was interrupted before it


_WORDS: Final = pa.dictionary(pa.int32(), pa.string())

SAMPLES: Final = pa.schema(
    [
        pa.field("point", pa.int32()),  # `point` of `points`
        pa.field("phase", pa.dictionary(pa.int8(), pa.string())),  # SweepPhase
        pa.field("repetition", pa.int32()),  # counts the measured runs of the point; warm-up is not among them
        pa.field("time_ns", pa.int64()),  # when it began, since the sweep's start
        pa.field("duration_ns", pa.int64()),
        pa.field("step_batch", pa.int32()),  # sequences in the step; null in "total"
        pa.field("query_tokens", pa.int32()),  # per sequence, read in this step; null in "total"
        pa.field("context_tokens", pa.int32()),  # per sequence, in the cache before it; null where unknown
        pa.field("tokens_out", pa.int64()),  # new tokens over the batch; in "total" of the whole run
    ]
)
POINTS: Final = pa.schema(
    [
        pa.field("point", pa.int32()),  # its place in the grid: the last axis varies fastest
        pa.field("order", pa.int32()),  # when it was run: 0 is the first; null where it was not
        pa.field("status", pa.dictionary(pa.int8(), pa.string())),  # Status
        pa.field("message", _WORDS),  # why it is not "ok"; null where it is
        pa.field("warm_up_passes", pa.int32()),
        pa.field("warm_up_stable", pa.bool_()),  # the last two passes agreed
        pa.field("repetitions", pa.int32()),  # measured runs
        pa.field("wall_ns", pa.int64()),  # of all runs of the point, warm-up included
        pa.field("requests", pa.int64()),  # sequences that one run answered
        pa.field("tokens_out", pa.int64()),  # of one run; null with the reason in `tokens_reason`
        pa.field("tokens_reason", _WORDS),
        pa.field("energy_j", pa.float64()),  # of one run, mean over the window
        pa.field("energy_error_j", pa.float64()),  # ± of it
        pa.field("energy_window_ns", pa.int64()),  # from the first to the last measured run
        pa.field("energy_reason", _WORDS),  # why there is none
        pa.field("sm_clock_mhz", pa.float64()),  # median
        pa.field("temperature_c", pa.float64()),  # highest
        pa.field("throttling", _WORDS),  # what held the clocks back; "" where nothing did
        pa.field("drift", pa.bool_()),  # times rose or fell all along; null with too few runs to tell
        pa.field("peak_memory_bytes", pa.int64()),  # the allocator's, of the GPU with the most
    ]
)
"""Columns of `points` beside the axes, which stand between `point` and `order`."""

TABLE: Final = (
    "phase",
    "median_ns",
    "p10_ns",
    "p90_ns",
    "samples",
    "tokens_per_s",
    "floor_ns",
    "regime",
    "energy_j",
    "joules_per_token",
    "cost_per_mtok",
    "marks",
)
"""Columns of `Sweep.table` behind the axes."""


class SweepMeta(msgspec.Struct, kw_only=True):
    """What a sweep says of itself. Plain data: it is `sweep.json` in the file."""

    name: str
    schema_version: int = SCHEMA_VERSION
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex[:12])
    profkit_version: str = ""
    created: str = ""  # UTC, ISO 8601
    wall_ns: int = 0  # of the whole sweep, the harness included
    cell_ns: int = 0  # of it inside the cell
    axes: dict[str, list[AxisValue]] = msgspec.field(default_factory=dict)  # in the order given
    units: dict[str, str] = msgspec.field(default_factory=dict)  # axis: the word behind its values ("tokens")
    slo_ns: dict[str, int] = msgspec.field(default_factory=dict)  # of SLOS: what a point must not exceed
    price_per_gpu_hour: float | None = None  # dollars
    carbon_g_per_kwh: float | None = None
    gpus: int = 0  # that the cell used; 0: it ran on the CPU
    gpu_name: str | None = None  # as torch calls the one it used
    idle_power_w: float | None = None  # of those GPUs together, before the first point
    model: dict[str, Any] = msgspec.field(default_factory=dict)  # its shape, plain numbers; {} where unknown
    ceilings: dict[str, Any] = msgspec.field(default_factory=dict)  # of the GPU, and where they come from
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    source: str | None = None  # the cell's code
    interrupted: bool = False
    environment: dict[str, Any] = msgspec.field(default_factory=dict)  # as in record.Meta
    warnings: list[str] = msgspec.field(default_factory=list)
    not_measured: dict[str, str] = msgspec.field(default_factory=dict)  # what: why; "floor", "energy", "model", …


SLOS: Final = {"ttft": SweepPhase.PREFILL, "tpot": SweepPhase.DECODE, "e2e": SweepPhase.TOTAL}
"""Names of SLOs and the phase whose median they bound."""


@dataclass(frozen=True)
class SweepData:
    """One sweep: metadata, one row per point, one row per measurement."""

    meta: SweepMeta
    points: pa.Table
    samples: pa.Table

    @classmethod
    def of(cls, meta: SweepMeta, points: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]]) -> Self:
        """From rows; what a row lacks is null. The axes' columns get the types of their values in `meta.axes`."""
        return cls(meta, _table(points, points_schema(meta)), _table(samples, SAMPLES))

    def points_frame(self) -> pd.DataFrame:
        """`points` as a DataFrame: point, the axes, the rest of `POINTS`; absent values are NA."""
        return _frame(self.points)

    def samples_frame(self) -> pd.DataFrame:
        """`samples` as a DataFrame; absent values are NA."""
        return _frame(self.samples)


def points_schema(meta: SweepMeta) -> pa.Schema:
    """`POINTS` with a column for each axis behind the point's number, of the type of its values."""
    types = {name: pa.array(values).type for name, values in meta.axes.items()}
    axes = [pa.field(name, _WORDS if pa.types.is_string(kind) else kind) for name, kind in types.items()]
    return pa.schema([POINTS.field(0), *axes, *list(POINTS)[1:]])


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)


def x_axis(meta: SweepMeta) -> str | None:
    """The axis along which curves run: "batch", else the first that holds numbers; None where none does."""
    numeric = [name for name, values in meta.axes.items() if values and all(map(is_number, values))]
    return "batch" if "batch" in numeric else next(iter(numeric), None)


def is_number(value: Any) -> bool:
    """Whether an axis' value can be placed on a scale."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Numbers that may be absent and plain words: categories would only get in the way."""
    words = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    frame = table.to_pandas(types_mapper=nullable)
    return frame.astype(dict.fromkeys(words, object))
