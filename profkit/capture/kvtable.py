"""The table `kv`: what was read of the caches, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from profkit.capture.kvcache import Reading
from profkit.capture.kvlayers import FULL, LATENT, SLIDING, Size
from profkit.capture.steps import Step
from profkit.record import KV


def kv_table(steps: Sequence[Step], loose: Sequence[Reading], masks: bool = True) -> pa.Table:
    """Rows of every reading, in order of time.

    Args:
        steps: in the order of the table `steps`.
        loose: readings of calls that are no step.
        masks: whether the GPU still gives the values of the prompts' masks.
    """
    rows: list[dict[str, Any]] = []
    padding: dict[int, list[int] | None] = {}  # by generation: padding tokens of each sequence
    for row, step in enumerate(steps):
        if step.context_tokens == 0 or step.mask is not None:
            padding[step.generation] = _padding(step) if masks else None
        if step.kv is not None:
            rows += _rows(row, step.kv, padding.get(step.generation))
    for reading in loose:
        rows += _rows(-1, reading, None)
    rows.sort(key=lambda row: row["time"])
    return pa.Table.from_pylist(rows, schema=KV)


def _rows(step: int, reading: Reading, padding: list[int] | None) -> Iterator[dict[str, Any]]:
    for size in reading.sizes:
        state = reading.allocators.get(size.device)
        yield {
            "step": step,
            "time": reading.time,
            **size._asdict(),
            "padding_bytes": _padding_bytes(size, reading.length, padding),
            **(state._asdict() if state is not None else {}),
        }


def _padding(step: Step) -> list[int] | None:
    """Tokens of each sequence's prompt that only fill it up; None: the call did not tell."""
    if step.mask is None or step.context_tokens is None:
        return None
    if step.mask.shape[1] != step.context_tokens + step.query_tokens:
        return None
    counts: list[int] = (step.mask == 0).sum(-1).tolist()
    return counts


def _padding_bytes(size: Size, length: int | None, padding: list[int] | None) -> int | None:
    """Bytes of padding in the cache, which lies before the prompt as `generate` wants it."""
    held = size.tokens
    if padding is None or length is None or held is None or size.logical_bytes is None or not held:
        return None
    if size.layer_kind not in (FULL, LATENT, SLIDING) or size.sequences != len(padding):
        return None
    gone = length - held  # slid out of the window, the oldest first
    return size.logical_bytes * sum(max(pad - gone, 0) for pad in padding) // (len(padding) * held)


def lacks(steps: Sequence[Step], seen: int, notes: Sequence[str]) -> str:
    """Why the table is empty."""
    if seen:
        return notes[0] if notes else "the caches that the model was given were empty"
    if steps:
        return "the model kept no cache (use_cache=False), or its engine keeps it elsewhere: see profkit.track_kv"
    return "no forward pass of a model was seen"
