"""What does profiling cost the host: the price of one recorded host row, on this machine, now.

A handful of operators such as a model runs, on tiny tensors, is timed before the profiler starts and again
under it. What it takes longer, by the rows that it left in the trace, is the price of a row; times the rows
of the block it estimates what profiling added. `--repeat` measures it instead.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from profkit.analysis.events import CODE, RawEvents
from profkit.record import EventKind

_CALLS: Final = 5
_ROUNDS: Final = 12
"""12 × 5 times the operators take some ms; the fastest round is the one that nothing disturbed."""

_HOST: Final = [CODE[kind] for kind in (EventKind.OP, EventKind.ANNOTATION, EventKind.RUNTIME)]


class Overhead:
    """Times the operators on a GPU, or on the CPU where `device` is None.

    Under the profiler they come first in the trace: some versions of CUPTI damage the first records of a
    session, and so damage these.
    """

    def __init__(self, device: int | None) -> None:
        self._device = "cpu" if device is None else f"cuda:{device}"
        self._bare = self._profiled = 0.0
        self._span = (0, 0)

    def before(self) -> None:
        """Measure without the profiler."""
        self._bare = self._round_ns()

    def under(self) -> None:
        """Measure with the profiler running."""
        began = time.time_ns()
        self._profiled = self._round_ns()
        self._span = (began, time.time_ns())

    def added_ns(self, raw: RawEvents, start_unix_ns: int, wall_ns: int) -> int | None:
        """Host time that profiling added to the block that began at `start_unix_ns` (time 0 of `raw`).

        None where the operators left no rows to take a price from, or were not slower under the profiler:
        something else kept the host busy.
        """
        host = raw.start[np.isin(raw.kind, _HOST)]
        began, ended = (at - start_unix_ns for at in self._span)
        rows = int(((host >= began) & (host < ended)).sum()) / (_ROUNDS + 1)  # one round warms up
        if not rows or self._profiled <= self._bare:
            return None
        price = (self._profiled - self._bare) / rows
        return round(price * int(((host >= 0) & (host < wall_ns)).sum()))

    def _round_ns(self) -> float:
        """Time of the fastest round of the operators, after one that loads their kernels."""
        import torch

        with torch.inference_mode():
            tensor = torch.zeros(1, 8, 8, device=self._device)
            rounds = []
            for _ in range(_ROUNDS + 1):
                began = time.perf_counter_ns()
                for _ in range(_CALLS):
                    _operators(tensor)
                rounds.append(time.perf_counter_ns() - began)
            if tensor.is_cuda:
                torch.cuda.synchronize(tensor.device)
        return float(min(rounds[1:]))


def _operators(tensor: Any) -> None:
    """A norm, a rotation and a gate, as an eager decoder layer has them.

    No matmul, which would allocate its library's workspace.
    """
    import torch

    variance = tensor.pow(2).mean(-1, keepdim=True)
    normed = tensor * torch.rsqrt(variance + 1e-6)
    heads = normed.view(1, 8, 2, 4).transpose(1, 2)
    turned = torch.cat((-heads[..., 2:], heads[..., :2]), dim=-1)
    torch.nn.functional.silu(turned).reshape(1, 8, 8).add_(tensor)
