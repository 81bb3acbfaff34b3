"""How long did prefill and decode take: forward passes to TTFT, TPOT and step times.

A token's time is the end of the forward that computed its logits: `end` of its step. Sampling and what
the host does with the token come after, and count to the next token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from profkit.analysis.intervals import Ints
from profkit.record import Phase, Record

SAMPLES_FOR: Final = {50: 2, 90: 64, 95: 130, 99: 662}
"""Smallest sample for a percentile at 99 % confidence (MLPerf inference rules, endpoints; the median is
shown from two on)."""


@dataclass(frozen=True)
class Spread:
    """A sample of times: percentiles only where the sample carries them (`SAMPLES_FOR`), else None."""

    samples: int
    min_ns: int
    max_ns: int
    p50_ns: float | None
    p90_ns: float | None
    p95_ns: float | None
    p99_ns: float | None

    @classmethod
    def of(cls, values: Ints) -> Spread | None:
        """The spread of a sample, None of an empty one."""
        if not len(values):
            return None
        carried = {
            f"p{q}_ns": float(np.percentile(values, q)) if len(values) >= needed else None
            for q, needed in SAMPLES_FOR.items()
        }
        return cls(len(values), int(values.min()), int(values.max()), **carried)


@dataclass(frozen=True)
class PhaseStats:
    """All steps of one phase."""

    steps: int
    tokens: int  # read (prefill) or produced (decode), over the batch
    span_ns: int  # prefill: sent → first token; decode: first → last token; summed over generations
    host_ns: int  # inside the forwards
    device_ns: int | None  # between each forward's first and last work on the GPU


@dataclass(frozen=True)
class StepStats:
    """What the forward passes of a record add up to."""

    steps: int
    generations: int
    prefill: PhaseStats | None
    decode: PhaseStats | None
    ttft_ns: float | None  # median over generations: sent → end of the step that made the first token
    tpot_ns: float | None  # median over generations: (last − first token) / (tokens − the first step's)
    token_gap: Spread | None  # from one step of a generation that made tokens to the next
    prompt_tokens: int | None
    output_tokens: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        from dataclasses import asdict

        return asdict(self)


def step_stats(record: Record) -> StepStats | None:
    """Statistics of the record's forward passes; None where none were seen."""
    if not len(record.steps):
        return None
    table = steps_frame(record)
    is_prefill = (table["phase"] == str(Phase.PREFILL)).to_numpy()
    prefill_span = decode_span = 0
    ttft: list[int] = []
    tpot: list[float] = []
    gaps: list[Ints] = []
    for _, steps in table.groupby("generation", sort=True):
        first = first_token(steps)
        if first is None:
            prompt = steps[steps["phase"] == str(Phase.PREFILL)]
            prefill_span += int(prompt["end"].max() - prompt["sent"].min()) if len(prompt) else 0
            continue
        first_end = int(steps["end"].iloc[first])
        if steps["phase"].iloc[first] == str(Phase.PREFILL):
            ttft.append(first_end - int(steps["sent"].iloc[0]))
            prefill_span += ttft[-1]
        made = steps[(steps["tokens_out"] > 0).fillna(False)]
        ends = made["end"].to_numpy(np.int64)
        if len(ends) > 1:
            span = int(ends[-1] - ends[0])
            # Rows of a batch are its sequences, but for a beam search, where several rows make one token.
            sequences = min(int(made["batch"].min()), int(made["tokens_out"].min()))
            tpot.append(span / float(made["tokens_out"].iloc[1:].sum() / sequences))
            gaps.append(np.diff(ends))
            decode_span += span
    produced = int(table["tokens_out"].sum())
    return StepStats(
        steps=len(table),
        generations=int(table["generation"].nunique()),
        prefill=_phase(table[is_prefill], prefill_span, table["batch"] * table["query_tokens"]),
        decode=_phase(table[~is_prefill], decode_span, table["tokens_out"]),
        ttft_ns=float(np.median(ttft)) if ttft else None,
        tpot_ns=float(np.median(tpot)) if tpot else None,
        token_gap=Spread.of(np.concatenate(gaps)) if gaps else None,
        prompt_tokens=int((table["batch"] * table["query_tokens"])[is_prefill].sum()) if is_prefill.any() else None,
        output_tokens=produced or None,
    )


def steps_frame(record: Record) -> pd.DataFrame:
    """`steps` as a DataFrame; absent values are NA, never 0."""
    return record.steps.to_pandas(types_mapper=nullable)


def token_gaps(steps: pd.DataFrame) -> pd.Series[int]:
    """For each step that made tokens the time since the one before it in its generation, ns; else absent."""
    made = steps[(steps["tokens_out"] > 0).fillna(False)]
    return made.groupby("generation")["end"].diff().reindex(steps.index)


def first_token(steps: pd.DataFrame) -> int | None:
    """Position of the step of one generation that made its first token."""
    made = np.flatnonzero((steps["tokens_out"] > 0).fillna(False))
    return int(made[0]) if len(made) else None


def _phase(steps: pd.DataFrame, span_ns: int, tokens: pd.Series[int]) -> PhaseStats | None:
    if not len(steps):
        return None
    device = steps["device_duration"]
    return PhaseStats(
        steps=len(steps),
        tokens=int(tokens[steps.index].sum()),
        span_ns=span_ns,
        host_ns=int(steps["host_duration"].sum()),
        device_ns=None if device.isna().any() else int(device.sum()),
    )


def nullable(kind: Any) -> Any:
    """The types of pandas that keep an absent value absent, for `to_pandas(types_mapper=…)`."""
    import pyarrow as pa

    return {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}.get(kind)
