"""How long did prefill, each decode step and the whole take in every run of a point: steps to `SAMPLES`."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from profkit.analysis.bootstrap import Interval, median_interval
from profkit.analysis.sweep import SweepPhase
from profkit.record import Phase

_READ: Final = ("sent", "start", "end", "phase", "batch", "query_tokens", "context_tokens", "tokens_out", "generation")

Sample = dict[str, Any]
"""One row of `sweep.SAMPLES` but for the point's number; `time_ns` on the clock of the steps."""


@dataclass
class _Generation:
    """What is known of one generation in one run so far."""

    began_ns: int  # sent, or the first step since its last token
    query: int = 0  # tokens per sequence read since then
    context: int | None = None  # tokens per sequence before that
    last_token_ns: int | None = None


def phase_samples(steps: pa.Table, runs: Sequence[tuple[int, int]]) -> list[Sample]:
    """Prefill and decode of each run.

    Prefill lasts from when a generation was sent (where it was sent in this run, else from its first step) to its
    first token. A decode step lasts from the token before to its token; where none came before it in the run, from its
    own start.

    Args:
        steps: the table `steps` of a record.
        runs: start and end of each run on the record's clock, ns, in order; steps outside are left out.
    """
    starts = [begin for begin, _ in runs]
    known: dict[tuple[int, int], _Generation] = {}
    samples: list[Sample] = []
    for sent, start, end, phase, batch, query, context, made, generation in _rows(steps):
        run = bisect_right(starts, start) - 1
        if run < 0 or start >= runs[run][1]:
            continue
        state = known.get((run, generation))
        if state is None:
            began = sent if sent >= starts[run] else start
            state = known[run, generation] = _Generation(began, context=context)
        elif not state.query:
            state.began_ns, state.context = start, context
        state.query += query
        if not made:
            continue  # a part of a prompt
        if phase == Phase.PREFILL or state.last_token_ns is None:
            since = state.began_ns if phase == Phase.PREFILL else start
        else:
            since = state.last_token_ns
        samples.append(
            {
                "phase": str(SweepPhase(phase)),
                "repetition": run,
                "time_ns": since,
                "duration_ns": end - since,
                "step_batch": batch,
                "query_tokens": state.query if phase == Phase.PREFILL else query,
                "context_tokens": state.context if phase == Phase.PREFILL else context,
                "tokens_out": made,
            }
        )
        state.query, state.last_token_ns = 0, end
    return samples


def total_samples(runs: Sequence[tuple[int, int]], tokens: Sequence[int | None]) -> list[Sample]:
    """The whole of each run, with the tokens that it made."""
    return [
        {
            "phase": str(SweepPhase.TOTAL),
            "repetition": run,
            "time_ns": begin,
            "duration_ns": end - begin,
            "tokens_out": made,
        }
        for run, ((begin, end), made) in enumerate(zip(runs, tokens, strict=True))
    ]


def tokens_made(samples: Iterable[Mapping[str, Any]], runs: int) -> list[int | None]:
    """New tokens of each run, from the samples of its phases; None where it made none that could be seen."""
    made: dict[int, int] = defaultdict(int)
    for sample in samples:
        made[sample["repetition"]] += sample["tokens_out"]
    return [made.get(run) for run in range(runs)]


def requests(samples: Iterable[Mapping[str, Any]]) -> int | None:
    """Sequences that one run answered: those of its prefills; None where it had none."""
    answered: dict[int, int] = defaultdict(int)
    for sample in samples:
        if sample["phase"] == SweepPhase.PREFILL:
            answered[sample["repetition"]] += sample["step_batch"]
    return max(answered.values(), default=None)


def intervals(samples: Iterable[Mapping[str, Any]], resamples: int) -> dict[str, Interval | None]:
    """The interval of the median of each phase, the runs as blocks; None where they are too few."""
    blocks: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        blocks[sample["phase"]][sample["repetition"]].append(sample["duration_ns"])
    return {phase: median_interval(list(runs.values()), resamples=resamples) for phase, runs in blocks.items()}


def _rows(steps: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*(steps[name].to_pylist() for name in _READ), strict=True)
