"""Which call launched which GPU work: raw profiler rows to the tables `events` and `kernels`.

And the rows of `events` by kind, by name, by launch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from profkit.record import EVENTS, GPU_WORK, KERNELS, OPS, EventKind

Ints = npt.NDArray[np.int64]

KINDS: Final = tuple(EventKind)
CODE: Final[dict[EventKind, int]] = {kind: code for code, kind in enumerate(KINDS)}
GPU_CODES: Final = np.array([CODE[kind] for kind in GPU_WORK], np.int8)

CLOCK_SKEW_NS: Final = 100_000
"""GPU work that starts this long before its launch is a damaged record. The profiler fits the GPU's
clock to the host's; the fit is good to microseconds, damaged rows are off by milliseconds and more."""

LAUNCHING: Final = r"Launch(?!Host)|Memcpy|Memset"
"""A runtime call with one of these in its name puts work on the GPU."""


class Attributes(msgspec.Struct):
    """Kineto's metadata of one GPU event, as far as we keep it."""

    grid: tuple[int, int, int] | None = None
    block: tuple[int, int, int] | None = None
    registers: int | None = msgspec.field(default=None, name="registers per thread")
    shared_memory: int | None = msgspec.field(default=None, name="shared memory")
    bytes: int | None = None
    graph_node: int | None = msgspec.field(default=None, name="graph node id")


@dataclass
class RawEvents:
    """Columns as a profiler gives them, before anything is joined. All arrays have one length.

    `link` of a runtime call or of GPU work is the `op_id` of the host operator around the call; 0: none.
    """

    names: pa.DictionaryArray
    start: Ints  # record time, ns
    duration: Ints
    kind: npt.NDArray[np.int8]  # index into KINDS
    device: npt.NDArray[np.int16]
    lane: Ints
    correlation: Ints  # the driver's id of the launch, on runtime calls and GPU work; else -1
    op_id: Ints  # the profiler's id of a host operator or annotation; else 0
    link: Ints
    attribute_rows: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    attributes: Sequence[Attributes | None] = ()  # of the rows `attribute_rows`
    input_rows: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    inputs: pa.DictionaryArray | None = None  # of the rows `input_rows`, as `OPS` holds them; null: none known


@dataclass(frozen=True)
class Losses:
    """What the profiler should have recorded and did not, or recorded wrongly."""

    launches: int  # calls that put work on a GPU
    without_record: int  # of them: no GPU work recorded
    damaged: int  # GPU rows that start before their launch; dropped

    def warnings(self) -> list[str]:
        """Sentences for the record."""
        found = []
        if self.without_record:
            found.append(
                f"{self.without_record} of {self.launches} launches have no GPU record: the profiler lost "
                "them, so GPU times are too low. Profile a shorter cell, or use --no-trace."
            )
        if self.damaged:
            found.append(
                f"{self.damaged} GPU records start before their launch and were dropped as damaged; "
                "GPU times are too low by as much."
            )
        return found


def assemble(raw: RawEvents, wall_ns: int, steps: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table, Losses]:
    """The tables `events` (in order of start), `kernels` and `ops`, and what was lost.

    Host rows are kept that start in [0, `wall_ns`); GPU rows whose launch was kept, or, where no launch
    is known, that start in the window. A row belongs to the step in whose host time it started or was
    launched.
    """
    gpu = np.isin(raw.kind, GPU_CODES)
    runtime = raw.kind == CODE[EventKind.RUNTIME]
    launch = _match(raw.correlation, np.flatnonzero(runtime), np.flatnonzero(gpu))

    known = launch >= 0
    launch_start = np.where(known, raw.start[launch], raw.start)
    damaged = gpu & known & (raw.start < launch_start - CLOCK_SKEW_NS)
    keep = (launch_start >= 0) & (launch_start < wall_ns) & ~damaged
    kept = np.flatnonzero(keep)
    kept = kept[np.argsort(raw.start[kept], kind="stable")]

    launching = keep & runtime & _named(raw.names, LAUNCHING) & ~_capturing(raw)
    answered = np.zeros(len(raw.start), bool)
    answered[launch[gpu & known]] = True
    losses = Losses(
        launches=int(launching.sum()),
        without_record=int((launching & ~answered).sum()) if gpu.any() else 0,
        damaged=int(damaged.sum()),
    )

    row = np.full(len(raw.start), -1, np.int64)  # old row -> new row
    row[kept] = np.arange(len(kept))
    op = _match_ids(raw.link, raw.op_id)
    op = np.where(op >= 0, row[op], -1)[kept]
    events = pa.table(
        {
            "start": raw.start[kept],
            "duration": raw.duration[kept],
            "name": _names(raw.names, kept),
            "kind": pa.DictionaryArray.from_arrays(pa.array(raw.kind[kept]), pa.array(map(str, KINDS))),
            "device": raw.device[kept],
            "lane": raw.lane[kept],
            "correlation": raw.correlation[kept],
            "op": op.astype(np.int32),
            "step": _step(launch_start[kept], steps),
            "rank": np.zeros(len(kept), np.int16),
        },
        schema=EVENTS,
    )
    return events, _kernels(raw, row), _ops(raw, row), losses


def _names(names: pa.DictionaryArray, kept: Ints) -> pa.DictionaryArray:
    """The names of these rows, with a dictionary of no others."""
    codes = names.indices.to_numpy(zero_copy_only=False)[kept]
    used, codes = np.unique(codes, return_inverse=True)
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names.dictionary.take(pa.array(used)))


def _capturing(raw: RawEvents) -> npt.NDArray[np.bool_]:
    """Which rows lie in the capture of a CUDA graph on their thread: its launches are noted, not run."""
    inside = np.zeros(len(raw.start), bool)
    begins = np.flatnonzero(_named(raw.names, "BeginCapture"))
    ends = np.flatnonzero(_named(raw.names, "EndCapture"))
    for begin in begins.tolist():
        later = ends[(raw.lane[ends] == raw.lane[begin]) & (raw.start[ends] > raw.start[begin])]
        if len(later):
            inside |= (
                (raw.lane == raw.lane[begin]) & (raw.start > raw.start[begin]) & (raw.start < raw.start[later].min())
            )
    return inside


def kind_rows(events: pa.Table, *kinds: EventKind) -> Ints:
    """Rows of `events` of these kinds, in order of start."""
    column = _flat(events["kind"])
    wanted = np.array([kind in kinds for kind in column.dictionary.to_pylist()], bool)
    return np.flatnonzero(wanted[column.indices.to_numpy(zero_copy_only=False)])


def name_mask(events: pa.Table, pattern: str) -> npt.NDArray[np.bool_]:
    """Which rows of `events` have a name in which the pattern is found."""
    return _named(_flat(events["name"]), pattern)


def launch_calls(events: pa.Table) -> Ints:
    """Rows of the runtime calls that put work on a GPU: kernels, graphs, copies, sets."""
    rows = kind_rows(events, EventKind.RUNTIME)
    return rows[name_mask(events, LAUNCHING)[rows]]


def launch_rows(events: pa.Table, rows: Ints) -> Ints:
    """For each of these rows of GPU work the row of the runtime call that launched it, else -1."""
    calls = kind_rows(events, EventKind.RUNTIME)
    return _match(events["correlation"].to_numpy(), calls, rows)[rows]


def names_and_codes(events: pa.Table) -> tuple[list[str], Ints]:
    """The names that occur in `events`, and for each row the index of its name."""
    return dictionary_codes(events["name"])


def dictionary_codes(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """The words of a dictionary column, and for each row the index of its word."""
    flat = _flat(column)
    return flat.dictionary.to_pylist(), flat.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def kind_codes(events: pa.Table) -> tuple[list[EventKind], npt.NDArray[np.int8]]:
    """The kinds that occur in `events`, and for each row the index of its kind."""
    column = _flat(events["kind"])
    kinds = [EventKind(kind) for kind in column.dictionary.to_pylist()]
    return kinds, column.indices.to_numpy(zero_copy_only=False)


def _flat(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A dictionary column as one array."""
    flat = column.unify_dictionaries().combine_chunks()
    return flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat


def _named(names: pa.DictionaryArray, pattern: str) -> npt.NDArray[np.bool_]:
    """Which rows have a name in which the pattern is found; it is tried once a name."""
    if not len(names):
        return np.zeros(0, bool)
    find = re.compile(pattern).search
    hit = np.array([find(name) is not None for name in names.dictionary.to_pylist()], bool)
    return hit[names.indices.to_numpy(zero_copy_only=False)]


def _match(keys: Ints, among: Ints, of: Ints) -> Ints:
    """For each row in `of` the row in `among` that has the same key, else -1; -1 for all other rows."""
    found = np.full(len(keys), -1, np.int64)
    if not len(among) or not len(of):
        return found
    order = among[np.argsort(keys[among], kind="stable")]
    at = np.minimum(np.searchsorted(keys[order], keys[of]), len(order) - 1)
    hit = (keys[order[at]] == keys[of]) & (keys[of] >= 0)
    found[of[hit]] = order[at[hit]]
    return found


def _match_ids(link: Ints, op_id: Ints) -> Ints:
    """For each row the row whose `op_id` is its `link`, else -1."""
    found = np.full(len(link), -1, np.int64)
    ops = np.flatnonzero(op_id > 0)
    linked = np.flatnonzero(link > 0)
    if not len(ops) or not len(linked):
        return found
    order = ops[np.argsort(op_id[ops], kind="stable")]
    at = np.minimum(np.searchsorted(op_id[order], link[linked]), len(order) - 1)
    hit = op_id[order[at]] == link[linked]
    found[linked[hit]] = order[at[hit]]
    return found


def _step(at: Ints, steps: pa.Table) -> npt.NDArray[np.int32]:
    """The step in whose host time each moment falls, else -1."""
    if not len(steps) or not len(at):
        return np.full(len(at), -1, np.int32)
    start = steps["start"].to_numpy()
    end = start + steps["host_duration"].to_numpy()
    step = np.searchsorted(start, at, side="right") - 1
    inside = (step >= 0) & (at < end[step])
    return np.where(inside, step, -1).astype(np.int32)


def _kernels(raw: RawEvents, row: Ints) -> pa.Table:
    event = row[raw.attribute_rows]
    known = np.fromiter((a is not None for a in raw.attributes), bool, len(raw.attributes))
    at = np.flatnonzero((event >= 0) & known)
    at = at[np.argsort(event[at], kind="stable")]
    found = [raw.attributes[i] for i in at.tolist()]
    columns = {name: [getattr(a, name) for a in found] for name in KERNELS.names if name != "event"}
    for name in ("grid", "block"):
        columns[name] = _triples(columns[name])
    return pa.table({"event": event[at].astype(np.int32), **columns}, schema=KERNELS)


def _ops(raw: RawEvents, row: Ints) -> pa.Table:
    if raw.inputs is None:
        return OPS.empty_table()
    event = row[raw.input_rows]
    known = raw.inputs.is_valid().to_numpy(zero_copy_only=False)
    at = np.flatnonzero((event >= 0) & known)
    at = at[np.argsort(event[at], kind="stable")]
    return pa.table({"event": event[at].astype(np.int32), "inputs": raw.inputs.take(pa.array(at))}, schema=OPS)


def _triples(values: list[tuple[int, int, int] | None]) -> pa.Array:
    """A column of grids or blocks; row by row it would cost more than all the other columns."""
    flat = np.array([value or (0, 0, 0) for value in values], np.int32).reshape(-1)
    absent = pa.array([value is None for value in values], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=KERNELS.field("grid").type, mask=absent)
