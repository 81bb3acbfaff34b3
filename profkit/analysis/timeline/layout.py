"""Which event lies in which row: steps, regions, gaps and streams of each GPU, threads of the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from profkit.analysis.events import kind_codes, names_and_codes
from profkit.analysis.idle import Cause, devices, gaps, traced_gpu
from profkit.analysis.intervals import Ints
from profkit.analysis.kernels import work_kind
from profkit.analysis.timeline.model import (
    CALL,
    CLASS,
    FRAME,
    PROFILER,
    REGION,
    Bytes,
    Group,
    Int32s,
    Row,
    Timeline,
    TrackKind,
)
from profkit.analysis.timeline.pack import depths, parents_first
from profkit.analysis.timeline.tiles import cut
from profkit.record import HOST, EventKind, Phase, Record

LONGEST_NS: Final = 2**53
"""104 days: a browser's numbers hold no later nanosecond exactly."""
LANES: Final = {TrackKind.GPU: 256, TrackKind.HOST: 64, TrackKind.REGIONS: 16, TrackKind.PYTHON: 64}
"""Streams and threads that are drawn; more than these nobody scrolls through."""
DEPTHS: Final = {TrackKind.GPU: 8, TrackKind.HOST: 32, TrackKind.REGIONS: 32, TrackKind.PYTHON: 32, TrackKind.STEPS: 8}
"""Rows of one stream or thread."""
_TRACK_OF: Final = {
    EventKind.OP: TrackKind.HOST,
    EventKind.RUNTIME: TrackKind.HOST,
    EventKind.OVERHEAD: TrackKind.HOST,
    EventKind.ANNOTATION: TrackKind.REGIONS,
    EventKind.PYTHON: TrackKind.PYTHON,
    EventKind.KERNEL: TrackKind.GPU,
    EventKind.MEMCPY: TrackKind.GPU,
    EventKind.MEMSET: TrackKind.GPU,
}
_FIXED: Final = {
    EventKind.RUNTIME: CALL,
    EventKind.OVERHEAD: PROFILER,
    EventKind.ANNOTATION: REGION,
    EventKind.PYTHON: FRAME,
}
"""Classes that do not depend on the name."""
_FAMILIES: Final = tuple(dict.fromkeys([None, *_FIXED.values()]))
"""Events with one name and of one family have one class; None: that of the work."""
_WHAT: Final = (TrackKind.REGIONS, TrackKind.GPU, TrackKind.HOST, TrackKind.PYTHON)
"""From the top of the view to its bottom."""
_PLACE: Final = {what: place for place, what in enumerate(_WHAT)}


@dataclass(frozen=True)
class _Track:
    """Events of one group before they are packed into rows, in the order of `parents_first`."""

    group: Group
    lane: int
    start: Ints
    duration: Ints
    kind: Bytes
    name: Int32s
    event: Int32s


@dataclass(frozen=True)
class _Names:
    """Distinct pairs of a name and a class."""

    names: tuple[str, ...]
    kind: Bytes
    of_event: Int32s
    of_step: Int32s
    of_cause: Int32s


def timeline(record: Record) -> Timeline:
    """Lay a record out in rows."""
    names = _names(record)
    left_out: list[str] = []
    rows: list[Row] = []
    groups: list[Group] = []
    parts: list[tuple[Ints, Ints, Bytes, Int32s, Int32s]] = []
    first = 0
    for track in _tracks(record, names, left_out):
        depth = depths(track.start, track.duration, DEPTHS.get(track.group.kind, 1))
        counts = _counts(depth, track, left_out)
        order = np.argsort(depth.astype(np.int16), kind="stable")[: sum(counts)] if len(counts) > 1 else slice(None)
        columns = (track.start, track.duration, track.kind, track.name, track.event)
        parts.append(tuple(column[order] for column in columns))  # type: ignore[arg-type]
        for level, count in enumerate(counts):
            rows.append(Row(len(groups), level, track.lane, first, count, 0, 0))
            first += count
        groups.append(track.group)
    empty = (np.empty(0, np.int64),) * 2 + (np.empty(0, np.uint8),) + (np.empty(0, np.int32),) * 2
    start, duration, kind, name, event = map(np.concatenate, zip(*(parts or [empty]), strict=True))
    wall = record.meta.wall_ns
    tile_first, rows = cut(start, rows)
    return Timeline(
        start_ns=int(min(start.min(initial=0), 0)),
        end_ns=int(max((start + duration).max(initial=0), start.max(initial=0) + 1, min(wall, LONGEST_NS))),
        wall_ns=wall,
        groups=tuple(groups),
        rows=tuple(rows),
        start=start,
        duration=duration,
        kind=kind,
        name=name,
        event=event,
        names=names.names,
        name_kind=names.kind,
        name_of_event=names.of_event,
        tile_first=tile_first,
        left_out=tuple(left_out),
        reason=None if rows else _reason(record),
    )


def _reason(record: Record) -> str:
    why = record.meta.not_measured.get("gpu_busy", "nothing ran in it, or the trace was off (--no-trace)")
    return f"the record holds no events: {why}"


def _counts(depth: npt.NDArray[np.int32], track: _Track, left_out: list[str]) -> list[int]:
    """Events of each depth that is drawn."""
    limit = DEPTHS.get(track.group.kind, 1)
    counts = np.bincount(depth)
    beyond = int(counts[limit:].sum())
    if beyond:
        how = "overlap" if track.group.kind in (TrackKind.GPU, TrackKind.STEPS) else "are nested"
        of = f"{beyond:,} of {len(depth):,} events of {track.group.label}"
        left_out.append(f"{of} are not drawn: they {how} more than {limit} deep.")
    return [int(count) for count in counts[:limit]]


def _names(record: Record) -> _Names:
    """Number the names that each kind of event has, then those of steps and gaps."""
    words, code = names_and_codes(record.events)
    kinds, kind = kind_codes(record.events)
    family = np.array([_FAMILIES.index(_FIXED.get(one)) for one in kinds], np.int32)
    key = (family * max(len(words), 1))[kind] + code.astype(np.int32)
    used = np.zeros(len(_FAMILIES) * max(len(words), 1), bool)
    used[key] = True
    number = (np.cumsum(used) - 1).astype(np.int32)
    names, classes = [], []
    for at in np.flatnonzero(used).tolist():
        meaning, word = _FAMILIES[at // len(words)], words[at % len(words)]
        names.append(word)
        classes.append(CLASS[meaning or ("work", str(work_kind(word)))])
    of_step = {str(phase): len(names) + at for at, phase in enumerate(Phase)}
    of_cause = np.arange(len(Cause)) + len(names) + len(Phase)
    phases = record.steps["phase"].to_pylist()
    return _Names(
        names=(*names, *map(str, Phase), *(f"idle: {cause}" for cause in Cause)),
        kind=np.array(
            [*classes, *(CLASS["phase", str(one)] for one in Phase), *(CLASS["idle", str(one)] for one in Cause)],
            np.uint8,
        ),
        of_event=number[key],
        of_step=np.array([of_step[phase] for phase in phases], np.int32),
        of_cause=of_cause.astype(np.int32),
    )


def _tracks(record: Record, names: _Names, left_out: list[str]) -> Iterator[_Track]:
    """Groups of events from the top of the view to its bottom."""
    yield from _steps(record, names, left_out)
    busy = devices(record) if traced_gpu(record) else []
    idle = {device: _gaps(record, device, names, left_out) for device in busy}
    for track in _lanes(record, names, left_out):
        if track.group.kind is TrackKind.GPU and track.group.device in idle:
            yield from idle.pop(track.group.device)  # above the GPU's first stream
        yield track


def _steps(record: Record, names: _Names, left_out: list[str]) -> Iterator[_Track]:
    start, end = record.steps["start"].to_numpy(), record.steps["end"].to_numpy()
    row = np.flatnonzero(_fits(start, np.maximum(end - start, 0), "steps", left_out))
    row = row[np.lexsort((start[row] - end[row], start[row]))]
    length = np.maximum(end[row] - start[row], 0)
    name = names.of_step[row]
    if len(row):
        group = Group("steps", TrackKind.STEPS, HOST)
        yield _Track(group, -1, start[row], length, names.kind[name], name, row.astype(np.int32))


def _gaps(record: Record, device: int, names: _Names, left_out: list[str]) -> Iterator[_Track]:
    found = gaps(record, device)
    length = found.end - found.start
    at = np.flatnonzero(_fits(found.start, length, f"idle stretches of GPU {device}", left_out))
    if len(at):
        name = names.of_cause[found.cause[at]]
        group = Group(f"GPU {device} idle", TrackKind.GAPS, device)
        yield _Track(group, -1, found.start[at], length[at], names.kind[name], name, found.event[at].astype(np.int32))


def _lanes(record: Record, names: _Names, left_out: list[str]) -> Iterator[_Track]:
    """Streams and threads with their events."""
    events = record.events
    if not len(events):
        return
    start, duration = events["start"].to_numpy(), events["duration"].to_numpy()
    device, lane = events["device"].to_numpy(), events["lane"].to_numpy()
    kinds, kind = kind_codes(events)
    place = np.array([_PLACE[_TRACK_OF[one]] for one in kinds], np.int16)[kind]
    lane_code, lanes = pd.factorize(lane)
    device_code, devs = pd.factorize(device)
    key, keys = pd.factorize((place * len(devs) + device_code) * np.int64(len(lanes)) + lane_code)
    table = pd.DataFrame(
        {
            "place": keys // len(lanes) // len(devs),
            "device": devs[keys // len(lanes) % len(devs)],
            "lane": lanes[keys % len(lanes)],
            "work": np.bincount(key, duration),
        }
    )
    fits = _fits(start, duration, "events", left_out)
    table, drawn = _chosen(table, left_out)
    position = np.full(len(keys), len(table), np.int16)
    position[drawn] = np.arange(len(table))
    at = position[key]
    at[~fits] = len(table)
    order = np.argsort(at, kind="stable")
    ends = np.searchsorted(at, np.arange(len(table)), side="right", sorter=order)
    begin = 0
    tracks = zip(*(table[name].tolist() for name in ("place", "device", "lane")), ends.tolist(), strict=True)
    for place_of, device_of, lane_of, end in tracks:
        row = order[begin:end]
        begin = end
        if not len(row):
            continue
        again = parents_first(start[row], duration[row])
        row = row if again is None else row[again]
        what = _WHAT[place_of]
        group = Group(_label(what, device_of, lane_of), what, device_of)
        name = names.of_event[row]
        yield _Track(group, lane_of, start[row], duration[row], names.kind[name], name, row.astype(np.int32))


def _chosen(table: pd.DataFrame, left_out: list[str]) -> tuple[pd.DataFrame, Ints]:
    """The tracks that are drawn, in the order of the view, and their rows in `table`."""
    kept = []
    words = {TrackKind.GPU: "streams", TrackKind.HOST: "threads", TrackKind.REGIONS: "threads with regions"}
    for what, place in _PLACE.items():
        of = table[table["place"] == place].sort_values(["work", "device", "lane"], ascending=[False, True, True])
        if len(of) > LANES[what]:
            beyond = len(of) - LANES[what]
            name = words.get(what, "threads with Python frames")
            left_out.append(f"{beyond:,} of {len(of):,} {name} are not drawn: those with the least work.")
        of = of.head(LANES[what])
        kept.append(of.sort_values(["device", "lane"]) if what is TrackKind.GPU else of)
    # A thread's Python frames stand under its operators.
    found = pd.concat(kept)
    host = {lane: at for at, lane in enumerate(found[found["place"] == _PLACE[TrackKind.HOST]]["lane"])}
    after = np.where(found["place"] >= _PLACE[TrackKind.HOST], found["lane"].map(host).fillna(len(host)), -1)
    group = np.minimum(found["place"], _PLACE[TrackKind.HOST])
    found = found.iloc[np.lexsort((found["place"], after, group))]
    return found, found.index.to_numpy()


def _label(what: TrackKind, device: int, lane: int) -> str:
    if what is TrackKind.GPU:
        return f"GPU {device} stream {lane}"
    thread = "unknown thread" if lane < 0 else f"thread {lane}"
    return {TrackKind.REGIONS: f"regions, {thread}", TrackKind.PYTHON: f"Python, {thread}"}.get(what, thread)


def _fits(start: Ints, duration: Ints, what: str, left_out: list[str]) -> npt.NDArray[np.bool_]:
    """Which events have times that a browser can hold."""
    fits = (start > -LONGEST_NS) & (start + duration < LONGEST_NS)
    beyond = len(fits) - int(np.count_nonzero(fits))
    if beyond:
        left_out.append(f"{beyond:,} of {len(fits):,} {what} are not drawn: they lie beyond 104 days.")
    return np.asarray(fits)
