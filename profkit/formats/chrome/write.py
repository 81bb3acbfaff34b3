"""A record as a Chrome trace: the JSON that Kineto writes, for ui.perfetto.dev and Holistic Trace Analysis.

Rows become text column by column, in Arrow: a million events are a few joins, and no loop.
"""

from __future__ import annotations

import gzip
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profkit.analysis.events import dictionary_codes, kind_codes, kind_rows, launch_rows, names_and_codes
from profkit.analysis.inputs import kineto_inputs
from profkit.analysis.intervals import Ints
from profkit.errors import OptionError, RecordError
from profkit.formats.chrome.nest import tracks
from profkit.formats.files import replacing
from profkit.record import GPU_WORK, HOST, EventKind, Metric, Record
from profkit.version import __version__

SUFFIXES: Final = (".json", ".json.gz")
HOST_PID: Final = 1_000_000
"""The process of the host's rows. A record does not keep its real number; a GPU's is its index."""
_LARGEST_TID: Final = 2**31 - 1
_CHUNK: Final = 65_536
"""Rows that are text at one time."""
_GZIP: Final = 3
"""Half the time of gzip's usual 6, for 6 % more bytes."""
_CATEGORY: Final = {
    EventKind.OP: "cpu_op",
    EventKind.ANNOTATION: "user_annotation",
    EventKind.PYTHON: "python_function",
    EventKind.RUNTIME: "cuda_runtime",
    EventKind.KERNEL: "kernel",
    EventKind.MEMCPY: "gpu_memcpy",
    EventKind.MEMSET: "gpu_memset",
    EventKind.OVERHEAD: "overhead",
}
_THOUSANDTHS: Final = pa.array([f".{at:03d}" for at in range(1000)])


def write(record: Record, path: str | os.PathLike[str]) -> Path:
    """Write a record as a Chrome trace; a `path` that ends in .gz is packed. Returns the path.

    The file is written aside and renamed, so a full disk or an interrupt leaves an older file as it was.

    Raises:
        OptionError: the path ends in neither .json nor .json.gz.
        RecordError: the file cannot be written.
    """
    target = Path(path)
    if not target.name.endswith(SUFFIXES):
        raise OptionError(f"a trace's file ends in .json or .json.gz, {target.name!r} does not")
    try:
        with replacing(target) as file:
            if target.name.endswith(".gz"):
                # Neither name nor time in its head: the same record gives the same bytes.
                with gzip.GzipFile("", "wb", _GZIP, file, mtime=0) as packed:
                    _write(record, packed)
            else:
                _write(record, file)
    except OSError as error:
        raise RecordError(f"cannot write the trace to {target}: {error.strerror or error}") from error
    return target


def _write(record: Record, file: IO[bytes] | gzip.GzipFile) -> None:
    trace = _Trace(record)
    file.write(trace.head())
    for part in trace.parts():
        file.write(part)
    file.write(trace.tail())


class _Trace:
    """The parts of one trace's file."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._events = record.events
        starts = [table["start"].to_numpy() for table in (record.events, record.steps)]
        self._zero = min(0, *(int(start.min(initial=0)) for start in starts))
        self._device: Ints = self._events["device"].to_numpy().astype(np.int64)
        self._tid, self._threads = _threads(self._events)
        self._pid = np.where(self._device == HOST, HOST_PID, self._device)
        self._kinds, self._kind = kind_codes(self._events)
        words, self._name = names_and_codes(self._events)
        self._names_json = pa.array([_json(word).decode() for word in words], pa.string())

    def head(self) -> bytes:
        """All that stands before the events."""
        meta = self._record.meta
        ranks = self._events["rank"].to_numpy()
        top = {
            "schemaVersion": 1,
            "deviceProperties": [_device(at, gpu) for at, gpu in enumerate(meta.environment.get("gpus") or [])],
            "distributedInfo": {"rank": int(ranks.min(initial=0)) if len(ranks) else 0, "world_size": 1},
            "profkit": {"version": __version__, "name": meta.name, "id": meta.id, "wall_ns": meta.wall_ns},
            "displayTimeUnit": "ms",
            "baseTimeNanoseconds": meta.started_unix_ns + self._zero,
            "traceEvents": [],
        }
        return _json(top)[:-2] + b"\n"

    def tail(self) -> bytes:
        """The last event, which has no comma, and all that stands after the events."""
        last = _named("process_labels", HOST_PID, 0, labels="CPU").removesuffix(b",\n")
        return last + b'\n],"traceName":' + _json(self._record.meta.name) + b"}\n"

    def parts(self) -> Iterator[bytes]:
        """The events, each with a comma behind it."""
        yield from self._names()
        yield from self._steps()
        yield from self._counters()
        args = self._arguments()
        for begin in range(0, len(self._events), _CHUNK):
            yield _text(self._slices(np.arange(begin, min(begin + _CHUNK, len(self._events))), args))
        yield from self._flows()

    def _names(self) -> Iterator[bytes]:
        """Processes and threads, as Kineto names them."""
        yield _named("process_name", HOST_PID, 0, name="host")
        yield _named("process_sort_index", HOST_PID, 0, sort_index=0)
        for gpu in sorted({thread.device for thread in self._threads} - {HOST}):
            yield _named("process_name", gpu, 0, name=f"GPU {gpu}")
            yield _named("process_labels", gpu, 0, labels=f"GPU {gpu}")
            yield _named("process_sort_index", gpu, 0, sort_index=5_000_000 + gpu)
        for order, thread in enumerate(self._threads):
            pid = HOST_PID if thread.device == HOST else thread.device
            yield _named("thread_name", pid, thread.tid, name=thread.name)
            yield _named("thread_sort_index", pid, thread.tid, sort_index=order)

    def _slices(self, rows: Ints, args: pa.Array) -> pa.Array:
        """Events with a length."""
        heads = [f'{{"ph":"X","cat":"{_CATEGORY[one]}","name":' for one in self._kinds]
        return pc.binary_join_element_wise(
            pa.array(heads, pa.string()).take(pa.array(self._kind[rows])),
            self._names_json.take(pa.array(self._name[rows])),
            *self._where(rows),
            *self._times(self._events["start"].to_numpy()[rows] - self._zero),
            ',"dur":',
            *self._times(self._events["duration"].to_numpy()[rows]),
            ',"args":{',
            args.take(pa.array(rows)),
            "}},\n",
            "",
        )

    def _where(self, rows: Ints) -> tuple[Any, ...]:
        return ',"pid":', _digits(self._pid[rows]), ',"tid":', _digits(self._tid[rows]), ',"ts":'

    def _times(self, ns: Ints) -> tuple[pa.Array, pa.Array]:
        """Times as µs with three decimals; none of them is negative."""
        return _digits(ns // 1000), _THOUSANDTHS.take(pa.array(ns % 1000))

    def _arguments(self) -> pa.Array:
        """What stands in each event's `args`: ids, and what is known of GPU work and of operators."""
        events, count = self._events, len(self._events)
        own = np.zeros(count, bool)
        own[kind_rows(events, EventKind.OP, EventKind.ANNOTATION)] = True
        op = events["op"].to_numpy()
        # An operator is known by its row; 0 is none.
        external = np.where(own, np.arange(count), op) + 1
        correlation = events["correlation"].to_numpy()
        parts = [pc.binary_join_element_wise('"External id":', _digits(external), "")]
        launched = pc.binary_join_element_wise(',"correlation":', _digits(correlation), "")
        parts.append(_where_known(launched, correlation >= 0))
        on_gpu = pc.binary_join_element_wise(
            ',"device":', _digits(self._device), ',"context":1,"stream":', _digits(events["lane"].to_numpy()), ""
        )
        parts.append(_where_known(on_gpu, self._device != HOST))
        parts += [self._kernels(), self._inputs()]
        return pc.binary_join_element_wise(*parts, "")

    def _kernels(self) -> pa.Array:
        """Attributes of GPU work, empty for all else."""
        table = self._record.kernels
        parts = [_field(name, table[column]) for name, column in _ATTRIBUTES]
        parts += [_triple(name, table[name]) for name in ("grid", "block")]
        length = self._events["duration"].take(table["event"]).to_numpy()
        rate = pa.array(table["bytes"].fill_null(0).to_numpy() / np.maximum(length, 1))
        speed = _field("memory bandwidth (GB/s)", pc.if_else(table["bytes"].is_valid(), rate, None))
        return self._spread(table["event"], pc.binary_join_element_wise(*parts, speed, ""))

    def _inputs(self) -> pa.Array:
        """Shapes and types of operators' tensors, in Kineto's words."""
        table = self._record.ops
        words, code = dictionary_codes(table["inputs"])
        said = []
        for types, dims in map(kineto_inputs, words):
            said.append(f',"Input type":{_json(types).decode()},"Input Dims":{_json(dims).decode()}')
        return self._spread(table["event"], pa.array(said, pa.string()).take(pa.array(code)))

    def _spread(self, event: pa.ChunkedArray, text: pa.Array) -> pa.Array:
        """Text of some rows of `events` as a column of all of them."""
        at = np.full(len(self._events), -1, np.int64)
        at[event.to_numpy()] = np.arange(len(event))
        flat = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
        return flat.take(pa.array(at, mask=at < 0)).fill_null("")

    def _flows(self) -> Iterator[bytes]:
        """Arrows from each launch to the work that it started."""
        work = kind_rows(self._events, *GPU_WORK)
        launch = launch_rows(self._events, work)
        work, launch = work[launch >= 0], launch[launch >= 0]
        for phase, rows in (("s", np.unique(launch)), ("f", work)):
            end = ',"bp":"e","cat":"ac2g","name":"ac2g"},\n' if phase == "f" else ',"cat":"ac2g","name":"ac2g"},\n'
            for begin in range(0, len(rows), _CHUNK):
                some = rows[begin : begin + _CHUNK]
                correlation = self._events["correlation"].to_numpy()[some]
                start = self._events["start"].to_numpy()[some] - self._zero
                head = f'{{"ph":"{phase}","id":'
                yield _text(
                    pc.binary_join_element_wise(
                        head, _digits(correlation), *self._where(some), *self._times(start), end, ""
                    )
                )

    def _steps(self) -> Iterator[bytes]:
        """Forward passes as the annotations that torch.profiler gives to its steps, on the thread that ran them."""
        host = np.flatnonzero((self._device == HOST) & (self._events["step"].to_numpy() >= 0))
        steps, first = np.unique(self._events["step"].to_numpy()[host], return_index=True)
        thread = dict(zip(steps.tolist(), self._tid[host[first]].tolist(), strict=True))
        usual = int(np.bincount(np.unique(self._tid[host], return_inverse=True)[1]).argmax()) if len(host) else 0
        other = int(np.unique(self._tid[host])[usual]) if len(host) else 0
        for at, step in enumerate(self._record.steps.to_pylist()):
            known = {name: step[name] for name in _STEP_ARGUMENTS if step[name] is not None}
            times = self._micros(step["start"]), self._micros(step["host_duration"], 0)
            yield (
                f'{{"ph":"X","cat":"user_annotation","name":"ProfilerStep#{at}","pid":{HOST_PID},'
                f'"tid":{thread.get(at, other)},"ts":{times[0]},"dur":{times[1]},"args":{_json(known).decode()}}},\n'
            ).encode()

    def _counters(self) -> Iterator[bytes]:
        """Telemetry as counters, one of each metric and GPU."""
        table = self._record.telemetry
        words, code = dictionary_codes(table["metric"])
        value = table["value"].to_numpy()
        rows = np.flatnonzero(np.isfinite(value))
        heads, units = [], []
        for word in words:
            known = next((metric for metric in Metric if metric == word), None)
            heads.append(f'{{"ph":"C","name":{_json(known.label if known else word).decode()},"pid":')
            units.append(f',"tid":0,"args":{{{_json((known.unit if known else "") or "value").decode()}:')
        for begin in range(0, len(rows), _CHUNK):
            some = rows[begin : begin + _CHUNK]
            yield _text(
                pc.binary_join_element_wise(
                    pa.array(heads, pa.string()).take(pa.array(code[some])),
                    _digits(table["device"].to_numpy()[some]),
                    pa.array([f',"ts":{self._micros(at)}' for at in table["time"].to_numpy()[some].tolist()]),
                    pa.array(units, pa.string()).take(pa.array(code[some])),
                    pa.array([msgspec.json.encode(one).decode() for one in value[some].tolist()]),
                    "}},\n",
                    "",
                )
            )

    def _micros(self, ns: int, zero: int | None = None) -> str:
        """A time as µs with three decimals."""
        whole, rest = divmod(ns - (self._zero if zero is None else zero), 1000)
        return f"{whole}.{rest:03d}"


_ATTRIBUTES: Final = (
    ("registers per thread", "registers"),
    ("shared memory", "shared_memory"),
    ("bytes", "bytes"),
    ("graph node id", "graph_node"),
)
_STEP_ARGUMENTS: Final = ("phase", "batch", "query_tokens", "context_tokens", "tokens_out", "generation")


@dataclass(frozen=True)
class _Thread:
    """A track of the viewer."""

    tid: int
    device: int
    name: str


def _threads(events: pa.Table) -> tuple[Ints, list[_Thread]]:
    """The number of each event's track, and all tracks in order.

    A track has the number of its thread or stream where every viewer takes that, and nothing else has it.
    """
    device, lane = events["device"].to_numpy(), events["lane"].to_numpy()
    start, duration = events["start"].to_numpy(), events["duration"].to_numpy()
    tid = np.zeros(len(events), np.int64)
    free = itertools.count(_LARGEST_TID, -1)
    threads = []
    order = np.lexsort((lane, device))
    first = np.flatnonzero(np.diff(device[order], prepend=-2) | np.diff(lane[order], prepend=np.iinfo(np.int64).min))
    for rows in np.split(order, first[1:]) if len(order) else []:
        where, number = int(device[rows[0]]), int(lane[rows[0]])
        name = f"stream {number}" if where != HOST else f"thread {number} (python)" if number >= 0 else "unknown thread"
        track = tracks(start[rows], duration[rows])
        for at in range(int(track.max()) + 1):
            usual = at == 0 and 0 <= number < _LARGEST_TID // 2
            threads.append(_Thread(number if usual else next(free), where, name + (", overlapping" if at else "")))
            tid[rows[track == at]] = threads[-1].tid
    return tid, threads


def _device(at: int, gpu: dict[str, Any]) -> dict[str, Any]:
    """A GPU as CUDA's device properties, as far as the record knows them."""
    version = re.fullmatch(r"(\d+)\.(\d+)", str(gpu.get("compute_capability", "")))
    known = {
        "id": gpu.get("index", at),
        "name": gpu.get("name"),
        "totalGlobalMem": gpu.get("memory_bytes"),
        "computeMajor": int(version[1]) if version else None,
        "computeMinor": int(version[2]) if version else None,
        "numSms": gpu.get("sms"),
    }
    return {name: value for name, value in known.items() if value is not None}


def _named(what: str, pid: int, tid: int, **args: Any) -> bytes:
    return _json({"ph": "M", "name": what, "ts": 0.0, "pid": pid, "tid": tid, "args": args}) + b",\n"


def _field(name: str, column: pa.ChunkedArray) -> pa.Array:
    """``,"name": value``, empty where the value is absent."""
    text = pc.binary_join_element_wise(f',"{name}":', column.cast(pa.string()), "")
    return pc.fill_null(text, "")


def _triple(name: str, column: pa.ChunkedArray) -> pa.Array:
    axes = [pc.list_element(column, axis).cast(pa.string()) for axis in range(3)]
    text = pc.binary_join_element_wise(f',"{name}":[', axes[0], ",", axes[1], ",", axes[2], "]", "")
    return pc.fill_null(text, "")


def _digits(values: Any) -> pa.Array:
    return pa.array(values).cast(pa.string())


def _where_known(text: pa.Array, known: Any) -> pa.Array:
    return pc.if_else(pa.array(known), text, "")


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot say
        import json

        return json.dumps(json.loads(json.dumps(value)), ensure_ascii=False).encode(errors="replace")


def _text(column: pa.Array | pa.ChunkedArray) -> bytes:
    """The text of all cells on end: they lie so in memory."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(flat):
        return b""
    _, offsets, data = flat.buffers()
    cuts = np.frombuffer(offsets, np.int32)[flat.offset : flat.offset + len(flat) + 1]
    return memoryview(data)[cuts[0] : cuts[-1]].tobytes()
