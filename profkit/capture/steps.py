"""When did each forward pass run, and on how many tokens: recorded without waiting for the GPU."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from profkit.capture.clock import Clock
from profkit.capture.kvcache import Reading
from profkit.record import STEPS, Phase


@dataclass
class Generate:
    """A call of `generate`, shared by the steps inside it. Tokens per sequence."""

    generation: int
    sent: int
    fresh: bool  # its cache starts empty
    prompt: int | None  # tokens that it was given; None: unknown
    length: int | None = None  # tokens that it returned, the prompt included; None: unknown
    beams: int = 1  # rows that are computed for each sequence that it returns
    mask: Any = None  # attention mask that it was given


@dataclass
class Step:
    """One forward pass as it is recorded. Times in record time, ns; tokens per sequence."""

    start: int
    phase: Phase
    batch: int
    query_tokens: int
    context_tokens: int | None
    tokens_out: int | None  # None: to be told from what follows
    generation: int
    call: Generate | None = None  # the generate call around it
    host_duration: int = 0
    marks: tuple[Any, Any] | None = None  # CUDA events before and after
    kv: Reading | None = None  # the cache after it
    mask: Any = None  # attention mask [B, T] of a prefill: which of the prompt's tokens fill it up


_SPARE_EVENTS: Final = 128
"""CUDA makes an event at its first record, so these are made and recorded before the block begins."""


class CudaTimer:
    """Times marks on one GPU's stream in record time, without a wait in between.

    Two anchors tie the GPU's clock to the host's, one at the start and one at the end. Marks are chained
    from one to the next: CUDA gives distances as a float32 in ms, which is exact enough for short ones.
    """

    def __init__(self, clock: Clock, device: int) -> None:
        self._clock, self._device = clock, device
        self._marks: list[Any] = []
        self._spare = [self._new() for _ in range(_SPARE_EVENTS)]
        self._anchor()
        self._first_host = self._host_time

    def mark(self) -> Any:
        """A mark on the current stream."""
        event = self._spare.pop() if self._spare else self._new()
        event.record(self._stream())
        self._marks.append(event)
        return event

    def _new(self) -> Any:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record(self._stream())
        return event

    def _stream(self) -> Any:
        import torch

        return torch.cuda.current_stream(self._device)

    def times(self) -> dict[int, int]:
        """Record time of every mark by its `id`, once the GPU has passed them; waits for the last."""
        self._anchor()
        chain, at = [0.0], 0.0
        for before, after in zip(self._marks, self._marks[1:], strict=False):
            at += before.elapsed_time(after) * 1e6
            chain.append(at)
        scale = (self._host_time - self._first_host) / chain[-1] if chain[-1] > 0 else 1.0
        return {id(mark): self._first_host + round(at * scale) for mark, at in zip(self._marks, chain, strict=True)}

    def _anchor(self) -> None:
        mark = self.mark()
        before = self._clock.now()
        mark.synchronize()
        self._host_time = (before + self._clock.now()) // 2


class StepRecorder:
    """Collects the forward passes of one profile, from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: list[Step] = []
        self._timers: dict[int, CudaTimer] = {}
        self._generation = -1
        self._lock = threading.Lock()

    def prepare(self, device: int) -> None:
        """Ready to time this GPU; waits for its work so far."""
        if device not in self._timers:
            self._timers[device] = CudaTimer(self._clock, device)

    def next_generation(self) -> int:
        """A number for a new generation: a generate call, or a prompt on a fresh cache."""
        with self._lock:
            self._generation += 1
            return self._generation

    def open(self, step: Step, device: int | None) -> Step:
        """Begin `step`: the last thing before the forward."""
        timer = self._timers.get(device) if device is not None else None
        if timer is not None:
            step.marks = (timer.mark(), None)
        step.start = self._clock.now()
        return step

    def close(self, step: Step, device: int | None) -> None:
        """End `step`: the first thing after the forward."""
        step.host_duration = self._clock.now() - step.start
        timer = self._timers.get(device) if device is not None else None
        if timer is not None and step.marks is not None:
            step.marks = (step.marks[0], timer.mark())
        with self._lock:
            self._steps.append(step)

    def ordered(self) -> list[Step]:
        """The steps so far, in order of start: row n of `table` is the nth."""
        return sorted(self._steps, key=lambda step: step.start)

    def drop_masks(self) -> None:
        """Let go of the prompts' masks."""
        for step in self._steps:
            step.mask = None
            if step.call is not None:
                step.call.mask = None

    def table(self, timed: bool = True) -> pa.Table:
        """The table `steps`, in order of start. Waits for the GPU's last mark, unless not `timed` on the GPU."""
        times: dict[int, int] = {}
        for timer in self._timers.values() if timed else ():
            times.update(timer.times())
        steps = self.ordered()
        _count_tokens(steps)
        first_start: dict[int, int] = {}
        rows = []
        for step in steps:
            host_end = step.start + step.host_duration
            device = end = None
            if timed and step.marks is not None and step.marks[1] is not None:
                device_start, device_end = (times[id(mark)] for mark in step.marks)
                device, end = device_end - device_start, max(device_end, step.start)
            first = first_start.setdefault(step.generation, step.start)
            rows.append(
                {
                    "sent": step.call.sent if step.call is not None else first,
                    "start": step.start,
                    "end": end if end is not None else host_end,
                    "host_duration": step.host_duration,
                    "device_duration": device,
                    "phase": str(step.phase),
                    "batch": step.batch,
                    "query_tokens": step.query_tokens,
                    "context_tokens": step.context_tokens,
                    "tokens_out": step.tokens_out,
                    "generation": step.generation,
                }
            )
        return pa.Table.from_pylist(rows, schema=STEPS)


def _count_tokens(steps: list[Step]) -> None:
    """Fill `tokens_out` where the step itself could not know it.

    A decode step makes one token of each sequence, or several where it verified drafted ones. A prefill step
    makes the first ones if it is the last chunk of its prompt: a decode step of the same generation follows,
    or the generate call ended with it. A prompt that nothing follows was scored, not continued.
    """
    following: dict[int, Step] = {}
    for step in reversed(steps):
        after = following.get(step.generation)
        if step.tokens_out is None:
            continues = after.phase is Phase.DECODE if after is not None else step.call is not None
            makes = step.phase is Phase.DECODE or continues
            step.tokens_out = _sequences(step) * _new_tokens(step, after) if makes else 0
        following[step.generation] = step


def _sequences(step: Step) -> int:
    """Sequences that the step's tokens belong to: the beams of a search are one."""
    return step.batch // step.call.beams if step.call is not None else step.batch


def _new_tokens(step: Step, after: Step | None) -> int:
    """Tokens per sequence that a step made: one, and as many drafted ones as were accepted.

    A step that verifies drafts reads more tokens than were known before it: the prompt, later what is in the
    cache and the newest token. What it made is known from the sequence's length afterwards.
    """
    call, context = step.call, step.context_tokens
    if context is None or (step.phase is Phase.DECODE and context == 0):
        return 1  # no cache: the whole sequence is read each time
    if step.phase is Phase.DECODE:
        known = context + 1
    elif call is not None and call.prompt is not None:
        known = call.prompt
    else:
        return 1
    drafted = context + step.query_tokens - known
    if after is None:
        length = call.length if call is not None else None
    else:
        length = None if after.context_tokens is None else after.context_tokens + 1
    return 1 if length is None else 1 + max(0, min(length - known - 1, drafted))
