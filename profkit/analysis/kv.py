"""How does the KV cache grow, what does a token cost, what is wasted, and when is the GPU full?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc

from profkit.analysis.steps import nullable, steps_frame
from profkit.record import HOST, Metric, Record

Floats = npt.NDArray[np.float64]

PAGED: Final = -1
"""`step` of a reading of continuous batching: its tokens are those of all sequences."""


@dataclass(frozen=True)
class KVKind:
    """Layers of one kind. Bytes; what was not measured, or the architecture does not tell, is None."""

    layer_kind: str
    device: int
    layers: int | None
    logical_bytes: int | None  # the most
    storage_bytes: int | None  # the most
    bytes_per_token: float | None  # of one sequence, fitted
    formula_bytes_per_token: float | None  # what the architecture says
    window: int | None  # tokens of a sequence that the layers keep at most; None: all

    @property
    def deviation(self) -> float | None:
        """Measured against the formula: 0 where they agree."""
        if self.bytes_per_token is None or not self.formula_bytes_per_token:
            return None
        return self.bytes_per_token / self.formula_bytes_per_token - 1


@dataclass(frozen=True)
class KVWaste:
    """Memory that holds no token that is needed, at the reading with most of the cache. None: not known."""

    padding_bytes: int | None  # tokens that only fill up a prompt
    unfilled_bytes: int | None  # slots of a static cache, or ends of pages, that no token fills yet
    pinned_bytes: int | None  # storage that a view keeps and does not show; of a paged cache, pages not given out
    fragmentation_bytes: int | None  # reserved by the allocator and allocated to nothing
    inactive_bytes: int | None  # the part of it that lies in blocks of which another part is in use
    paged: bool


@dataclass(frozen=True)
class Full:
    """When the GPU has no room for another token."""

    device: int
    memory_bytes: int  # of the GPU
    beside_bytes: int  # what the process needed beside the cache at its peak
    outside_bytes: int | None  # what the driver and other processes took; None: not read
    batch: int
    context: int | None  # tokens of each sequence; None: the cache does not grow any more


@dataclass(frozen=True)
class KVGrowth:
    """The KV cache of a profile."""

    readings: int
    kinds: tuple[KVKind, ...]
    bytes_per_token: float | None  # what the next token of one sequence adds, over all kinds
    formula_bytes_per_token: float | None
    formula_missing: str | None  # why there is none
    peak_bytes: int | None  # the most memory held for the cache
    peak_at_ns: int | None  # record time
    peak_tokens: int | None  # in the cache of one sequence then; of a paged cache, in all of it
    peak_sequences: int | None
    peak_allocated_bytes: int | None  # all that was allocated then, on the cache's device
    waste: KVWaste
    full: Full | None
    full_missing: str | None  # why it cannot be told

    @property
    def deviation(self) -> float | None:
        """Measured against the formula: 0 where they agree."""
        if self.bytes_per_token is None or not self.formula_bytes_per_token:
            return None
        return self.bytes_per_token / self.formula_bytes_per_token - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = asdict(self) | {"deviation": self.deviation}
        plain["kinds"] = [asdict(kind) | {"deviation": kind.deviation} for kind in self.kinds]
        return plain


def kv_frame(record: Record) -> pd.DataFrame:
    """`kv` as a DataFrame; absent values are NA, never 0."""
    return record.kv.to_pandas(types_mapper=nullable)


def _frame(record: Record) -> pd.DataFrame:
    """`kv` with a device in each row: the first files have none."""
    frame = kv_frame(record)
    return frame.assign(device=frame["device"].fillna(HOST).astype(int))


def kv_growth(record: Record) -> KVGrowth | None:
    """What the readings of the cache add up to; None where there are none."""
    if not len(record.kv):
        return None
    frame = _with_lengths(record)
    curve = kv_curve(record)
    formula = record.meta.kv_formula
    kinds = _kinds(frame, formula)
    peak = _peak(curve)
    at = curve.iloc[peak]
    try:
        end, why = full(record), None
    except NotToldError as reason:
        end, why = None, str(reason)
    return KVGrowth(
        readings=len(curve),
        kinds=kinds,
        bytes_per_token=_growing([(kind.bytes_per_token, kind.window) for kind in kinds]),
        formula_bytes_per_token=_growing(
            [(part.get("bytes_per_token"), part.get("window")) for part in formula.values()]
        ),
        formula_missing=None if formula else record.meta.not_measured.get("kv_formula", "the record does not tell it"),
        peak_bytes=_number(at["storage_bytes"]),
        peak_at_ns=_number(at["time"]),
        peak_tokens=_number(at["tokens"]),
        peak_sequences=_number(at["sequences"]),
        peak_allocated_bytes=_number(at["allocated"]),
        waste=_waste(at),
        full=end,
        full_missing=why,
    )


KIND: Final = "kind_"
"""Before the name of a kind of layer: a column of `kv_curve`."""
_SUMS: Final = ("logical_bytes", "capacity_bytes", "storage_bytes", "padding_bytes")


def kv_curve(record: Record) -> pd.DataFrame:
    """One row per reading, in order of time: sums over the kinds of layers, and each kind's logical bytes.

    Columns: step, time, generation, phase, tokens, sequences, the sums, allocated, reserved, inactive (of the GPU
    that holds most of the cache), and for each kind `kind_NAME`. A sum with an unknown part is unknown; padding is
    the sum of what is known.
    """
    frame = _frame(record)
    if frame.empty:
        return pd.DataFrame()
    at = frame[["step", "time"]].fillna(-1)  # the first files have no times
    reading = (at != at.shift()).any(axis=1).cumsum() - 1
    grouped = frame.groupby(reading.to_numpy())
    curve = grouped[["step", "time"]].first()
    for name in ("tokens", "sequences"):
        curve[name] = grouped[name].max()
    for name in _SUMS:
        curve[name] = grouped[name].sum(min_count=1)
        if name != "padding_bytes":
            curve[name] = curve[name].mask(grouped[name].apply(lambda part: part.isna().any()))
    device = _main_device(frame)
    state = frame[frame["device"] == device].groupby(reading[frame["device"] == device].to_numpy())
    for name in ("allocated", "reserved", "inactive"):
        curve[name] = state[name].first().reindex(curve.index)
    for label, rows in frame.groupby(_labels(frame), sort=False):
        curve[f"{KIND}{label}"] = rows["logical_bytes"].groupby(reading[rows.index].to_numpy()).sum(min_count=1)
    steps = steps_frame(record)[["generation", "phase"]]
    return curve.join(steps, on="step").reset_index(drop=True)


def _labels(frame: pd.DataFrame) -> pd.Series[str]:
    """The kind of each row; of a cache that is split between GPU and host, where it lies too."""
    kinds = frame["layer_kind"].astype(str)
    on_gpu = set(kinds[frame["device"] != HOST])
    split = (frame["device"] == HOST) & kinds.isin(on_gpu)
    return kinds.where(~split, kinds + " on the host")


def _main_device(frame: pd.DataFrame) -> int:
    """The device that holds most of the cache."""
    held = frame["storage_bytes"].fillna(frame["logical_bytes"]).fillna(0).groupby(frame["device"]).max()
    return int(held.index[int(np.argmax(held.to_numpy(dtype=float)))])


def _with_lengths(record: Record) -> pd.DataFrame:
    """`kv` with the tokens of a sequence that are behind each reading (`length`), and those over all (`held`)."""
    frame = _frame(record)
    steps = steps_frame(record)
    length = (steps["context_tokens"] + steps["query_tokens"]).reindex(frame["step"]).to_numpy()
    together = (frame["step"] == PAGED) | frame["sequences"].isna()
    held = frame["tokens"].where(together, frame["tokens"] * frame["sequences"])
    return frame.assign(length=length, held=held)


def _kinds(frame: pd.DataFrame, formula: dict[str, dict[str, Any]]) -> tuple[KVKind, ...]:
    return tuple(_kind(key, rows, formula) for key, rows in frame.groupby(["layer_kind", "device"], sort=False))


def _kind(key: Any, rows: pd.DataFrame, formula: dict[str, dict[str, Any]]) -> KVKind:
    name, device = key
    told = formula.get(str(name), {})
    window = told.get("window")
    if window is None:
        slid = rows[(rows["tokens"] < rows["length"]).fillna(False)]
        window = _most(slid["tokens"]) if str(name) != "cross" else None
    return KVKind(
        layer_kind=str(name),
        device=int(device),
        layers=_most(rows["layers"]),
        logical_bytes=_most(rows["logical_bytes"]),
        storage_bytes=_most(rows["storage_bytes"]),
        bytes_per_token=_fit(rows),
        formula_bytes_per_token=told.get("bytes_per_token"),
        window=window,
    )


def _fit(rows: pd.DataFrame) -> float | None:
    """Bytes of one token: least squares over all readings; with one number of tokens, bytes by tokens."""
    known = rows[["held", "logical_bytes"]].dropna()
    held, size = (known[name].to_numpy(dtype=float) for name in ("held", "logical_bytes"))
    if not len(held) or not held.max():
        return None
    if held.max() == held.min():
        return float(size.mean() / held.mean())
    away = held - held.mean()
    return float(away @ (size - size.mean()) / (away @ away))


def _growing(parts: Sequence[tuple[float | None, float | None]]) -> float | None:
    """What the next token adds: the kinds without a window, once the windows are full."""
    growing = [per_token for per_token, window in parts if per_token is not None and window is None]
    return sum(growing) if growing else None


def _peak(curve: pd.DataFrame) -> int:
    """The reading with most of the cache; the last where it is not known what is held."""
    for name in ("storage_bytes", "capacity_bytes", "logical_bytes"):
        held = curve[name].to_numpy(dtype=float, na_value=np.nan)
        if not np.isnan(held).all():
            return int(np.nanargmax(held))
    return len(curve) - 1


def _waste(row: pd.Series[Any]) -> KVWaste:
    logical, capacity, storage = (_number(row[name]) for name in _SUMS[:3])
    allocated, reserved = _number(row["allocated"]), _number(row["reserved"])
    return KVWaste(
        padding_bytes=_number(row["padding_bytes"]),
        unfilled_bytes=None if logical is None or capacity is None else capacity - logical,
        # Keys and values in one storage hold less than they show.
        pinned_bytes=None if storage is None or capacity is None else max(storage - capacity, 0),
        fragmentation_bytes=None if reserved is None or allocated is None else reserved - allocated,
        inactive_bytes=_number(row["inactive"]),
        paged=int(row["step"]) == PAGED,
    )


class NotToldError(Exception):
    """When the GPU is full cannot be told from this record; the message says why."""


def full(record: Record) -> Full:
    """When the GPU is full if the cache grows on as it did.

    Solves beside + outside + batch · Σ over kinds of (bytes per token · min(context, window) + fixed) = memory
    for the context. What the process needed beside the cache is its peak less the most of the cache.

    Raises:
        NotToldError: a number that this takes is not in the record.
    """
    frame, curve, meta = _with_lengths(record), kv_curve(record), record.meta
    if frame.empty:
        raise NotToldError(meta.not_measured.get("kv", "no KV cache was read"))
    device = _main_device(frame)
    kinds = [kind for kind in _kinds(frame, meta.kv_formula) if kind.device == device]
    memory = next((g.get("memory_bytes") for g in meta.environment.get("gpus") or [] if g.get("index") == device), None)
    peak, held = meta.peak_memory_bytes.get(device), _most(curve["storage_bytes"])
    batch = _most(frame.loc[frame["device"] == device, "sequences"])
    reasons = {
        "the cache lies in the host's memory": device == HOST,
        "a paged cache takes its memory at once, and is full when its pages are given out": _paged(frame),
        "the GPU's memory is not in the record": not memory,
        "the peak of the allocator is not in the record": peak is None,
        "how much memory is held for the cache is not known": held is None,
        "how many sequences are in the cache is not known": not batch,
        "the size of a kind of layer is not known": any(kind.logical_bytes is None for kind in kinds),
    }
    if found := [reason for reason, true in reasons.items() if true]:
        raise NotToldError(found[0])
    assert memory is not None
    assert peak is not None
    assert held is not None
    assert batch is not None
    beside, outside = max(peak - held, 0), _outside(record, curve, device)
    room = (memory - beside - (outside or 0)) / batch
    return Full(device, int(memory), beside, outside, batch, _context(kinds, frame, room))


def _paged(frame: pd.DataFrame) -> bool:
    return bool((frame["step"] == PAGED).any())


def _context(kinds: list[KVKind], frame: pd.DataFrame, room: float) -> int | None:
    """Tokens of a sequence whose cache fills `room` bytes; None where it does not grow that far."""
    fixed, growing = 0.0, []
    for kind in kinds:
        if kind.bytes_per_token is None or kind.layer_kind == "cross":  # states, and what the encoder gave
            rows = frame[(frame["layer_kind"] == kind.layer_kind) & (frame["device"] == kind.device)]
            fixed += float((rows["logical_bytes"] / rows["sequences"]).max())
        else:
            growing.append((kind.window, kind.bytes_per_token))
    low = 0.0
    for end in [*sorted({window for window, _ in growing if window is not None}), None]:
        # Up to `end` tokens the windows that are longer still fill.
        full = fixed + sum(window * each for window, each in growing if window is not None and window <= low)
        slope = sum(each for window, each in growing if window is None or window > low)
        if slope <= 0:
            return None
        tokens = (room - full) / slope
        if end is None or tokens <= end:
            return max(int(tokens), 0)
        low = float(end)
    return None


def _outside(record: Record, curve: pd.DataFrame, device: int) -> int | None:
    """GPU memory that is not torch's: the driver's, and that of other processes."""
    table = record.telemetry
    used = table.filter(pc.and_(pc.equal(table["metric"], Metric.MEMORY_USED.value), pc.equal(table["device"], device)))
    most, reserved = pc.max(used["value"]).as_py(), _most(curve["reserved"])
    # Less than torch held: it was read at another moment.
    return None if most is None or reserved is None or most < reserved else int(most) - reserved


def _most(values: pd.Series[Any]) -> int | None:
    return None if values.isna().all() else int(values.max())


def _number(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)
