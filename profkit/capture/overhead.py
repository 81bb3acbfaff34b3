"""What does profiling cost the host: the price of one operator and of one launch, on this machine, now.

The same few operators run before the profiler starts and again under it. What they take longer, times
what the block did, estimates what profiling added to it. `--repeat` measures it instead.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from profkit.analysis.events import kind_rows
from profkit.record import EventKind

_CALLS: Final = 40
_ROUNDS: Final = 5
"""5 × 40 calls take some ms in all; the median of the rounds leaves out one that was disturbed."""


@dataclass
class Overhead:
    """Prices in ns, before and under the profiler.

    Its operators also come first in the trace: some versions of CUPTI damage the first records of a
    session, and so damage these.
    """

    device: int | None
    _bare: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _profiled: tuple[float, float] = field(default=(0.0, 0.0), init=False)

    def before(self) -> None:
        """Measure without the profiler."""
        self._bare = self._prices()

    def under(self) -> None:
        """Measure with the profiler running."""
        self._profiled = self._prices()

    def added_ns(self, events: pa.Table) -> int:
        """Host time that profiling added to the block that made these events, ns."""
        operator = max(0.0, self._profiled[0] - self._bare[0])
        launch = max(0.0, (self._profiled[1] - self._bare[1]) - operator)
        operators = len(kind_rows(events, EventKind.OP, EventKind.ANNOTATION))
        launches = len(kind_rows(events, EventKind.RUNTIME))
        return round(operator * operators + launch * launches)

    def _prices(self) -> tuple[float, float]:
        """ns of an operator without GPU work, and of one with a launch."""
        import torch

        with torch.inference_mode():
            tensor = torch.zeros(64, device="cpu" if self.device is None else f"cuda:{self.device}")
            view = _median_ns(lambda: tensor.view(8, 8))
            launch = _median_ns(lambda: tensor.add_(1)) if self.device is not None else view
            if self.device is not None:
                torch.cuda.synchronize(self.device)
        return view, launch


def _median_ns(call: Callable[[], Any]) -> float:
    call()
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(_CALLS):
            call()
        rounds.append((time.perf_counter_ns() - began) / _CALLS)
    return statistics.median(rounds)
