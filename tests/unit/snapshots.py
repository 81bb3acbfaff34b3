"""Snapshots of torch's allocator as `torch.cuda.memory._snapshot()` gives them, made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Allocator:
    """An allocator of one GPU that writes the trace which torch's writes. Addresses are used again."""

    segments: dict[int, int] = field(default_factory=dict)  # address: size
    blocks: dict[int, tuple[int, str]] = field(default_factory=dict)  # address: requested size, function
    trace: list[dict[str, Any]] = field(default_factory=list)
    time_us: int = 1_000_000

    def segment(self, address: int, size: int) -> None:
        self.segments[address] = size
        self._entry("segment_alloc", address, size)

    def release(self, address: int) -> None:
        self._entry("segment_free", address, self.segments.pop(address))

    def alloc(self, address: int, size: int, function: str = "forward") -> None:
        self.blocks[address] = size, function
        self._entry("alloc", address, size, function)

    def free(self, address: int) -> None:
        size, _ = self.blocks.pop(address)
        self._entry("free_requested", address, size)
        self._entry("free_completed", address, size)

    def snapshot(self, lost: int = 0) -> dict[str, Any]:
        """As torch gives it, without the first `lost` entries, which the ring has overwritten."""
        segments = [
            {
                "device": 0,
                "address": start,
                "total_size": size,
                "is_expandable": False,
                "blocks": [
                    {
                        "address": at,
                        "size": -(-requested // 512) * 512,
                        "requested_size": requested,
                        "state": "active_allocated",
                        "frames": frames(function),
                    }
                    for at, (requested, function) in sorted(self.blocks.items())
                    if start <= at < start + size
                ]
                + [{"address": start + size - 512, "size": 512, "requested_size": 0, "state": "inactive"}],
            }
            for start, size in self.segments.items()
        ]
        return {"segments": segments, "device_traces": [self.trace[lost:], []]}

    def _entry(self, action: str, address: int, size: int, function: str | None = None) -> None:
        self.time_us += 1
        entry = {"action": action, "addr": address, "size": size, "stream": 0, "time_us": self.time_us}
        self.trace.append(entry | {"frames": frames(function) if function else []})


def frames(function: str) -> list[dict[str, Any]]:
    return [
        {"filename": "/somewhere/site-packages/torch/nn/functional.py", "line": 20, "name": function},
        {"filename": "??", "line": 0, "name": "c10::Allocator"},
        {"filename": "/home/user/model.py", "line": 7, "name": "generate"},
    ]
