"""Records with a KV cache, whose numbers a reader can check.

`growing_record()`: two sequences of 100 tokens, then four decode steps, on a GPU of 4 MB. A token costs 1 000
bytes in the full layers and 500 in the sliding ones, whose window is full from the start (64 tokens).
"""

from __future__ import annotations

from typing import Any

from unit.records import MS, meta, rows, step

from profkit.record import KV, STEPS, Phase, Record

FULL, SLIDING, WINDOW = 1_000, 500, 64
BATCH, PROMPT, NEW = 2, 100, 5
WEIGHTS = 1_000_000
FORMULA: dict[str, dict[str, float | None]] = {
    "full": {"layers": 4, "bytes_per_token": FULL, "window": None},
    "sliding": {"layers": 2, "bytes_per_token": SLIDING, "window": WINDOW},
}


def growing_record(**changes: Any) -> Record:
    """The record of this module's first lines; `changes` replace fields of its metadata."""
    steps = [step(Phase.PREFILL, 5, 15, 8, batch=BATCH, query_tokens=PROMPT, context_tokens=0)]
    steps += [step(Phase.DECODE, 20 + at, 21 + at, 1, batch=BATCH, context_tokens=PROMPT + at) for at in range(NEW - 1)]
    entries = []
    for at in range(NEW):
        tokens = PROMPT + at
        full, sliding = BATCH * tokens * FULL, BATCH * WINDOW * SLIDING
        pinned = BATCH * PROMPT * SLIDING if not at else sliding
        state = {"step": at, "time": (16 + 5 * at) * MS, "device": 0, "sequences": BATCH}
        state |= {"allocated": WEIGHTS + full + pinned, "reserved": 2_000_000, "inactive": 10_000}
        entries.append(
            state
            | {"layer_kind": "full", "layers": 4, "tokens": tokens, "padding_bytes": 30 * FULL}
            | {"logical_bytes": full, "capacity_bytes": full, "storage_bytes": full}
        )
        entries.append(
            state
            | {"layer_kind": "sliding", "layers": 2, "tokens": WINDOW, "padding_bytes": 0}
            | {"logical_bytes": sliding, "capacity_bytes": sliding, "storage_bytes": pinned}
        )
    peak = WEIGHTS + BATCH * (PROMPT + NEW - 1) * FULL + BATCH * WINDOW * SLIDING + 50_000
    defaults: dict[str, Any] = {
        "kv_formula": FORMULA,
        "peak_memory_bytes": {0: peak},
        "environment": {"gpus": [{"index": 0, "name": "NVIDIA H200", "memory_bytes": 4_000_000}]},
    }
    return Record(meta(**defaults | changes), steps=rows(STEPS, steps), kv=rows(KV, entries))
