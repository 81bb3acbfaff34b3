"""How large is the paged cache of transformers' continuous batching: pages in use, and tokens in them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

_MODULE: Final = "transformers.generation.continuous_batching.cache"
_CLASS: Final = "PagedAttentionCache"
_LENGTH_CALLS: Final = ("extend_read_and_write_indices", "fill_block_table")
"""Its methods that are told, on the host and before each forward, (request, tokens before, new tokens)."""


class Row(NamedTuple):
    """The fields of `kvcache.Size`; tokens over all requests."""

    layer_kind: str
    device: int
    layers: int
    sequences: int
    tokens: int | None
    logical_bytes: int | None
    capacity_bytes: int
    storage_bytes: int


class PagedCaches:
    """Knows, between `attach` and `detach`, the length of every request in a paged cache."""

    def __init__(self) -> None:
        self._lengths: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()  # by cache, by request
        self._undo: list[Callable[[], None]] = []

    def attach(self) -> None:
        """Listen to the lengths that the engine tells its cache."""
        owner = getattr(sys.modules.get(_MODULE), _CLASS, None)  # whoever batches has it imported
        for name in _LENGTH_CALLS:
            original = getattr(owner, name, None)
            if original is not None:
                setattr(owner, name, self._listening(original))
                self._undo.append(functools.partial(setattr, owner, name, original))

    def detach(self) -> None:
        """Put the methods back."""
        while self._undo:
            self._undo.pop()()

    def knows(self, cache: Any) -> bool:
        """Whether it is a paged cache of transformers."""
        return type(cache).__name__ == _CLASS and type(cache).__module__ == _MODULE

    def sizes(self, cache: Any) -> list[Row]:
        """One row per kind of attention layer."""
        lengths = self._lengths.get(cache, {})
        device, unclaimed = _storage(cache)
        rows: dict[str, Row] = {}
        for group in _groups(cache):
            blocks = len(set(chain.from_iterable(group.tables.values())))
            tokens = _tokens(group, lengths, blocks)
            logical = None if tokens is None else tokens * group.block_bytes // group.page
            row = Row(group.kind, device, group.layers, len(group.tables), tokens, logical, 0, 0)
            before = rows.get(group.kind)
            if before is not None:  # 5.17 splits a kind into groups of equally many layers
                added = None if logical is None or before.logical_bytes is None else before.logical_bytes + logical
                row = before._replace(layers=before.layers + group.layers, logical_bytes=added)
            capacity = row.capacity_bytes + blocks * group.block_bytes
            # The kinds share one pool: it is counted with the first.
            rows[group.kind] = row._replace(capacity_bytes=capacity, storage_bytes=row.storage_bytes + unclaimed)
            unclaimed = 0
        return list(rows.values())

    def addresses(self, cache: Any) -> frozenset[int]:
        """Where the pool lies."""
        return frozenset(tensor.untyped_storage().data_ptr() for tensor in _pool(cache))

    def _listening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def method(cache: Any, request_id: str, past_length: int, query_length: int, *rest: Any, **more: Any) -> Any:
            self._lengths.setdefault(cache, {})[request_id] = past_length + query_length
            return original(cache, request_id, past_length, query_length, *rest, **more)

        return method


class _Group(NamedTuple):
    """Layers whose pages are given out together."""

    kind: str
    layers: int
    page: int  # tokens
    block_bytes: int  # a page of each layer
    window: int | None  # tokens that a layer keeps; None: all
    tables: dict[str, list[int]]  # blocks of each request


def _groups(cache: Any) -> Iterator[_Group]:
    if hasattr(cache, "cache_allocators"):  # 5.23
        for attention, allocator in cache.cache_allocators.items():
            yield _Group(
                kind=attention.removesuffix("_attention"),
                layers=len(allocator.layer_indices),
                page=allocator.tokens_per_page,
                block_bytes=allocator.bytes_per_block,
                window=getattr(allocator, "sliding_window", None),
                tables=dict(allocator.block_table),
            )
        return
    tensors = (*cache.key_cache, *cache.value_cache)  # 5.17: [blocks * page, heads, width] for a layer of each group
    for manager in cache.group_cache_managers:
        window = getattr(manager, "sliding_window", None)
        yield _Group(
            kind="full" if window is None else "sliding",
            layers=len(cache.key_cache),
            page=cache.block_size,
            block_bytes=sum(tensor.nbytes // tensor.shape[0] for tensor in tensors) * cache.block_size,
            window=window,
            tables=dict(manager.block_table),
        )


def _tokens(group: _Group, lengths: Mapping[str, int], blocks: int) -> int | None:
    """Tokens that a group holds; None where a request's length was not heard."""
    total = 0
    for request, table in group.tables.items():
        if request not in lengths:
            return None
        total += min(lengths[request], group.window or lengths[request], group.page * len(table))
    # Requests that share a page share the tokens in it, and only full pages are shared.
    return total - group.page * (sum(map(len, group.tables.values())) - blocks)


def _storage(cache: Any) -> tuple[int, int]:
    """(device, bytes) of the pool."""
    tensors = _pool(cache)
    return tensors[0].get_device(), sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def _pool(cache: Any) -> list[Any]:
    return [cache.cache_tensor] if hasattr(cache, "cache_tensor") else [*cache.key_cache, *cache.value_cache]
