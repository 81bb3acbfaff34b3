"""`track_kv`: how an engine whose cache profkit does not know tells its size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from profkit.capture.kvlayers import Size
from profkit.errors import OptionError, nearest
from profkit.record import HOST

_COUNTS: Final = ("layers", "sequences", "tokens", "logical_bytes", "capacity_bytes", "storage_bytes")
FIELDS: Final = ("layer_kind", "device", *_COUNTS)
"""What a mapping of one kind of layer may say; all but a size in bytes may be left out."""

trackers: Final[list[KVTracker]] = []
"""Those of this process, whatever profile runs."""


class KVTracker:
    """A function that tells the sizes of a cache after each step, until it is closed."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        if not callable(fn):
            raise OptionError(f"track_kv takes a function that returns sizes, not {type(fn).__name__}")
        self._fn = fn
        trackers.append(self)

    def __call__(self) -> list[Size]:
        """The sizes now."""
        return sizes_of(self._fn())

    def close(self) -> None:
        """Ask the function no longer."""
        if self in trackers:
            trackers.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def track_kv(fn: Callable[[], Any]) -> KVTracker:
    """Record, after each step, the KV cache of an engine that profkit does not know.

    `fn` is called on the host at the end of each forward that is found, and of each `profkit.step`. It must
    not wait for the GPU. It returns one of

    - {"full": 123_456}: bytes by kind of layer;
    - {"full": {"logical_bytes": …, "tokens": …}}: fields of `FIELDS` by kind of layer;
    - [{"layer_kind": "full", "logical_bytes": …}, …]: the same as a list.

    `logical_bytes` is what the tokens in the cache take, `capacity_bytes` what their pages or slots have room
    for, `storage_bytes` the memory held for the cache; `tokens` per sequence, `device` the GPU's index (−1, the
    default: the host). What is left out is recorded as unknown.

    As a context manager it ends with its block. Otherwise it ends with the profile that runs, or, called before
    one, with `close()`. An error in `fn` leaves a warning in the record and nothing else.
    """
    return KVTracker(fn)


def sizes_of(answer: Any) -> list[Size]:
    """What a tracked function returned, as sizes.

    Raises:
        OptionError: it is none of the forms.
    """
    if isinstance(answer, Mapping):
        rows = [
            {"layer_kind": kind, **(value if isinstance(value, Mapping) else {"logical_bytes": value})}
            for kind, value in answer.items()
        ]
        return [_size(row) for row in rows]
    if isinstance(answer, Iterable) and not isinstance(answer, str | bytes):
        return [_size(row) for row in answer]
    raise OptionError(f"the function returns a mapping or a list of mappings, not {type(answer).__name__}")


def _size(row: Any) -> Size:
    if not isinstance(row, Mapping):
        raise OptionError(f"a kind of layer is a mapping with {', '.join(FIELDS)}, not {type(row).__name__}")
    for name in row:
        if name not in FIELDS:
            raise OptionError(f"no field {name!r} in a size of a cache{nearest(str(name), FIELDS)}")
    kind = row.get("layer_kind")
    if not isinstance(kind, str) or not kind:
        raise OptionError(f"layer_kind is text, not {kind!r}")
    for name in _COUNTS:
        value = row.get(name)
        if value is not None and not _whole(value, 0):
            raise OptionError(f"{name} of {kind!r} is a whole number from 0, not {value!r}")
    device = row.get("device", HOST)
    if not _whole(device, HOST):
        raise OptionError(f"device of {kind!r} is the index of a GPU, or −1 for the host, not {device!r}")
    if all(row.get(name) is None for name in _COUNTS if name.endswith("_bytes")):
        raise OptionError(f"{kind!r} has no size: give logical_bytes, capacity_bytes or storage_bytes")
    return Size(kind, device, *(row.get(name) for name in _COUNTS))


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63
