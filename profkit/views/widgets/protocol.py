"""What widget and browser say to each other; `frontend/src/protocol.ts` is the same in TypeScript.

    browser → kernel   {kind: "get", id, what, ...options}
                       {kind: "select", what: "step", row}      row null: nothing selected
                       {kind: "ping"}                           no reply: that it can be sent is the answer
    kernel → browser   {kind: "data", id, what, rows, columns, info} and one buffer per column
                       {kind: "error", id, message}

A column is {name, dtype, unit}. Its buffer is little-endian: int64, int32 and float64 as such; string as
`rows` + 1 uint32 offsets and the UTF-8 bytes that they cut up. Absent values are never 0: NaN in float64,
the lowest value (`NULL`) in an integer column. `info` is small plain data. A request's `id` comes back with
its reply: one widget may be shown twice, and each view knows its own replies by it. The table of the tab
that is shown first is sent with the id `UNASKED` when the widget is displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

UNASKED: Final = ""

NULL: Final = {"int64": -(2**63), "int32": -(2**31)}
"""An absent integer."""


@dataclass(frozen=True)
class Column:
    """One column of a reply as it travels."""

    name: str
    dtype: str  # "int64", "int32", "float64" or "string"
    unit: str  # "ns", "share", "tokens", ...; "" has none
    data: bytes


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

    def message(self, what: str) -> tuple[dict[str, Any], list[bytes]]:
        """The reply but for its id, and its buffers."""
        columns = [{"name": c.name, "dtype": c.dtype, "unit": c.unit} for c in self.columns]
        content = {"kind": "data", "what": what, "rows": self.rows, "columns": columns, "info": self.info}
        return content, [column.data for column in self.columns]


def _column(name: str, values: pd.Series[Any], unit: str) -> Column:
    if pd.api.types.is_float_dtype(values.dtype):
        return Column(name, "float64", unit, values.to_numpy("<f8", na_value=np.nan).tobytes())
    if pd.api.types.is_integer_dtype(values.dtype):
        kind, code = ("int64", "<i8") if values.dtype in ("int64", "Int64") else ("int32", "<i4")
        return Column(name, kind, unit, values.to_numpy(code, na_value=NULL[kind]).tobytes())
    return Column(name, "string", unit, _strings(values.tolist()))


def _strings(values: Sequence[object]) -> bytes:
    encoded = [str(value).encode(errors="replace") for value in values]
    offsets = np.zeros(len(encoded) + 1, "<u4")
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return offsets.tobytes() + b"".join(encoded)
