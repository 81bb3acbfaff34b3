"""How large is the KV cache after each step: read from shapes, without a wait and without a copy."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from profkit.capture.clock import Clock
from profkit.capture.kvlayers import Count, Layers, Size, Stored, TupleLayers, UnknownCacheError, layers_of
from profkit.capture.paged import PagedCaches
from profkit.record import HOST


class Allocator(NamedTuple):
    """The allocator of a GPU at one moment, bytes."""

    allocated: int
    reserved: int
    inactive: int  # free parts of blocks of which another part is in use


class Reading(NamedTuple):
    """The cache after one step."""

    time: int  # record time, ns
    length: int | None  # tokens per sequence that went through the model; None: unknown
    sizes: tuple[Size, ...]
    allocators: dict[int, Allocator]  # by GPU


Pointers = tuple[int, frozenset[int]]
"""When a cache was read, and where its storages lay then."""

Tracker = Callable[[], Iterable[Size]]
"""What `track_kv` registers: the sizes now."""


class KVRecorder:
    """Reads the caches of one profile, from any thread."""

    def __init__(self, clock: Clock, trackers: Sequence[Tracker] = (), locate: bool = False) -> None:
        self._clock, self._trackers, self._locate = clock, trackers, locate
        self._layers: dict[int, tuple[weakref.ref[Any], Layers]] = {}  # by id of the cache
        self._unknown: set[str] = set()
        self._lock = threading.Lock()
        self.paged = PagedCaches()
        self.loose: list[Reading] = []  # of calls that are no step
        self.pointers: list[Pointers] = []  # where the storages lay, if that is wanted (`locate`)
        self.models: dict[int, tuple[Any, Stored]] = {}  # by id: whose caches were read
        self.notes: list[str] = []  # for the record
        self.seen = 0  # caches read, of a known kind or not

    def read(self, module: Any, cache: Any, length: int | None, encoded: int | None = None) -> Reading | None:
        """The cache after a call of `module`; None where there is none, or of an unknown kind.

        Args:
            module: the model.
            cache: what it was called with or has returned; None where it keeps none.
            length: tokens per sequence that are behind the cache after the call; None: unknown.
            encoded: tokens per sequence that an encoder gave for cross attention; None: unknown.
        """
        sizes: tuple[Size, ...] = ()
        if cache is not None:
            with self._lock:
                self.seen += 1
            try:
                sizes = self._sizes(module, cache, length, encoded)
            except UnknownCacheError as unknown:
                self.note(f"{unknown}: its size is not in `kv`. profkit.track_kv(fn) records what fn returns.")
        sizes += self._tracked()
        if not sizes:
            return None
        gpus = {size.device for size in sizes if size.device != HOST}
        return Reading(self._clock.now(), length, sizes, {gpu: allocator(gpu) for gpu in gpus})

    def read_loose(self, module: Any, cache: Any) -> None:
        """The cache after a call that is no step: one that packs several requests, say."""
        reading = self.read(module, cache, None)
        if reading is not None:
            with self._lock:
                self.loose.append(reading)

    def forget(self) -> None:
        """Let go of the caches and models."""
        self._layers.clear()
        self.models.clear()

    @property
    def tracked(self) -> bool:
        """Whether a function tells sizes."""
        return bool(self._trackers)

    def note(self, text: str) -> None:
        """Say once what could not be read."""
        with self._lock:
            if text not in self._unknown:
                self._unknown.add(text)
                self.notes.append(text)

    def _sizes(self, module: Any, cache: Any, length: int | None, encoded: int | None) -> tuple[Size, ...]:
        if self.paged.knows(cache):
            self.models.setdefault(id(module), (module, Stored(str(cache.dtype), static=True)))
            if self._locate:
                self.pointers.append((self._clock.now(), self.paged.addresses(cache)))
            return tuple(Size(*row) for row in self.paged.sizes(cache))
        found = self._layers.get(id(cache))
        if found is None or found[0]() is not cache or found[1].stale():
            layers = layers_of(cache, module)
            if module is not None and (stored := layers.stored()) is not None:
                self.models.setdefault(id(module), (module, stored))
            if not isinstance(layers, TupleLayers):
                # Layers hold tensors: they must not outlive their cache.
                key = id(cache)
                self._layers[key] = weakref.ref(cache, lambda _: self._layers.pop(key, None)), layers
        else:
            layers = found[1]
        count = Count(length, encoded, addresses=set() if self._locate else None)
        sizes = layers.sizes(count)
        if count.addresses is not None:
            self.pointers.append((self._clock.now(), frozenset(count.addresses)))
        return sizes

    def _tracked(self) -> tuple[Size, ...]:
        sizes: list[Size] = []
        for tracker in tuple(self._trackers):
            try:
                sizes += tracker()
            except Exception as error:  # noqa: BLE001 - the user's own function; its failure is said
                self.note(f"track_kv: {type(error).__name__}: {error}")
        return tuple(sizes)


def allocator(device: int) -> Allocator:
    """The state of torch's allocator; a call of some µs, where `torch.cuda.memory_stats` takes 100."""
    import torch

    stats = torch._C._cuda_memoryStats(device)
    return Allocator(*(stats[name]["all"]["current"] for name in ("allocated_bytes", "reserved_bytes", _INACTIVE)))


_INACTIVE: Final = "inactive_split_bytes"
