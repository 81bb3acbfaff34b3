"""How much of what the GPU allows does each piece of work reach: arithmetic against memory traffic.

The roofline model: work of intensity I (FLOPs per byte) reaches at most min(peak, I · bandwidth). Williams, Waterman
and Patterson 2009, doi 10.1145/1498765.1498785. FLOPs and bytes are those that the work needs, counted from
shapes, so a kernel that moves more than it must lies lower, not further left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from profkit.hardware.ceilings import Ceiling


@dataclass(frozen=True)
class RooflinePoint:
    """One piece of work and the time that it took."""

    label: str  # "batch 32"
    group: str  # points of one kind, drawn alike: "decode, context 512"
    flops: float
    bytes: float
    ns: float

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes

    @property
    def achieved(self) -> float:
        """FLOP/s."""
        return self.flops / self.ns * 1e9


@dataclass(frozen=True)
class Roofline:
    """Points under the roof of one GPU."""

    points: tuple[RooflinePoint, ...]
    bandwidth: Ceiling
    rate: Ceiling

    @property
    def ridge(self) -> float:
        """FLOPs per byte from which arithmetic is the limit."""
        return self.rate.value / self.bandwidth.value

    def roof(self, intensity: float) -> float:
        """FLOP/s that the GPU allows at an intensity."""
        return min(self.rate.value, intensity * self.bandwidth.value)

    def share(self, point: RooflinePoint) -> float:
        """Part of the roof that a point reaches."""
        return point.achieved / self.roof(point.intensity)


def roofline(points: Iterable[RooflinePoint], bandwidth: Ceiling, rate: Ceiling) -> Roofline:
    """The points that have arithmetic, traffic and a time; others have no place under a roof."""
    return Roofline(tuple(p for p in points if p.flops > 0 and p.bytes > 0 and p.ns > 0), bandwidth, rate)
