"""Which events did torch.profiler record: its raw rows as columns, never FunctionEvents or JSON files.

A profile's Python objects per event are what makes `key_averages()` take tens of seconds. Here each
accessor is mapped over the raw rows once, and only over the rows that need it.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from profkit.analysis.events import CODE, GPU_CODES, Attributes, Ints, RawEvents
from profkit.capture import inputs
from profkit.record import HOST, EventKind

_KIND_OF_ACTIVITY: Final = {
    "cpu_op": EventKind.OP,
    "user_annotation": EventKind.ANNOTATION,
    "python_function": EventKind.PYTHON,
    "cuda_runtime": EventKind.RUNTIME,
    "cuda_driver": EventKind.RUNTIME,
    "kernel": EventKind.KERNEL,
    "gpu_memcpy": EventKind.MEMCPY,
    "gpu_memset": EventKind.MEMSET,
    "overhead": EventKind.OVERHEAD,
}
"""Kineto's activity types that a record keeps. The rest repeat these (gpu_user_annotation) or are
instants without a length (memory)."""

_SKIP: Final = -1
_RUNTIME_NAME: Final = re.compile(r"cu(da)?[A-Z]\w*$")
_OP_NAME: Final = re.compile(r"[A-Za-z_0-9]+::[A-Za-z_0-9.]+$")
_PYTHON_NAME: Final = re.compile(r".*\(\d+\): |<built-in |nn\.Module: ")
_decode_attributes: Final = msgspec.json.Decoder(list[Attributes | None]).decode
_MAX_GPUS: Final = 64
"""More than any one machine shows to a process."""


def columns(results: Any, start_unix_ns: int, shapes: bool = False) -> RawEvents:
    """Raw rows of a stopped profiler as columns, in ns since `start_unix_ns`; `shapes`: it recorded them."""
    with _no_garbage_collection():
        if hasattr(results, "trace_activities"):
            raw = _from_activities(results.trace_activities(), shapes)
        else:
            raw = _from_events(results.events(), shapes)
    raw.start -= start_unix_ns
    return raw


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Hundreds of thousands of new objects would each bring the collector closer to a full pass."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Accessors:
    """The accessors of a row's type as plain functions.

    pybind11 wraps each in an `instancemethod`, whose call costs a quarter more.
    """

    def __init__(self, row_type: type) -> None:
        self._type = row_type

    def __getattr__(self, name: str) -> Any:
        accessor = getattr(self._type, name)
        return getattr(accessor, "__func__", accessor)


def _ints(accessor: Callable[[Any], int], rows: Sequence[Any]) -> Ints:
    return np.fromiter(map(accessor, rows), np.int64, len(rows))


class _Codes(dict[str, int]):
    """Numbers for strings, in the order of their first sight."""

    def __missing__(self, key: str) -> int:
        self[key] = code = len(self)
        return code


def _encode(text: Callable[[Any], str], rows: Sequence[Any]) -> tuple[npt.NDArray[np.int32], list[str]]:
    """A number for each row's text, and the texts by number."""
    codes = _Codes()
    try:
        encoded = np.fromiter(map(codes.__getitem__, map(text, rows)), np.int32, len(rows))
    except UnicodeDecodeError:  # torch 2.13 now and then cuts a frame's name within a character
        codes = _Codes()
        encoded = np.fromiter((codes[_text_of(text, row)] for row in rows), np.int32, len(rows))
    return encoded, list(codes)


def _text_of(text: Callable[[Any], str], row: Any) -> str:
    try:
        return text(row)
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "replace")


def _dictionary(codes: npt.NDArray[np.int32], names: list[str]) -> pa.DictionaryArray:
    # Names of real traces hold lone surrogates and broken bytes now and then.
    clean = [name.encode("utf-8", "replace").decode() for name in names]
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(clean, pa.string()))


def _from_activities(rows: list[Any], shapes: bool = False) -> RawEvents:
    """Torch ≥ 2.13: Kineto's own activities, with their type."""
    if not rows:
        return _empty()
    get = _Accessors(type(rows[0]))
    codes, types = _encode(get.type, rows)
    kind_of = [CODE[_KIND_OF_ACTIVITY[t]] if t in _KIND_OF_ACTIVITY else _SKIP for t in types]
    kind = np.array(kind_of, np.int8)[codes]
    if (kind == _SKIP).any():
        rows = _pick(rows, kind != _SKIP)
        kind = kind[kind != _SKIP]
    names = _dictionary(*_encode(get.name, rows))
    gpu = np.isin(kind, GPU_CODES)
    device = np.full(len(rows), HOST, np.int16)
    device[gpu] = _ints(get.device_id, _pick(rows, gpu))
    raw = _finish(
        rows,
        names,
        kind,
        device,
        start=_ints(get.timestamp, rows),
        duration=_ints(get.duration, rows),
        lane=_ints(get.resource_id, rows),
        get=get,
    )
    if shapes:
        raw.input_rows = np.flatnonzero(kind == CODE[EventKind.OP])
        raw.inputs = inputs.of_metadata([get.metadata_json(rows[at]) for at in raw.input_rows.tolist()])
    return raw


def _from_events(rows: list[Any], shapes: bool = False) -> RawEvents:
    """Torch 2.11 and 2.12: KinetoEvents, which do not say their type.

    The name tells host operators and runtime calls; the device is asked of the others alone.
    """
    if not rows:
        return _empty()
    get = _Accessors(type(rows[0]))
    codes, words = _encode(get.name, rows)
    kind = np.array([_kind_by_name(word) for word in words], np.int8)[codes]
    # Frames of Python on a thread that the profiler does not know have the number 2**64 - 1: here -1.
    lane = np.fromiter(map(get.start_thread_id, rows), np.uint64, len(rows)).view(np.int64)
    device = np.full(len(rows), HOST, np.int16)
    unsure = np.flatnonzero(kind == _SKIP)
    if len(unsure):
        some = [rows[at] for at in unsure.tolist()]
        index = _ints(get.device_index, some)
        annotation = np.fromiter(map(get.is_user_annotation, some), bool, len(some))
        as_gpu = np.array([CODE[_gpu_kind(word)] for word in words], np.int8)[codes[unsure]]
        as_host = np.array([_host_kind(word) for word in words], np.int8)[codes[unsure]]
        gpu = _on_gpu(some, index, as_host == CODE[EventKind.PYTHON], get)
        as_host[index < 0] = CODE[EventKind.OVERHEAD]
        as_host[annotation] = CODE[EventKind.ANNOTATION]
        as_gpu[annotation] = _SKIP  # the GPU's copy of a host annotation
        kind[unsure] = np.where(gpu, as_gpu, as_host)
        device[unsure[gpu]] = index[gpu]
        lane[unsure[gpu]] = _ints(get.device_resource_id, _pick(some, gpu))
    _name_threads(rows, kind, lane, get)
    keep = kind != _SKIP
    if not keep.all():
        rows = _pick(rows, keep)
        codes, kind, device, lane = codes[keep], kind[keep], device[keep], lane[keep]
    raw = _finish(
        rows,
        _dictionary(codes, words),
        kind,
        device,
        start=_ints(get.start_ns, rows),
        duration=_ints(get.duration_ns, rows),
        lane=lane,
        get=get,
    )
    if shapes:
        raw.input_rows = np.flatnonzero(kind == CODE[EventKind.OP])
        ops = [rows[at] for at in raw.input_rows.tolist()]
        raw.inputs = inputs.of_lists(map(get.dtypes, ops), map(get.shapes, ops), len(ops))
    loose = (kind == CODE[EventKind.RUNTIME]) & (raw.link == 0)
    lane[loose] = _ints(get.device_resource_id, _pick(rows, loose))
    return raw


def _on_gpu(rows: list[Any], index: Ints, python: npt.NDArray[np.bool_], get: _Accessors) -> npt.NDArray[np.bool_]:
    """Which rows ran on a GPU.

    Host rows carry the process id as their device, which is far cheaper to read than the device's type. The
    type is asked where that id is so small that it could be a GPU's index, and for frames of Python
    (`python`), which carry 0 on threads that the profiler does not know.
    """
    gpu = (index >= 0) & (index < _MAX_GPUS)
    for at in np.flatnonzero(gpu & python if os.getpid() >= _MAX_GPUS else gpu).tolist():
        gpu[at] = get.device_type(rows[at]).name != "CPU"
    return gpu


def _kind_by_name(name: str) -> int:
    if _RUNTIME_NAME.match(name):
        return CODE[EventKind.RUNTIME]
    return CODE[EventKind.OP] if _OP_NAME.match(name) else _SKIP


def _host_kind(name: str) -> int:
    """The kind of a host row that is neither an aten-like operator nor a runtime call."""
    if name == "[memory]":
        return _SKIP
    return CODE[EventKind.PYTHON if _PYTHON_NAME.match(name) else EventKind.OP]


def _gpu_kind(name: str) -> EventKind:
    if name.startswith("Memcpy"):
        return EventKind.MEMCPY
    return EventKind.MEMSET if name.startswith("Memset") else EventKind.KERNEL


def _name_threads(rows: list[Any], kind: npt.NDArray[np.int8], lane: Ints, get: _Accessors) -> None:
    """Replace the profiler's own thread numbers in `lane` by the system's, seen on one operator each.

    Runtime calls carry a thread id that goes stale when a thread's handle is used again; where there is
    an operator around them, its thread is the right one.
    """
    host = ~np.isin(kind, GPU_CODES)
    from_op = (kind == CODE[EventKind.OP]) | (kind == CODE[EventKind.ANNOTATION])
    numbers, first = np.unique(lane[from_op], return_index=True)
    sample = np.flatnonzero(from_op)[first]
    system = {int(n): int(get.device_resource_id(rows[at])) for n, at in zip(numbers, sample, strict=True)}
    for number in np.unique(lane[host]):
        if int(number) in system:
            lane[host & (lane == number)] = system[int(number)]


def _finish(
    rows: list[Any],
    names: pa.DictionaryArray,
    kind: npt.NDArray[np.int8],
    device: npt.NDArray[np.int16],
    start: Ints,
    duration: Ints,
    lane: Ints,
    get: _Accessors,
) -> RawEvents:
    """The columns that both paths read the same way: ids, links, attributes of GPU work."""
    gpu = np.isin(kind, GPU_CODES)
    launched = gpu | (kind == CODE[EventKind.RUNTIME])
    own = (kind == CODE[EventKind.OP]) | (kind == CODE[EventKind.ANNOTATION])
    ids = _ints(get.correlation_id, rows)
    link = np.zeros(len(rows), np.int64)
    link[launched] = _ints(get.linked_correlation_id, _pick(rows, launched))
    attribute_rows = np.flatnonzero(gpu)
    return RawEvents(
        names=names,
        start=start,
        duration=duration,
        kind=kind,
        device=device,
        lane=lane,
        correlation=np.where(launched, ids, -1),
        op_id=np.where(own, ids, 0),
        link=link,
        attribute_rows=attribute_rows,
        attributes=_attributes(list(map(get.metadata_json, _pick(rows, gpu)))),
    )


def _attributes(texts: list[str | None]) -> list[Attributes | None]:
    """Kineto's fragments `"key": value, …` as structs; one decode for all halves its cost."""
    try:
        return _decode_attributes("[" + ",".join(map(_object, texts)) + "]")
    except msgspec.DecodeError:  # a name with a quote in it, say: that row goes without
        return [found for text in texts for found in _attributes_of_one(text)]


def _attributes_of_one(text: str | None) -> list[Attributes | None]:
    try:
        return _decode_attributes("[" + _object(text) + "]")
    except msgspec.DecodeError:
        return [None]


def _object(text: str | None) -> str:
    return "{" + text + "}" if text else "null"


def _pick(rows: list[Any], mask: npt.NDArray[np.bool_]) -> list[Any]:
    return [rows[at] for at in np.flatnonzero(mask).tolist()]


def _empty() -> RawEvents:
    none = np.empty(0, np.int64)
    return RawEvents(
        names=_dictionary(np.empty(0, np.int32), []),
        start=none.copy(),
        duration=none,
        kind=np.empty(0, np.int8),
        device=np.empty(0, np.int16),
        lane=none,
        correlation=none,
        op_id=none,
        link=none,
    )
