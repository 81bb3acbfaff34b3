"""What does one KV cache hold: the layers of each known class, each read in its own way, from shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

FULL: Final = "full"
SLIDING: Final = "sliding"
CROSS: Final = "cross"
LATENT: Final = "mla"
LINEAR: Final = "linear"
QUANTIZED: Final = "quantized"
INDEXER: Final = "indexer"


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


class Stored(NamedTuple):
    """How a cache stores its tokens."""

    dtype: str | None  # torch's name, or that of a quantized format; None: none that is known
    static: bool = False  # room for all tokens, or a whole window, from the start
    quantized: bool = False


class UnknownCacheError(Exception):
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
class Count:
    """One walk over a cache: what its layers hold after a step."""

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


def _grown(layers: Sequence[Any], count: Count) -> None:
    """Layers whose tensors are as long as the tokens that they hold: [B, heads, tokens, width]."""
    for layer in layers:
        keys = layer.keys
        if keys is not None and keys.dim() == 4:
            batch, _, tokens, _ = keys.shape
            count.layer((keys, layer.values), tokens, batch)


def _preallocated(layers: Sequence[Any], count: Count) -> None:
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


def _quantized(layers: Sequence[Any], count: Count) -> None:
    """Layers that hold quantized tokens, and the newest ones in full precision."""
    for layer in layers:
        tensors = [*_tensors(layer._quantized_keys), *_tensors(layer._quantized_values)]
        tensors += [t for t in (layer.keys, layer.values) if t is not None and t.numel()]
        if tensors:
            sequences = next((t.shape[0] for t in reversed(tensors) if t.dim() == 4), None)
            count.layer(tensors, int(layer.cumulative_length), sequences)


def _states(layers: Sequence[Any], count: Count) -> None:
    """Layers that hold states of a fixed size instead of tokens."""
    for layer in layers:
        states = [*layer.conv_states.values(), *layer.recurrent_states.values()]
        tensors = [state for state in states if state is not None]
        if tensors:
            count.layer(tensors, None, tensors[0].shape[0])


def _indexed(layers: Sequence[Any], count: Count) -> None:
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


_Reader = Callable[[Sequence[Any], Count], None]
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
    "FullLayer": ((FULL, _grown),),  # of profkit.models.decode: full from the start
    "DummyLayer": (),  # shares the keys and values of another layer
}
"""Layers of transformers 5.17 to 5.23, and ours. A subclass may hold more than its base: it is not known by that."""

_CACHES: Final = frozenset({"Cache", "DynamicCache", "StaticCache", "QuantizedCache", "MtpCache", "DFlashCache"})
_PAIR: Final = "EncoderDecoderCache"
_HOME: Final = "transformers.cache_utils"
_OURS: Final = "profkit.models.decode"


class Layers:
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

    def sizes(self, count: Count) -> tuple[Size, ...]:
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


class TupleLayers(Layers):
    """A cache that is a tuple per layer: keys, values, and of a decoder's cross attention both once more."""

    def __init__(self, cache: Sequence[Sequence[Any]]) -> None:
        self._lists, self._lengths = [], []
        own = [_TupleLayer(*layer[:2]) for layer in cache]
        cross = [_TupleLayer(*layer[2:4]) for layer in cache if len(layer) == 4]
        self._parts = {(FULL, _grown): own, (CROSS, _grown): cross}


def layers_of(cache: Any, module: Any) -> Layers:
    """The layers of a cache of `module`.

    Raises:
        UnknownCacheError: it, or a layer of it, is of a class that is not known.
    """
    if isinstance(cache, tuple | list):
        if all(
            isinstance(layer, tuple | list) and len(layer) in (2, 4) and all(map(_is_tensor, layer)) for layer in cache
        ):
            return TupleLayers(cache)
        raise UnknownCacheError(f"the KV cache is a {type(cache).__name__} whose parts are not keys and values")
    return Layers(cache, _latent_rank(module))


def _layer_lists(cache: Any) -> Iterator[tuple[list[Any], bool]]:
    """The lists of layers in a cache, and whether they are of cross attention."""
    name = type(cache).__name__
    if type(cache).__module__ != _HOME or (name not in _CACHES and name != _PAIR):
        raise UnknownCacheError(f"the KV cache is of a class that is not known, {_full_name(cache)}")
    if name == _PAIR:
        yield cache.self_attention_cache.layers, False
        yield cache.cross_attention_cache.layers, True
        for part in (cache.self_attention_cache, cache.cross_attention_cache):
            next(_layer_lists(part))
    else:
        yield cache.layers, False


def _known(layer: Any) -> _Parts:
    parts = _LAYERS.get(type(layer).__name__) if type(layer).__module__ in (_HOME, _OURS) else None
    if parts is None:
        raise UnknownCacheError(f"the KV cache has a layer of a class that is not known, {_full_name(layer)}")
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
