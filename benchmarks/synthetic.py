"""A made-up profile of any size: a decode loop's nested operators, launches and kernels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from profkit.record import EVENTS, KERNELS, STEPS, TELEMETRY, EventKind, Meta, Metric, Record

_OPERATORS, _KERNELS = 30, 60
_UNIT = 5  # three nested operators, a launch, a kernel
_TOKEN = 1500
"""Launches of a step, as an 8B Llama has."""


def decode_record(events: int, seed: int = 0) -> Record:
    """About this many events on one thread and one stream, 4,096 kernels' launches deep at most."""
    random = np.random.default_rng(seed)
    units = events // _UNIT
    length = random.integers(6_000, 20_000, units)
    begin = np.cumsum(length + random.integers(500, 4_000, units)) - length
    work = random.integers(1_000, 25_000, units)
    before = np.cumsum(work) - work
    kernel = np.maximum.accumulate(begin + 5_500 - before) + before  # one after the other, none before its launch
    start = np.concatenate((begin, begin + 200, begin + 500, begin + 1_500, kernel))
    duration = np.concatenate((length, length - 400, length - 1_000, np.minimum(length - 2_500, 3_000), work))
    layers = [random.integers(low, low + _OPERATORS // 3, units) for low in range(0, _OPERATORS, _OPERATORS // 3)]
    launch = np.full(units, _OPERATORS)
    name = np.concatenate((*layers, launch, random.integers(0, _KERNELS, units) + _OPERATORS + 1))
    kind = np.repeat([0, 3, 4], [3 * units, units, units])
    order = np.argsort(start, kind="stable")
    row = np.empty(len(order), np.int64)
    row[order] = np.arange(len(order))
    correlation = np.concatenate((np.full(3 * units, -1), np.tile(np.arange(units), 2)))
    operator = np.concatenate((np.full(3 * units, -1), np.tile(row[2 * units : 3 * units], 2)))
    names = [f"aten::op{at}" for at in range(_OPERATORS)] + ["cudaLaunchKernel"]
    names += [f"void at::native::gemm_kernel<{at}>(int, float*)" for at in range(_KERNELS)]
    table = pa.table(
        {
            "start": start[order],
            "duration": duration[order],
            "name": _dictionary(name[order], names),
            "kind": _dictionary(kind[order], [str(one) for one in EventKind]),
            "device": np.where(kind == 4, 0, -1)[order].astype(np.int16),
            "lane": np.where(kind == 4, 7, 428)[order],
            "correlation": correlation[order],
            "op": operator[order].astype(np.int32),
            "step": np.tile(np.arange(units) // _TOKEN, _UNIT)[order].astype(np.int32),
            "rank": np.zeros(len(order), np.int16),
        },
        schema=EVENTS,
    )
    wall = int((start + duration).max())
    meta = Meta(name=f"{events:,} events", wall_ns=wall, host_wall_ns=wall)
    return Record(
        meta,
        events=table,
        kernels=_attributes(np.sort(row[4 * units :]), random),
        steps=_steps(begin, length, kernel + work),
        telemetry=_telemetry(wall, random),
    )


def _attributes(event: np.ndarray, random: np.random.Generator) -> pa.Table:
    grid = np.stack([random.integers(1, 50, len(event)), *np.ones((2, len(event)), np.int64)], axis=1)
    block = np.tile([128, 1, 1], (len(event), 1))
    triples = [
        pa.FixedSizeListArray.from_arrays(pa.array(values.ravel().astype(np.int32)), type=KERNELS.field("grid").type)
        for values in (grid, block)
    ]
    columns = {
        "event": event.astype(np.int32),
        "grid": triples[0],
        "block": triples[1],
        "registers": np.full(len(event), 64, np.int32),
        "shared_memory": np.zeros(len(event), np.int64),
        "bytes": pa.nulls(len(event), pa.int64()),
        "graph_node": pa.nulls(len(event), pa.int64()),
    }
    return pa.table(columns, schema=KERNELS)


def _steps(begin: np.ndarray, length: np.ndarray, done: np.ndarray) -> pa.Table:
    first = np.arange(0, len(begin), _TOKEN)
    last = np.minimum(first + _TOKEN, len(begin)) - 1
    rows = [
        {
            "sent": int(begin[0]),
            "start": int(begin[a]),
            "end": int(done[b]),
            "host_duration": int(begin[b] + length[b] - begin[a]),
            "device_duration": int(done[b] - done[a]),
            "phase": "decode" if at else "prefill",
            "batch": 1,
            "query_tokens": 1 if at else 512,
            "context_tokens": 511 + at if at else 0,
            "tokens_out": 1,
            "generation": 0,
        }
        for at, (a, b) in enumerate(zip(first, last, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=STEPS)


def _telemetry(wall: int, random: np.random.Generator) -> pa.Table:
    time = np.arange(0, wall, 50_000_000)
    rows = [
        {"time": int(at), "device": 0, "metric": str(metric), "value": float(value)}
        for metric, high in ((Metric.POWER, 700.0), (Metric.SM_ACTIVE, 100.0), (Metric.DRAM_ACTIVE, 100.0))
        for at, value in zip(time, random.uniform(0, high, len(time)), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=TELEMETRY)


def _dictionary(codes: np.ndarray, words: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(words))
