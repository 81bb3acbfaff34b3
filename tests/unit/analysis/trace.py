"""Hand-made records: events as rows, in any order; times in ns."""

import pyarrow as pa

from profkit.record import EVENTS, HOST, STEPS, EventKind, Meta, Record

THREAD, STREAM = 1, 7


def event(kind, start, end, name, *, device=HOST, lane=THREAD, correlation=-1, op=None, step=-1):
    """A row of `events`; `op` is the row of the operator that launched it."""
    return {
        "start": start,
        "duration": end - start,
        "name": name,
        "kind": str(kind),
        "device": device,
        "lane": lane,
        "correlation": correlation,
        "op": op,
        "step": step,
        "rank": 0,
    }


def operator(start, end, name="aten::mm", lane=THREAD):
    return event(EventKind.OP, start, end, name, lane=lane)


def call(start, end, correlation=-1, name="cudaLaunchKernel", lane=THREAD):
    """A call of the CUDA runtime."""
    return event(EventKind.RUNTIME, start, end, name, lane=lane, correlation=correlation)


def kernel(start, end, correlation=-1, name="gemm", lane=STREAM, device=0, op=None):
    return event(EventKind.KERNEL, start, end, name, device=device, lane=lane, correlation=correlation, op=op)


def copy(start, end, correlation=-1, name="Memcpy DtoH (Device -> Pageable)", lane=STREAM, device=0):
    return event(EventKind.MEMCPY, start, end, name, device=device, lane=lane, correlation=correlation)


def step(start, end, phase="decode", **columns):
    """A row of `steps` that made one token of one sequence, unless said otherwise."""
    row = {
        "sent": start,
        "start": start,
        "end": end,
        "host_duration": end - start,
        "device_duration": None,
        "phase": phase,
        "batch": 1,
        "query_tokens": 1,
        "context_tokens": None,
        "tokens_out": 1,
        "generation": 0,
    }
    return row | columns


def record(*events, steps=(), wall_ns=100, **meta):
    """A record of these rows."""
    rows = sorted(events, key=lambda row: row["start"])
    at = {id(row): index for index, row in enumerate(rows)}
    rows = [row | {"op": -1 if row["op"] is None else at[id(row["op"])]} for row in rows]
    return Record(
        Meta(name="test", wall_ns=wall_ns, host_wall_ns=wall_ns, **meta),
        events=pa.Table.from_pylist(rows, schema=EVENTS),
        steps=pa.Table.from_pylist(list(steps), schema=STEPS),
    )
