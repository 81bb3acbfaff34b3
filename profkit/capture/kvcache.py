"""How large is the KV cache after each step: read from shapes, without a wait and without a copy."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from profkit.capture.clock import Clock
from profkit.capture.paged import PagedCaches
from profkit.record import HOST


class Size(NamedTuple):
    """All layers of one kind on one device. Bytes; None is unknown.

    `logical_bytes` is what the tokens (or states) in the layers take, `capacity_bytes` what the tensors or
    pages that are meant for them have room for, `storage_bytes` the memory that is held for it: of storages
    that tensors share each once, and whole also where a tensor shows a part of it.
    """

    layer_kind: str
    device: int
    layers: int | None
    sequences: int | None
    tokens: int | None  # per sequence, of the layer that holds most; of a paged cache over all sequences
    logical_bytes: int | None
    capacity_bytes: int | None
    storage_bytes: int | None


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


class Stored(NamedTuple):
    """How a cache stores its tokens."""

    dtype: str | None  # torch's name, or that of a quantized format; None: none that is known
    static: bool = False  # room for all tokens, or a whole window, from the start
    quantized: bool = False


Pointers = tuple[int, frozenset[int]]
"""When a cache was read, and where its storages lay then."""

Tracker = Callable[[], Iterable[Size]]
"""What `track_kv` registers: the sizes now."""


class KVRecorder:
    """Reads the caches of one profile, from any thread."""

    def __init__(self, clock: Clock, trackers: Sequence[Tracker] = (), locate: bool = False) -> None:
        self._clock, self._trackers, self._locate = clock, trackers, locate
        self._walks: dict[int, tuple[weakref.ref[Any], _Walk]] = {}  # by id of the cache
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
            except _UnknownCacheError as unknown:
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
        self._walks.clear()
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
        found = self._walks.get(id(cache))
        if found is None or found[0]() is not cache or found[1].stale():
            walk = _walk_of(cache, _latent_rank(module))
            if module is not None and (stored := walk.stored()) is not None:
                self.models.setdefault(id(module), (module, stored))
            if not isinstance(walk, _Tuples):
                # A walk holds the layers: it must not keep the tensors of a cache that is gone.
                key = id(cache)
                self._walks[key] = weakref.ref(cache, lambda _: self._walks.pop(key, None)), walk
        else:
            walk = found[1]
        count = _Count(length, encoded, addresses=set() if self._locate else None)
        sizes = walk.sizes(count)
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


class _UnknownCacheError(Exception):
    """A cache, or a layer of one, that is not known; the message names its class."""


@dataclass
class _Tally:
    """What was found of one kind of layer on one device."""

    layers: int = 0
    sequences: int | None = None
    tokens: int | None = None
    logical: int | None = 0
    capacity: int = 0
    storage: int = 0


@dataclass
class _Count:
    """One walk over a cache."""

    length: int | None
    encoded: int | None
    kind: str = ""
    tallies: dict[tuple[str, int], _Tally] = field(default_factory=dict)
    storages: set[int] = field(default_factory=set)
    addresses: set[int] | None = None  # where they lie, if that is wanted

    def layer(
        self, tensors: Sequence[Any], tokens: int | None, sequences: int | None, filled: float | None = 1
    ) -> None:
        """Count a layer's tensors, of which the part `filled` is in use (None: unknown)."""
        device = tensors[0].get_device()
        tally = self.tallies.get((self.kind, device))
        if tally is None:
            tally = self.tallies[self.kind, device] = _Tally()
        tally.layers += 1
        if tokens is not None and (tally.tokens is None or tokens > tally.tokens):
            tally.tokens = tokens
        if sequences is not None:
            tally.sequences = sequences
        for tensor in tensors:
            size = tensor.nbytes
            tally.capacity += size
            if filled is None:
                tally.logical = None
            elif tally.logical is not None:
                tally.logical += size if filled == 1 else round(size * filled)
            storage = tensor.untyped_storage()
            identity = storage._cdata
            if identity not in self.storages:
                self.storages.add(identity)
                tally.storage += storage.nbytes()
                if self.addresses is not None:
                    self.addresses.add(storage.data_ptr())


def _grown(layers: Sequence[Any], count: _Count) -> None:
    """Layers whose tensors are as long as the tokens that they hold: [B, heads, tokens, width]."""
    for layer in layers:
        keys = layer.keys
        if keys is not None and keys.dim() == 4:
            batch, _, tokens, _ = keys.shape
            count.layer((keys, layer.values), tokens, batch)


def _preallocated(layers: Sequence[Any], count: _Count) -> None:
    """Layers whose tensors have room for `max_cache_len` tokens from the start."""
    length = count.encoded if count.kind == CROSS else count.length
    for layer in layers:
        keys = layer.keys
        if keys is None or keys.dim() != 4:
            continue
        batch, _, room, _ = keys.shape
        tokens = None if length is None else min(length, room)
        # The layer's own length is a tensor on the device: reading it would be a wait.
        count.layer((keys, layer.values), tokens, batch, None if tokens is None else tokens / room)


def _quantized(layers: Sequence[Any], count: _Count) -> None:
    """Layers that hold quantized tokens, and the newest ones in full precision."""
    for layer in layers:
        tensors = [*_tensors(layer._quantized_keys), *_tensors(layer._quantized_values)]
        tensors += [t for t in (layer.keys, layer.values) if t is not None and t.numel()]
        if tensors:
            sequences = next((t.shape[0] for t in reversed(tensors) if t.dim() == 4), None)
            count.layer(tensors, int(layer.cumulative_length), sequences)


def _states(layers: Sequence[Any], count: _Count) -> None:
    """Layers that hold states of a fixed size instead of tokens."""
    for layer in layers:
        states = [*layer.conv_states.values(), *layer.recurrent_states.values()]
        tensors = [state for state in states if state is not None]
        if tensors:
            count.layer(tensors, None, tensors[0].shape[0])


def _indexed(layers: Sequence[Any], count: _Count) -> None:
    """The keys by which sparse attention picks its tokens: [B, tokens, width]."""
    for layer in layers:
        keys = layer.indexer_keys
        if keys is None or keys.dim() != 3:
            continue
        positions = getattr(layer, "indexer_position_ids", None)
        tensors = (keys,) if positions is None else (keys, positions)
        room = keys.shape[1]
        if not hasattr(layer, "max_cache_len"):
            count.layer(tensors, room, keys.shape[0])
        else:
            tokens = None if count.length is None else min(count.length, room)
            count.layer(tensors, tokens, keys.shape[0], None if tokens is None else tokens / room)


FULL: Final = "full"
SLIDING: Final = "sliding"
CROSS: Final = "cross"
LATENT: Final = "mla"
LINEAR: Final = "linear"
QUANTIZED: Final = "quantized"
INDEXER: Final = "indexer"

_Reader = Callable[[Sequence[Any], _Count], None]
_Parts = tuple[tuple[str, _Reader], ...]

_LAYERS: Final[dict[str, _Parts]] = {
    "DynamicLayer": ((FULL, _grown),),
    "DynamicSlidingWindowLayer": ((SLIDING, _grown),),
    "DynamicIndexedLayer": ((FULL, _grown), (INDEXER, _indexed)),
    "StaticLayer": ((FULL, _preallocated),),
    "StaticSlidingWindowLayer": ((SLIDING, _preallocated),),
    "StaticIndexedLayer": ((FULL, _preallocated), (INDEXER, _indexed)),
    "QuantoQuantizedLayer": ((QUANTIZED, _quantized),),
    "HQQQuantizedLayer": ((QUANTIZED, _quantized),),
    "Fp8QuantizedLayer": ((QUANTIZED, _quantized),),
    "LinearAttentionLayer": ((LINEAR, _states),),
    "LinearAttentionAndFullAttentionLayer": ((LINEAR, _states), (FULL, _grown)),
    "LinearAttentionAndSlidingWindowAttentionLayer": ((LINEAR, _states), (SLIDING, _grown)),
    "LinearAttentionAndStaticFullAttentionLayer": ((LINEAR, _states), (FULL, _preallocated)),
    "LinearAttentionAndStaticSlidingWindowAttentionLayer": ((LINEAR, _states), (SLIDING, _preallocated)),
    "DummyLayer": (),  # shares the keys and values of another layer
}
"""Layers of transformers 5.17 to 5.23. A subclass may hold more than its base: it is not known by that."""

_CACHES: Final = frozenset({"Cache", "DynamicCache", "StaticCache", "QuantizedCache", "MtpCache", "DFlashCache"})
_PAIR: Final = "EncoderDecoderCache"
_HOME: Final = "transformers.cache_utils"


def holds_kv(value: object) -> bool:
    """Whether an argument or a result is a cache of transformers: by its look, a wrong guess reads nothing."""
    return hasattr(value, "layers") and hasattr(value, "get_seq_length")


class _Walk:
    """The layers of one cache by kind: found once, read after each step."""

    def __init__(self, cache: Any, latent_rank: int | None) -> None:
        self._lists = list(_layer_lists(cache))
        self._lengths = [len(layers) for layers, _ in self._lists]
        self._parts: dict[tuple[str, _Reader], list[Any]] = {}
        for layers, cross in self._lists:
            for layer in layers:
                for kind, reader in _known(layer):
                    self._parts.setdefault((_kind(layer, kind, cross, latent_rank), reader), []).append(layer)

    def stale(self) -> bool:
        """Whether layers came since: a cache without a config makes each when it is first used."""
        return any(len(layers) != length for (layers, _), length in zip(self._lists, self._lengths, strict=True))

    def stored(self) -> Stored | None:
        """How its first layer that holds something stores it."""
        for (_, reader), layers in self._parts.items():
            if reader is _quantized and layers:
                return _quantized_format(layers[0])
        for (_, reader), layers in self._parts.items():
            for layer in layers:
                held = layer.conv_states.get(0) if reader is _states else layer.keys
                if _is_tensor(held):
                    return Stored(str(held.dtype), static=reader is _preallocated)
        return None

    def sizes(self, count: _Count) -> tuple[Size, ...]:
        """Count all layers."""
        for (kind, reader), layers in self._parts.items():
            count.kind = kind
            reader(layers, count)
        return tuple(
            Size(kind, device, t.layers, t.sequences, t.tokens, t.logical, t.capacity, t.storage)
            for (kind, device), t in count.tallies.items()
        )


class _TupleLayer(NamedTuple):
    """A layer of the older form of a cache: a tuple of tuples of tensors."""

    keys: Any
    values: Any


class _Tuples(_Walk):
    """A cache that is a tuple per layer: keys, values, and of a decoder's cross attention both once more."""

    def __init__(self, cache: Sequence[Sequence[Any]]) -> None:
        self._lists, self._lengths = [], []
        own = [_TupleLayer(*layer[:2]) for layer in cache]
        cross = [_TupleLayer(*layer[2:4]) for layer in cache if len(layer) == 4]
        self._parts = {(FULL, _grown): own, (CROSS, _grown): cross}


def _walk_of(cache: Any, latent_rank: int | None) -> _Walk:
    if isinstance(cache, tuple | list):
        if all(
            isinstance(layer, tuple | list) and len(layer) in (2, 4) and all(map(_is_tensor, layer)) for layer in cache
        ):
            return _Tuples(cache)
        raise _UnknownCacheError(f"the KV cache is a {type(cache).__name__} whose parts are not keys and values")
    return _Walk(cache, latent_rank)


def _layer_lists(cache: Any) -> Iterator[tuple[list[Any], bool]]:
    """The lists of layers in a cache, and whether they are of cross attention."""
    name = type(cache).__name__
    if type(cache).__module__ != _HOME or (name not in _CACHES and name != _PAIR):
        raise _UnknownCacheError(f"the KV cache is of a class that is not known, {_full_name(cache)}")
    if name == _PAIR:
        yield cache.self_attention_cache.layers, False
        yield cache.cross_attention_cache.layers, True
        for part in (cache.self_attention_cache, cache.cross_attention_cache):
            next(_layer_lists(part))
    else:
        yield cache.layers, False


def _known(layer: Any) -> _Parts:
    parts = _LAYERS.get(type(layer).__name__) if type(layer).__module__ == _HOME else None
    if parts is None:
        raise _UnknownCacheError(f"the KV cache has a layer of a class that is not known, {_full_name(layer)}")
    return parts


def _quantized_format(layer: Any) -> Stored:
    if hasattr(layer, "fp8_dtype"):
        return Stored("fp8", quantized=True)
    usual = layer.q_group_size == _GROUP
    return Stored(f"int{layer.nbits}" if usual else None, quantized=True)


_GROUP: Final = 64
"""Elements that share a scale by default."""


def _kind(layer: Any, kind: str, cross: bool, latent_rank: int | None) -> str:
    if cross:
        return CROSS
    if kind == FULL and latent_rank is not None and _is_tensor(layer.keys):
        shape = layer.keys.shape
        if len(shape) == 4 and shape[1] == 1 and shape[-1] == latent_rank:
            return LATENT
    return kind


def _latent_rank(module: Any) -> int | None:
    """Width of the compressed keys and values of multi-head latent attention; None: the model has none."""
    config = getattr(getattr(module, "_orig_mod", module), "config", None)
    rank = getattr(getattr(config, "text_config", config), "kv_lora_rank", None)
    return rank if isinstance(rank, int) else None


def _tensors(value: Any) -> list[Any]:
    """The plain tensors inside what a backend keeps of quantized ones: data, scales, zero points."""
    if _is_tensor(value):
        flatten = getattr(value, "__tensor_flatten__", None)
        return [value] if flatten is None else [t for name in flatten()[0] for t in _tensors(getattr(value, name))]
    if isinstance(value, dict):
        return [t for part in value.values() for t in _tensors(part)]
    if isinstance(value, tuple | list):
        return [t for part in value for t in _tensors(part)]
    return []


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _full_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
