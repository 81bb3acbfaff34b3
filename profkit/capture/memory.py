"""What lay in a GPU's memory and why: torch's allocator history, each allocation with what it was for."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from profkit.capture.kvcache import Pointers
from profkit.formats.snapshot import ALLOCATION, Held, History, read_snapshot
from profkit.record import MEMORY, MemoryKind

MAX_ENTRIES: Final = 200_000
"""Of the history on each GPU. An entry takes about 2 µs and some KB; a decode step of 32 layers makes about 1 000."""


class MemoryHistoryError(Exception):
    """The allocator's history cannot be recorded; the message says why."""


class MemoryHistory:
    """Records between `start` and `stop`."""

    def __init__(self, devices: Sequence[int]) -> None:
        self._devices = list(devices)
        self._runs = False

    def start(self) -> None:
        """Begin.

        Raises:
            MemoryHistoryError: there is no GPU, or somebody records it already.
        """
        import torch

        if not self._devices:
            raise MemoryHistoryError("there is no GPU whose allocator has a history")
        enabled = getattr(torch._C, "_cuda_isHistoryEnabled", None)
        if enabled is not None and enabled():
            raise MemoryHistoryError("the allocator's history is being recorded already: end that first")
        torch.cuda.memory._record_memory_history(
            "all", context="alloc", stacks="python", max_entries=MAX_ENTRIES, clear_history=True
        )
        self._runs = True

    def stop(self) -> dict[int, History]:
        """What happened on each GPU. Nothing is left switched on."""
        import torch

        if not self._runs:
            return {}
        try:
            snapshot = torch.cuda.memory._snapshot()
            return {device: read_snapshot(snapshot, device) for device in self._devices}
        finally:
            self.drop()

    def drop(self) -> None:
        """Stop without a result."""
        import torch

        if self._runs:
            self._runs = False
            torch.cuda.memory._record_memory_history(None)


def addresses_of(modules: Iterable[Any]) -> set[int]:
    """Where the weights and buffers of models lie."""
    tensors = (tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.is_cuda}


def living_tensors() -> set[int]:
    """Where the tensors lie that Python holds now."""
    import torch

    found = set()
    for value in gc.get_objects():
        # `isinstance` would ask proxies for their class, and run code of theirs.
        if issubclass(type(value), torch.Tensor) and value.is_cuda and value.layout is torch.strided:
            with contextlib.suppress(RuntimeError):  # a compiler's stand-ins for tensors have no address
                found.add(value.untyped_storage().data_ptr())
    return found


def memory_table(
    histories: dict[int, History],
    unix_start_ns: int,
    weights: set[int],
    caches: Sequence[Pointers],
    living: set[int],
) -> pa.Table:
    """The table `memory`.

    Args:
        histories: by GPU.
        unix_start_ns: time 0 of the record.
        weights: addresses of the models' weights.
        caches: addresses of KV caches, each with the record time when they were read.
        living: addresses of the tensors that Python holds at the end.
    """
    by_address: dict[int, list[int]] = {}
    for time, addresses in caches:
        for address in addresses:
            by_address.setdefault(address, []).append(time)
    rows = []
    for device, history in histories.items():
        for held in history.held:
            start = None if held.start_ns is None else held.start_ns - unix_start_ns
            end = None if held.end_ns is None else held.end_ns - unix_start_ns
            category = None
            if held.kind == ALLOCATION:
                category = str(_category(held, start, end, weights, by_address, living))
            rows.append(
                {
                    "device": device,
                    "start": start,
                    "end": end,
                    "size": held.size,
                    "category": category or str(MemoryKind.SEGMENT),
                    "stack": held.stack,
                }
            )
    return pa.Table.from_pylist(rows, schema=MEMORY)


def _category(
    held: Held,
    start: int | None,
    end: int | None,
    weights: set[int],
    caches: dict[int, list[int]],
    living: set[int],
) -> MemoryKind:
    """What an allocation is for. An address is used again and again: only its own time counts."""
    if end is None and held.address in weights:
        return MemoryKind.WEIGHTS
    reads = caches.get(held.address, ())
    if any((start is None or start <= time) and (end is None or time <= end) for time in reads):
        return MemoryKind.KV
    if end is None:
        return MemoryKind.OTHER if held.address in living else MemoryKind.WORKSPACE
    return MemoryKind.OTHER if start is None else MemoryKind.ACTIVATIONS
