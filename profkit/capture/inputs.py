"""What were operators given: Kineto's shapes and types of a whole profile as one column of text.

A profile repeats few combinations very often: each is put into words once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from profkit.analysis.inputs import inputs_text


class _Inputs(msgspec.Struct):
    """The part of an operator's metadata that says what it was given."""

    types: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"[]"), name="Input type")
    dims: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"[]"), name="Input Dims")


_decode: Final = msgspec.json.Decoder(_Inputs).decode


def of_metadata(texts: Sequence[str | None]) -> pa.DictionaryArray:
    """From torch 2.13's metadata of each operator, fragments `"key": value, …`; null where there are none."""
    seen: dict[tuple[bytes, bytes], str] = {}
    return _column((_of_one(text, seen) for text in texts), len(texts))


def _of_one(text: str | None, seen: dict[tuple[bytes, bytes], str]) -> str:
    try:
        found = _decode("{" + (text or "") + "}")
        key = (bytes(found.types), bytes(found.dims))
        if key not in seen:
            seen[key] = inputs_text(msgspec.json.decode(key[0], type=list[str]), msgspec.json.decode(key[1], type=list))
        return seen[key]
    except msgspec.MsgspecError:  # an argument with a quote in it, say: that row goes without
        return ""


def of_lists(types: Iterable[list[str]], dims: Iterable[list[Any]], count: int) -> pa.DictionaryArray:
    """From what torch 2.11's accessors give for each of `count` operators."""
    seen: dict[str, str] = {}

    def words() -> Iterable[str]:
        for kinds, sizes in zip(types, dims, strict=True):
            key = f"{kinds}{sizes}"
            if key not in seen:
                seen[key] = inputs_text(kinds, sizes)
            yield seen[key]

    return _column(words(), count)


def _column(words: Iterable[str], count: int) -> pa.DictionaryArray:
    """Texts as a dictionary column; an empty one says nothing and is null."""
    codes: dict[str, int] = {}
    found = np.fromiter((codes.setdefault(word, len(codes)) if word else -1 for word in words), np.int32, count)
    return pa.DictionaryArray.from_arrays(pa.array(found, mask=found < 0), pa.array(list(codes), pa.string()))
