"""Records made by hand, with numbers that a reader can check.

`gpu_record()` lasts 100 ms on one GPU: a prefill of 64 tokens (sent 0, done 30 ms), then three decode steps
that end at 50, 70 and 90 ms.

    GPU     idle 0-10, matmul 10-25, attention 25-30,
            idle 30-44, matmul 44-48, elementwise 48-50,    (the launch came late)
            idle 50-64, matmul 64-68, elementwise 68-70,    (the host was waiting for the GPU)
            idle 70-84, matmul 84-88, elementwise 88-90,    (launched in time, started late)
            idle 90-100

It is busy 38 ms; launch, sync and dependency have 14 ms each, the edges 20 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from profkit.record import (
    EVENTS,
    HOST,
    KV,
    MEMORY,
    STEPS,
    TELEMETRY,
    EventKind,
    MemoryKind,
    Meta,
    Metric,
    Phase,
    Record,
)

MS = 1_000_000

MATMUL = "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT"
ATTENTION = "void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128, 64> >(Flash_fwd_params)"
ELEMENTWISE = (
    "void at::native::vectorized_elementwise_kernel<8, at::native::BinaryFunctor<c10::BFloat16, "
    "at::native::binary_internal::MulFunctor<float> >, std::array<char*, 3ul> >(int, std::array<char*, 3ul>)"
)
STACK = "linear (functional.py:20) < forward (modeling_llama.py:480)"
NO_GPU = "no NVIDIA driver on this machine"

ENVIRONMENT: dict[str, Any] = {
    "python": "3.12.0",
    "cpu": "Some CPU",
    "packages": {"torch": "2.11.0+cu130", "transformers": None},
    "cuda": "13.0",
    "driver": "580.65.06",
    "gpus": [{"index": 0, "name": "NVIDIA H200", "memory_bytes": 150_000_000_000}],
}


@dataclass
class Events:
    """Rows of the table `events`, added in any order."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    correlation: int = 0

    def add(self, kind: EventKind, name: str, start_ms: float, duration_ms: float, **columns: Any) -> None:
        """One row; a host event of thread 1 unless `columns` say otherwise."""
        defaults = {"device": HOST, "lane": 1, "correlation": -1, "op": -1, "step": -1, "rank": 0}
        times = {"start": round(start_ms * MS), "duration": round(duration_ms * MS)}
        self.rows.append({"kind": str(kind), "name": name, **times, **defaults, **columns})

    def launch(self, name: str, at_ms: float, start_ms: float, duration_ms: float, stream: int = 7) -> None:
        """A kernel and the call that launched it."""
        self.correlation += 1
        self.add(EventKind.RUNTIME, "cudaLaunchKernel", at_ms, 0.01, correlation=self.correlation)
        gpu = {"device": 0, "lane": stream, "correlation": self.correlation}
        self.add(EventKind.KERNEL, name, start_ms, duration_ms, **gpu)

    def table(self) -> pa.Table:
        """In order of start; a parent before the child that starts with it."""
        return rows(EVENTS, sorted(self.rows, key=lambda row: (row["start"], -row["duration"])))


def rows(schema: pa.Schema, entries: list[dict[str, Any]]) -> pa.Table:
    """A table of the record; columns that an entry lacks are null."""
    return pa.Table.from_pylist([{name: entry.get(name) for name in schema.names} for entry in entries], schema)


def step(phase: Phase, start_ms: float, end_ms: float, host_ms: float, **columns: Any) -> dict[str, Any]:
    """One row of `steps`, of one sequence that was sent at 0."""
    return {
        "sent": 0,
        "start": round(start_ms * MS),
        "end": round(end_ms * MS),
        "host_duration": round(host_ms * MS),
        "phase": str(phase),
        "batch": 1,
        "query_tokens": 1,
        "tokens_out": 1,
        "generation": 0,
        **columns,
    }


def meta(**changes: Any) -> Meta:
    """Metadata that do not change from call to call."""
    defaults: dict[str, Any] = {
        "name": "baseline",
        "id": "0123456789ab",
        "profkit_version": "0.1.0",
        "created": "2026-01-31T12:00:00+00:00",
        "wall_ns": 100 * MS,
        "host_wall_ns": 100 * MS,
        "environment": ENVIRONMENT,
        "source": "model.generate(**inputs, max_new_tokens=4)",
        "options": {"trace": True, "shapes": False},
    }
    return Meta(**defaults | changes)


def gpu_record(matmul: str = MATMUL, layer_kind: str = "full", stack: str = STACK, **changes: Any) -> Record:
    """The record of this module's first lines; `changes` replace fields of its metadata."""
    events = Events()
    events.add(EventKind.OP, "aten::linear", 6, 5)
    events.launch(matmul, 9, 10, 15)
    events.launch(ATTENTION, 9.5, 25, 5)
    events.add(EventKind.RUNTIME, "cudaStreamSynchronize", 49, 13)
    for at, start in ((43, 44), (63, 64), (69, 84)):
        events.launch(matmul, at, start, 4)
        events.launch(ELEMENTWISE, at + 0.5, start + 4, 2)
    decode = [
        step(Phase.DECODE, end - 10, end, 8, device_duration=6 * MS, context_tokens=64 + i)
        for i, end in enumerate((50, 70, 90))
    ]
    prefill = step(Phase.PREFILL, 5, 30, 15, device_duration=20 * MS, query_tokens=64, context_tokens=0)
    defaults = {
        "profiler_added_ns": 12 * MS,
        "peak_memory_bytes": {0: 3_000_000_000},
        "energy_j": {0: 8.0},
        "energy_error_j": {0: 0.4},
        "kv_formula": {layer_kind: {"layers": 32, "bytes_per_token": 131_072, "window": None, "fixed_bytes": 0}},
    }
    return Record(
        meta(**defaults | changes),
        events=events.table(),
        steps=rows(STEPS, [prefill, *decode]),
        telemetry=telemetry(),
        kv=kv(layer_kind),
        memory=memory(stack),
    )


def kv(layer_kind: str) -> pa.Table:
    """32 layers of an 8B Llama in bf16: 131 072 bytes per token, of 64 to 67 tokens; 2.8 GB lie beside them."""
    entries = []
    for at, end in enumerate((30, 50, 70, 90)):
        tokens = 64 + at
        size = dict.fromkeys(("logical_bytes", "capacity_bytes", "storage_bytes"), 131_072 * tokens)
        allocated = 2_800_000_000 + 131_072 * tokens
        entries.append(
            {"step": at, "time": end * MS, "layer_kind": layer_kind, "device": 0, "layers": 32, "sequences": 1}
            | {"tokens": tokens, **size, "allocated": allocated, "reserved": 3_200_000_000, "inactive": 9_000_000}
        )
    return rows(KV, entries)


def memory(stack: str) -> pa.Table:
    """2.7 GB of weights, 100 MB of others, from 26 ms to 30 ms 191 MB of logits, and a cache that is moved at 49 ms."""
    first, moved = 64 * 131_072, 65 * 131_072
    entries: list[tuple[int | None, int | None, int, MemoryKind]] = [
        (None, None, 3_200_000_000, MemoryKind.SEGMENT),
        (None, None, 2_700_000_000, MemoryKind.WEIGHTS),
        (None, None, 100_000_000, MemoryKind.OTHER),
        (12, 49, first, MemoryKind.KV),
        (26, 30, 191_000_000, MemoryKind.ACTIVATIONS),
        (48, None, moved, MemoryKind.KV),
        (13, None, 33_000_000, MemoryKind.WORKSPACE),
    ]
    return rows(
        MEMORY,
        [
            {
                "device": 0,
                "start": None if start is None else start * MS,
                "end": None if end is None else end * MS,
                "size": size,
                "category": str(kind),
                "stack": None if start is None else stack,
            }
            for start, end, size, kind in entries
        ],
    )


def telemetry() -> pa.Table:
    """Six readings over 100 ms: 70 and 90 W in turn (mean 80 W), the clock at 1980 MHz, and so on."""
    readings = {
        Metric.POWER: (70.0, 90.0, 70.0, 90.0, 70.0, 90.0),
        Metric.SM_CLOCK: (1980.0,) * 6,
        Metric.SM_ACTIVE: (30.0, 35.0, 40.0, 38.0, 36.0, 37.0),
        Metric.DRAM_ACTIVE: (29.0, 34.0, 39.0, 37.0, 35.0, 36.0),  # close to SMs active: labels would touch
        Metric.MEMORY_USED: (4e9,) * 6,
    }
    return rows(
        TELEMETRY,
        [
            {"time": 20 * MS * at, "device": 0, "metric": str(metric), "value": value}
            for metric, values in readings.items()
            for at, value in enumerate(values)
        ],
    )


def cpu_record(**changes: Any) -> Record:
    """50 ms without a GPU: addmm 30 ms, add 10 ms, and 5 ms of linear's own around the addmm."""
    events = Events()
    events.add(EventKind.OP, "aten::linear", 2, 35)
    events.add(EventKind.OP, "aten::addmm", 4, 30)
    events.add(EventKind.OP, "aten::add", 38, 10)
    missing = dict.fromkeys(("gpu_busy", "peak_memory", "energy", "power"), NO_GPU)
    environment = ENVIRONMENT | {"gpus": [], "driver": None}
    defaults = {
        "wall_ns": 50 * MS,
        "host_wall_ns": 50 * MS,
        "not_measured": missing,
        "environment": environment,
        "profiler_added_ns": 1 * MS,
    }
    steps = [
        step(Phase.PREFILL, 1, 20, 19, query_tokens=16, context_tokens=0),
        step(Phase.DECODE, 20, 35, 15, context_tokens=16),
        step(Phase.DECODE, 35, 48, 13, context_tokens=17),
    ]
    return Record(meta(**defaults | changes), events=events.table(), steps=rows(STEPS, steps))


def untraced_record(**changes: Any) -> Record:
    """`gpu_record` as --no-trace gives it: steps and telemetry, no events."""
    full = gpu_record()
    missing = dict.fromkeys(("gpu_busy", "kernels"), "profiled with --no-trace")
    tables = {"steps": full.steps, "telemetry": full.telemetry, "kv": full.kv}
    return Record(meta(**{"not_measured": missing} | changes), **tables)


def stepless_record(**changes: Any) -> Record:
    """`gpu_record` where no model was found."""
    full = gpu_record()
    missing = {"steps": "the cell names no model (an nn.Module): name it with --model"}
    return Record(meta(**{"not_measured": missing} | changes), events=full.events, telemetry=full.telemetry)


def empty_record() -> Record:
    """Nothing at all."""
    return Record(Meta(name="", id="0123456789ab"))


def hostile_record(text: str) -> Record:
    """`gpu_record` with a stranger's text wherever a record holds text."""
    return gpu_record(
        matmul=text,
        layer_kind=text,
        stack=text,
        name=text,
        error=f"ValueError: {text}",
        source=text,
        warnings=[text],
        not_measured={text: text},
        options={text: text},
        environment={"gpus": [{"index": 0, "name": text}], "packages": {"torch": text}, text: [text]},
    )
