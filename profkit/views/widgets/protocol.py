"""What widget and browser say to each other; `frontend/src/protocol.ts` is the same in TypeScript.

    browser → kernel   {kind: "get", id, what, ...options}
                       {kind: "select", what: "step", row}      row null: nothing selected
                       {kind: "ping"}                           no reply: that it can be sent is the answer
    kernel → browser   {kind: "data", id, what, rows, columns, info} and one buffer per column
                       {kind: "error", id, message}

A column is {name, dtype, unit}, with `length` where it does not hold one value a row, and with `encoding` where
its buffer is packed. The buffer is little-endian: int64, int32, uint32, uint8 and float64 as such; string as
length + 1 uint32 offsets and the UTF-8 bytes that they cut up. The encoding "deflate" is a zlib stream of that;
"shuffle-deflate" one of the lowest byte of every value, then the next byte of every value, and so on: numbers
that lie close to each other pack far smaller so. Absent values are never 0: NaN in float64, the lowest value
(`NULL`) in a signed integer column. `info` is small plain data. A request's `id` comes back with its reply: one
widget may be shown twice, and each view knows its own replies by it. The table of the tab that is shown first is
sent with the id `UNASKED` when the widget is displayed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

UNASKED: Final = ""

NULL: Final = {"int64": -(2**63), "int32": -(2**31)}
"""An absent integer."""


NAME_WIDTH: Final = 160
"""The browser cuts readable names to the room that there is; this is more than it ever has."""
FAST: Final = 1
"""zlib's level for a kernel that answers while somebody waits."""
SMALL: Final = 6
"""And for a page that is written once and read often; 9 takes twice as long for 1 % less."""

_WIDTH: Final = {"int64": 8, "int32": 4, "uint32": 4, "uint8": 1, "float64": 8}


@dataclass(frozen=True)
class Column:
    """One column of a reply."""

    name: str
    dtype: str  # "int64", "int32", "uint32", "uint8", "float64" or "string"
    unit: str  # "ns", "share", "tokens", ...; "" has none
    data: bytes  # not packed
    length: int | None = None  # where it is not the reply's `rows`
    packs: bool = False  # whether it is worth packing when a kernel sends it

    @classmethod
    def packed(cls, name: str, values: npt.NDArray[Any], unit: str = "", length: int | None = None) -> Column:
        """A long column of numbers, which travels packed; its type says its dtype."""
        return cls(name, str(values.dtype), unit, np.ascontiguousarray(values).tobytes(), length, packs=True)

    def encoded(self, level: int) -> tuple[str, bytes]:
        """The shortest encoding of the data, "" for none, and the bytes."""
        width = _WIDTH.get(self.dtype, 1)
        found = [("", self.data)]
        if width == 1 or level != FAST:
            found.append(("deflate", zlib.compress(self.data, level)))
        if width > 1:
            planes = np.frombuffer(self.data, np.uint8).reshape(-1, width).T
            found.append(("shuffle-deflate", zlib.compress(planes.tobytes(), level)))
        return min(found, key=lambda one: len(one[1]))


@dataclass(frozen=True)
class Table:
    """What a request is answered with: columns of one length, and small plain data beside them."""

    columns: Sequence[Column] = ()
    rows: int = 0
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame, units: dict[str, str], info: dict[str, Any]) -> Table:
        """The columns of `frame` that `units` names, in that order."""
        columns = [_column(name, frame[name], unit) for name, unit in units.items() if name in frame]
        return cls(columns, len(frame), info)

    def message(self, what: str, level: int = FAST, pack: bool = False) -> tuple[dict[str, Any], list[bytes]]:
        """The reply but for its id, and its buffers; `pack` all columns, or those that are worth it."""
        columns, buffers = [], []
        for column in self.columns:
            encoding, data = column.encoded(level) if pack or column.packs else ("", column.data)
            head: dict[str, Any] = {"name": column.name, "dtype": column.dtype, "unit": column.unit}
            head |= {"encoding": encoding} if encoding else {}
            head |= {"length": column.length} if column.length is not None else {}
            columns.append(head)
            buffers.append(data)
        return {"kind": "data", "what": what, "rows": self.rows, "columns": columns, "info": self.info}, buffers


def _column(name: str, values: pd.Series[Any], unit: str) -> Column:
    if pd.api.types.is_float_dtype(values.dtype):
        return Column(name, "float64", unit, values.to_numpy("<f8", na_value=np.nan).tobytes())
    if pd.api.types.is_integer_dtype(values.dtype):
        kind, code = ("int64", "<i8") if values.dtype in ("int64", "Int64") else ("int32", "<i4")
        return Column(name, kind, unit, values.to_numpy(code, na_value=NULL[kind]).tobytes())
    return Column(name, "string", unit, strings(values.tolist()))


def strings(values: Sequence[object]) -> bytes:
    """Text as it travels."""
    encoded = [str(value).encode(errors="replace") for value in values]
    offsets = np.zeros(len(encoded) + 1, "<u4")
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return offsets.tobytes() + b"".join(encoded)
