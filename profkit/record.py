"""The record: the tables that one profile consists of, with their columns and units.

Times are int64 nanoseconds since the record's start, on one clock. Sizes are bytes, power watts,
energy joules. What was not measured is null, never zero.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgspec
import pyarrow as pa

from profkit.errors import RecordError

SCHEMA_VERSION: Final = 1

HOST: Final = -1
"""`device` of an event that ran on the host."""


class EventKind(enum.StrEnum):
    """What a row of `events` is."""

    OP = "op"  # a host operator, aten:: or custom
    ANNOTATION = "annotation"  # record_function, profkit.region
    PYTHON = "python"  # a Python frame, with stacks=True
    RUNTIME = "runtime"  # a call of the CUDA runtime or driver
    KERNEL = "kernel"
    MEMCPY = "memcpy"
    MEMSET = "memset"
    OVERHEAD = "overhead"  # the profiler's own work, as it reports it


GPU_WORK: Final = (EventKind.KERNEL, EventKind.MEMCPY, EventKind.MEMSET)
"""Kinds that keep a GPU busy."""


class Phase(enum.StrEnum):
    """What a forward pass did for its sequences."""

    PREFILL = "prefill"  # read the prompt, or a chunk of it
    DECODE = "decode"  # one more token per sequence


class MemoryKind(enum.StrEnum):
    """What a row of `memory` is for."""

    WEIGHTS = "weights"  # and buffers of the models
    KV = "kv"  # was in a cache after a step
    ACTIVATIONS = "activations"  # made and freed in the block
    WORKSPACE = "workspace"  # there at the end, and no tensor of Python: a library's
    OTHER = "other"  # other tensors: inputs, results, what was there before
    SEGMENT = "segment"  # what the allocator holds of the GPU, to give out of it


class Metric(enum.StrEnum):
    """What a row of `telemetry` reads: the stored name, its label for people, its unit."""

    label: str
    unit: str

    def __new__(cls, name: str, label: str = "", unit: str = "") -> Self:  # noqa: D102
        member = str.__new__(cls, name)
        member._value_ = name
        member.label = label
        member.unit = unit
        return member

    POWER = "power_w", "power", "W"
    GPU_UTILIZATION = "gpu_utilization_percent", "GPU utilization", "%"  # share of time with a kernel
    SM_CLOCK = "sm_clock_mhz", "SM clock", "MHz"
    MEMORY_CLOCK = "memory_clock_mhz", "memory clock", "MHz"
    TEMPERATURE = "temperature_c", "temperature", "°C"
    MEMORY_USED = "memory_used_bytes", "memory used", "bytes"  # by every process on the GPU
    CLOCK_EVENT_REASONS = "clock_event_reasons", "clock event reasons", ""  # NVML's bit mask
    # Hardware counters of Hopper and newer, over the 100 ms or more before `time`:
    SM_ACTIVE = "sm_active_percent", "SMs active", "%"
    SM_OCCUPANCY = "sm_occupancy_percent", "SM occupancy", "%"
    TENSOR_ACTIVE = "tensor_active_percent", "tensor cores active", "%"
    DRAM_ACTIVE = "dram_active_percent", "memory bandwidth used", "%"
    PCIE_TX = "pcie_tx_bytes_per_s", "PCIe sent", "bytes/s"
    PCIE_RX = "pcie_rx_bytes_per_s", "PCIe received", "bytes/s"
    NVLINK_TX = "nvlink_tx_bytes_per_s", "NVLink sent", "bytes/s"
    NVLINK_RX = "nvlink_rx_bytes_per_s", "NVLink received", "bytes/s"


_NAME = pa.dictionary(pa.int32(), pa.string())
_LABEL = pa.dictionary(pa.int8(), pa.string())
_DIM3 = pa.list_(pa.int32(), 3)


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns])


EVENTS: Final = _schema(
    ("start", pa.int64()),
    ("duration", pa.int64()),
    ("name", _NAME),
    ("kind", _LABEL),  # EventKind
    ("device", pa.int16()),  # HOST or the GPU's index as torch counts
    ("lane", pa.int64()),  # stream of a GPU event, thread of a host event
    ("correlation", pa.int64()),  # joins a GPU event to the runtime call that launched it; -1: none
    ("op", pa.int32()),  # row of the host operator that launched it; -1: none known
    ("step", pa.int32()),  # row of `steps`; -1: outside every step
    ("rank", pa.int16()),
)
KERNELS: Final = _schema(
    ("event", pa.int32()),  # row of `events`
    ("grid", _DIM3),
    ("block", _DIM3),
    ("registers", pa.int32()),  # per thread
    ("shared_memory", pa.int64()),  # per block
    ("bytes", pa.int64()),  # moved, of copies and sets
    ("graph_node", pa.int64()),  # node of the CUDA graph that replayed it
)
TELEMETRY: Final = _schema(
    ("time", pa.int64()),
    ("device", pa.int16()),
    ("metric", _LABEL),
    ("value", pa.float64()),
)
STEPS: Final = _schema(
    ("sent", pa.int64()),  # start of the generate call it belongs to, else of its generation's first step
    ("start", pa.int64()),  # host enters the forward
    ("end", pa.int64()),  # its last work is done: on the GPU where there is one, else on the host
    ("host_duration", pa.int64()),
    ("device_duration", pa.int64()),  # between two events on the model's stream
    ("phase", _LABEL),  # Phase
    ("batch", pa.int32()),
    ("query_tokens", pa.int32()),  # per sequence, in this step, padding included
    ("context_tokens", pa.int32()),  # per sequence, in the cache before this step
    ("tokens_out", pa.int32()),  # new tokens over the batch; 0 where the step only read prompt
    ("generation", pa.int32()),  # counts generate calls, or prompts where there is no such call
)
KV: Final = _schema(
    ("step", pa.int32()),  # row of `steps`; -1: a call that is no step, such as one of continuous batching
    ("time", pa.int64()),  # when it was read: on the host, at the end of the step
    ("layer_kind", _LABEL),
    ("device", pa.int16()),  # where the layers lie
    ("layers", pa.int32()),
    ("sequences", pa.int32()),  # rows of the batch, beams included; of a paged cache its requests
    ("tokens", pa.int64()),  # per sequence, of the layer that holds most; of a paged cache over all of them
    ("logical_bytes", pa.int64()),  # what those tokens take
    ("capacity_bytes", pa.int64()),  # what the tensors, or the pages given out, have room for
    ("storage_bytes", pa.int64()),  # memory held for it, shared storages once
    ("padding_bytes", pa.int64()),  # part of logical_bytes: tokens that only fill up a prompt
    ("allocated", pa.int64()),  # of the device, by torch's allocator
    ("reserved", pa.int64()),
    ("inactive", pa.int64()),  # free parts of blocks that are in use in part
)
MEMORY: Final = _schema(
    ("device", pa.int16()),
    ("start", pa.int64()),  # null: it was there before the block, or before the history reaches back
    ("end", pa.int64()),  # null: it is there at the end
    ("size", pa.int64()),  # as requested
    ("category", _LABEL),  # MemoryKind
    ("stack", _NAME),  # Python's frames that allocated it, innermost first
)
REQUESTS: Final = _schema(
    ("scheduled", pa.int64()),
    ("sent", pa.int64()),
    ("first_token", pa.int64()),
    ("last_token", pa.int64()),
    ("prompt_tokens", pa.int32()),
    ("output_tokens", pa.int32()),
    ("tenant", _NAME),
    ("error", _NAME),
)
OPS: Final = _schema(
    ("event", pa.int32()),  # row of `events`: a host operator
    ("inputs", _NAME),  # shapes and types of its tensors: "[1, 512, 4096] bf16, [4096, 4096] bf16"
)
SCHEMAS: Final[dict[str, pa.Schema]] = {
    "events": EVENTS,
    "kernels": KERNELS,
    "telemetry": TELEMETRY,
    "steps": STEPS,
    "kv": KV,
    "memory": MEMORY,
    "requests": REQUESTS,
    "ops": OPS,
}


class Meta(msgspec.Struct, kw_only=True):
    """What a record says of itself. Plain data: it is `record.json` in the file."""

    name: str
    schema_version: int = SCHEMA_VERSION
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex[:12])
    profkit_version: str = ""
    created: str = ""  # UTC, ISO 8601
    started_unix_ns: int = 0  # time 0 of every table
    wall_ns: int = 0  # of the profiled block, GPU work that it left behind included
    host_wall_ns: int = 0  # of the profiled block until the host was done
    unprofiled_wall_ns: list[int] = msgspec.field(default_factory=list)  # one per pass of --repeat
    profiler_added_ns: int | None = None  # host time that profiling added, estimated in this process
    peak_memory_bytes: dict[int, int] = msgspec.field(default_factory=dict)  # device: allocator's peak
    energy_j: dict[int, float] = msgspec.field(default_factory=dict)  # device: the hardware counter's
    energy_error_j: dict[int, float] = msgspec.field(default_factory=dict)  # device: ± of it
    decode_weight_bytes: int | None = None  # of the model's weights that every decode step reads
    decode_device: int | None = None  # where they lie
    kv_formula: dict[str, dict[str, int | float | None]] = msgspec.field(default_factory=dict)  # see capture.kvformula
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    source: str | None = None  # the cell's code
    error: str | None = None  # what ended the block early
    environment: dict[str, Any] = msgspec.field(default_factory=dict)
    warnings: list[str] = msgspec.field(default_factory=list)
    not_measured: dict[str, str] = msgspec.field(default_factory=dict)  # what: why


@dataclass
class Record:
    """One profile: metadata and the tables of `SCHEMAS`. Missing tables are empty."""

    meta: Meta
    events: pa.Table = field(default_factory=EVENTS.empty_table)
    kernels: pa.Table = field(default_factory=KERNELS.empty_table)
    telemetry: pa.Table = field(default_factory=TELEMETRY.empty_table)
    steps: pa.Table = field(default_factory=STEPS.empty_table)
    kv: pa.Table = field(default_factory=KV.empty_table)
    memory: pa.Table = field(default_factory=MEMORY.empty_table)
    requests: pa.Table = field(default_factory=REQUESTS.empty_table)
    ops: pa.Table = field(default_factory=OPS.empty_table)

    def __post_init__(self) -> None:
        for name in SCHEMAS:
            setattr(self, name, conform(name, getattr(self, name)))

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The tables by name, in the order of `SCHEMAS`."""
        return {name: getattr(self, name) for name in SCHEMAS}


def conform(name: str, table: pa.Table) -> pa.Table:
    """`table` with the columns, order and types of `SCHEMAS[name]`; further columns are dropped.

    Raises:
        RecordError: a column is missing or cannot be cast.
    """
    schema = SCHEMAS[name]
    missing = [column for column in schema.names if column not in table.column_names]
    if missing:
        raise RecordError(f"table {name!r} has no column {', '.join(missing)}")
    table = table.select(schema.names)
    if table.schema.equals(schema):
        return table
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise RecordError(f"table {name!r} does not fit its schema: {error}") from error
