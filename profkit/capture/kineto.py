"""How does a torch.profiler session begin and end, and is the trace still its own at the end?"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from profkit.errors import ProfilerBusyError

_START_SLACK_NS: Final = 1_000_000
"""A trace that began this long after ours is another one's."""


class TraceLostError(Exception):
    """The trace is gone; the message says why, `reason` in a few words."""

    def __init__(self, message: str, reason: str = "the trace was taken over by another profiler") -> None:
        super().__init__(message)
        self.reason = reason


class Kineto:
    """One torch.profiler session: operators of all threads, and CUDA activities where there is a GPU."""

    def __init__(self, *, cuda: bool, shapes: bool = False, stacks: bool = False) -> None:
        self._cuda = cuda
        self._options: Any = {"record_shapes": shapes, "with_stack": stacks}
        self._profiler: Any = None
        self._started_unix_ns = 0

    def start(self) -> None:
        """Start recording.

        Raises:
            ProfilerBusyError: a profiler is running in this process already.
        """
        import torch
        from torch._C._profiler import _ExperimentalConfig
        from torch.autograd import profiler
        from torch.profiler import ProfilerActivity, profile

        if profiler._is_profiler_enabled:
            raise ProfilerBusyError(
                "torch.profiler is running already in this process, and only one profiler can. Leave its "
                "`with` block (or call its stop()) first, or profile with --no-trace (trace=False)."
            )
        # Rows with attributes of kernels: torch 2.11 only exposes them on request, which costs it a
        # string per row; torch 2.13 reads them off the activity, and then need not build its own rows.
        direct = hasattr(torch._C._autograd._ProfilerResult, "trace_activities")
        config: Any = {"profile_all_threads": True}
        if not direct:
            config["expose_kineto_event_metadata"] = self._cuda
        elif not self._options["with_stack"]:
            config["trace_only"] = True
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self._cuda
        self._profiler = profile(
            activities=activities, experimental_config=_ExperimentalConfig(**config), **self._options
        )
        with _without_usdt_lines(), warnings.catch_warnings():
            # Torch 2.11 recommends a slower way to read the events.
            warnings.filterwarnings("ignore", "Warning: Profiler clears events")
            self._profiler.__enter__()
        self._started_unix_ns = time.time_ns()

    def stop(self) -> Any:
        """Stop recording; returns torch's results for `columns`.

        Raises:
            TraceLostError: another profiler took the trace over while this one ran, or the GPU failed.
        """
        profiler, self._profiler = self._profiler, None
        stolen = TraceLostError(
            "The cell ran torch.profiler itself, which ended this trace: its own results are intact, but "
            "kernels and operators are missing here. Remove one of the two profilers."
        )
        try:
            with _without_usdt_lines():
                profiler.__exit__(None, None, None)
        except RuntimeError as error:
            if "not running" in str(error):
                raise stolen from error
            _switch_off()
            raise TraceLostError(f"torch.profiler failed: {error}", "torch.profiler failed") from error
        results = profiler.profiler.kineto_results
        # Torch's profiler refers to itself: with its results they would stay until the collector's next full pass.
        profiler.profiler.kineto_results = None
        if results is None or results.trace_start_ns() == 0:
            raise stolen
        if results.trace_start_ns() > self._started_unix_ns + _START_SLACK_NS:
            raise TraceLostError(
                "The cell started torch.profiler and left it running, which ended this trace; the end of this "
                "profile then ended that one. Stop it where it was started, or use --no-trace (trace=False)."
            )
        return results


def _switch_off() -> None:
    """End the profiler that failed before it came to its own end."""
    import torch

    with contextlib.suppress(RuntimeError):  # it had ended
        torch._C._autograd._disable_profiler()
    torch.autograd.profiler._run_on_profiler_stop()


@contextmanager
def _without_usdt_lines() -> Iterator[None]:
    """Keep two lines `USDT:…`, which Kineto of torch 2.13 writes in every session, off the cell's output.

    All else that is written to stderr meanwhile is written again.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not line.startswith(b"USDT:"):
                    os.write(2, line)
