"""A snapshot of torch's CUDA allocator: from its plain data to allocations with a beginning and an end.

The structure is that of `torch.cuda.memory._snapshot()`: `segments` as they are at its end, `device_traces` with
what the allocator did on each GPU. Anything else in it is not looked at. Times here are Unix ns: torch gives µs, and
what falls into one is told apart by its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Final

ALLOCATION: Final = "allocation"
SEGMENT: Final = "segment"
_BEGIN: Final = {"alloc": ALLOCATION, "segment_alloc": SEGMENT, "segment_map": SEGMENT}
_END: Final = {"free_requested": ALLOCATION, "segment_free": SEGMENT, "segment_unmap": SEGMENT}
_FRAMES: Final = 12
"""The innermost frames of a stack tell what allocated; the outer ones are the notebook's."""


@dataclass(frozen=True)
class Held:
    """A piece of memory: one allocation, or one segment that the allocator got from CUDA."""

    kind: str  # ALLOCATION or SEGMENT
    address: int
    size: int  # as requested
    start_ns: int | None  # None: before the history begins
    end_ns: int | None  # None: after it ends
    stack: str | None = None  # innermost frame first


@dataclass(frozen=True)
class History:
    """What happened on one GPU."""

    held: tuple[Held, ...]
    entries: int  # of the trace
    unread: int  # entries that lack what they should have


def read_snapshot(snapshot: Mapping[str, Any], device: int) -> History:
    """The memory of one GPU as intervals.

    What was freed without having been allocated in the trace was there before, and so was what lies there at the
    end without that.
    """
    traces = snapshot.get("device_traces")
    trace = traces[device] if isinstance(traces, Sequence) and device < len(traces) else []
    replay = _Replay()
    for entry in trace:
        replay.add(entry)
    for segment in snapshot.get("segments") or ():
        if segment.get("device", device) == device:
            replay.lies_there(segment)
    return History(tuple(replay.all()), len(trace), replay.unread + len(replay.open))


class _Replay:
    """Pairs beginnings with ends."""

    def __init__(self) -> None:
        self.open: dict[int, Held] = {}  # allocations that have begun, by address
        self.unread = 0
        self._segments: dict[int, Held] = {}  # the same
        self._done: list[Held] = []
        self._last = 0

    def add(self, entry: Mapping[str, Any]) -> None:
        """The next entry of the trace."""
        action = str(entry.get("action"))
        kind = _BEGIN.get(action) or _END.get(action)
        if kind is None:
            return  # completed frees, snapshots, OOMs, and what a newer torch adds
        address, size, microseconds = (entry.get(name) for name in ("addr", "size", "time_us"))
        if not (isinstance(address, int) and isinstance(size, int) and isinstance(microseconds, int)):
            self.unread += 1
            return
        time = self._last = max(1000 * microseconds, self._last + 1)
        if action in _BEGIN:
            opened = self.open if kind == ALLOCATION else self._segments
            if (lost := opened.pop(address, None)) is not None:  # its end was not seen: at the latest now
                self._done.append(replace(lost, end_ns=time))
            opened[address] = Held(kind, address, size, time, None, _stack(entry) if kind == ALLOCATION else None)
        elif kind == ALLOCATION:
            self._done.append(replace(self.open.pop(address, Held(kind, address, size, None, None)), end_ns=time))
        else:
            self._done += self._cut(address, size, time)

    def lies_there(self, segment: Mapping[str, Any]) -> None:
        """A segment and its allocations as they are at the end."""
        address, size = segment.get("address"), segment.get("total_size")
        if not (isinstance(address, int) and isinstance(size, int)):
            self.unread += 1
            return
        self._done += self._cut(address, size, None)
        for block in segment.get("blocks") or ():
            at, size = block.get("address"), block.get("requested_size", block.get("size"))
            if block.get("state") == "active_allocated" and isinstance(at, int) and isinstance(size, int):
                self._done.append(self.open.pop(at, Held(ALLOCATION, at, size, None, None, _stack(block))))

    def all(self) -> list[Held]:
        """What was found; what began, did not end and does not lie there is left out."""
        return self._done

    def _cut(self, address: int, size: int, time: int | None) -> Iterator[Held]:
        """The segments that end (None: lie there) in a range: expandable ones grow and shrink by parts of it."""
        rest = size
        for at, held in list(self._segments.items()):
            low, high = max(at, address), min(at + held.size, address + size)
            if low >= high:
                continue
            del self._segments[at]
            if at < low:
                self._segments[at] = replace(held, size=low - at)
            if high < at + held.size:
                self._segments[high] = replace(held, address=high, size=at + held.size - high)
            rest -= high - low
            yield replace(held, address=low, size=high - low, end_ns=time)
        if rest:
            yield Held(SEGMENT, address, rest, None, time)


def _stack(entry: Mapping[str, Any]) -> str | None:
    """``forward (modeling_llama.py:123) < __call__ (…)``: frames of Python, innermost first."""
    frames = [frame for frame in entry.get("frames") or () if str(frame.get("filename", "")).endswith(".py")]
    named = [f"{f.get('name')} ({PurePath(str(f['filename'])).name}:{f.get('line')})" for f in frames[:_FRAMES]]
    return " < ".join(named) or None
