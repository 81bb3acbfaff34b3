"""What does a summary say? Its numbers in words, written once for text, HTML, Markdown and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from profkit.analysis.idle import Cause
from profkit.analysis.steps import PhaseStats
from profkit.analysis.summary import Summary, Work
from profkit.views import kv_words, memory_words, palette
from profkit.views.format import (
    NOT_AVAILABLE,
    clean,
    count,
    cut,
    date,
    duration,
    energy,
    energy_per_token,
    number,
    power,
    rate,
    share,
    size,
)
from profkit.views.palette import Colour

_WAITED: Final = {
    Cause.LAUNCH: "it waited for the host to launch work",
    Cause.SYNC: "it ran dry while the host was waiting for it",
    Cause.DEPENDENCY: "it waited between kernels that were launched in time",
    Cause.EDGE: "it had no work yet, or none any more",
    Cause.UNKNOWN: "it was idle for a cause that the record does not hold",
}


@dataclass(frozen=True)
class KeyFigure:
    """One number of the head of a summary."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Slice:
    """A part of the bar: time of one kind of work, or idle time of one cause."""

    key: str  # WorkKind or Cause
    label: str
    ns: float
    share: float
    colour: Colour
    idle: bool = False


@dataclass(frozen=True)
class PhaseRow:
    """Prefill or decode."""

    phase: str
    steps: str
    tokens: str
    time: str
    host: str
    gpu: str


@dataclass(frozen=True)
class WorkRow:
    """One kernel or operator; `name` is whole, views shorten it."""

    kind: str
    colour: Colour
    name: str
    count: str
    total: str
    mean: str
    share: str
    part: float  # the share as a number, for bars


@dataclass(frozen=True)
class Content:
    """All that a summary says, top to bottom."""

    name: str
    byline: str  # GPU, date, software
    sentence: str
    error: str | None
    figures: tuple[KeyFigure, ...]
    bar_title: str
    bar: tuple[Slice, ...]
    phases: tuple[PhaseRow, ...]
    top_title: str
    top: tuple[WorkRow, ...]
    findings: tuple[tuple[str, str], ...]  # title, remedy
    memory: tuple[str, ...]  # the KV cache: sentences
    warnings: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]  # what was not measured, why
    link: str | None


PHASE_HEAD: Final = ("phase", "steps", "tokens", "time", "host in forward", "GPU span in forward")


def describe(summary: Summary, software: str = "", link: str | None = None) -> Content:
    """The words of a summary; `software` names versions, `link` leads to the saved record."""
    on_gpu = summary.where == "gpu"
    return Content(
        name=clean(summary.name).strip() or "profile",
        byline=" · ".join(filter(None, (_brief(summary.gpu or "no GPU"), date(summary.created), _brief(software)))),
        sentence=sentence(summary),
        error=clean(summary.error) if summary.error else None,
        figures=tuple(_key_figures(summary)),
        bar_title="Where the GPU's time went" if on_gpu else "Where the operators' time went, on the host",
        bar=tuple(_slices(summary)),
        phases=tuple(_phases(summary)),
        top_title="Top kernels" if on_gpu else "Top operators",
        top=tuple(work_row(work) for work in summary.top),
        findings=tuple((clean(str(found.title)), clean(str(found.remedy))) for found in summary.findings),
        memory=tuple(_memory(summary)),
        warnings=tuple(clean(warning) for warning in summary.warnings),
        missing=tuple(_missing(summary)),
        link=link,
    )


def _memory(summary: Summary) -> Iterator[str]:
    if summary.kv is not None:
        yield from kv_words.sentences(summary.kv)
    if summary.memory is not None:
        yield from memory_words.sentences(summary.memory)


def _brief(text: str) -> str:
    """Names of hardware and software are short; what is not is no name."""
    return cut(clean(text), 100)


def sentence(summary: Summary) -> str:
    """What dominated, in one plain sentence."""
    idle, wall = summary.idle, duration(summary.wall_ns)
    if summary.gpu_busy_share is not None:
        if not idle.busy_ns:
            return f"No GPU work ran in {wall}."
        busy = f"{_subject(summary)} was busy {share(summary.gpu_busy_share)} of {wall}"
        cause, lost = max(idle.causes.items(), key=lambda item: item[1], default=("", 0))
        if idle.window_ns - idle.busy_ns > idle.busy_ns and cause in _WAITED:
            return f"{busy}; for {share(lost / idle.window_ns)} {_WAITED[Cause(cause)]}."
        kind = summary.kinds[0]
        return f"{busy}, most of it with {_kind(kind)} ({share(kind.share)} of its work)."
    if summary.kinds:
        kind = summary.kinds[0]
        return (
            f"No GPU work recorded; on the host {_kind(kind)} took {duration(kind.total_ns)}, "
            f"{share(kind.share)} of the operators' time."
        )
    if summary.wall_ns:
        return f"The cell took {wall}; neither GPU work nor operators were recorded that tell where it went."
    return "Nothing was recorded."


def _subject(summary: Summary) -> str:
    several = summary.gpu is not None and (" × " in summary.gpu or ", " in summary.gpu)
    return f"GPU {summary.idle.device}, the busiest," if several or summary.idle.device else "The GPU"


def _kind(work: Work) -> str:
    return "work of no known kind" if work.name == "other" else work.name


def _key_figures(summary: Summary) -> Iterator[KeyFigure]:
    generations = summary.stats.generations if summary.stats else 1
    median = f"median of {generations} generations" if generations > 1 else ""
    yield KeyFigure("Wall time", duration(summary.wall_ns or None), _unprofiled(summary))
    yield KeyFigure("TTFT (prefill)", duration(summary.ttft_ns), median if summary.ttft_ns else "")
    beside_tpot = "; ".join(filter(None, (median if summary.tpot_ns else "", _floor(summary))))
    yield KeyFigure("TPOT (decode)", duration(summary.tpot_ns), beside_tpot)
    yield KeyFigure("Output rate", rate(summary.tokens_per_s))
    yield KeyFigure("Output tokens", count(summary.output_tokens), _prompt(summary.prompt_tokens))
    yield KeyFigure("GPU busy", share(summary.gpu_busy_share))
    yield KeyFigure("Launches per token", number(summary.launches_per_token))
    yield KeyFigure("Peak memory", size(summary.peak_memory_bytes))
    yield KeyFigure("Mean power", power(summary.mean_power_w))
    yield KeyFigure("Energy", energy(summary.energy_j, summary.energy_error_j))
    yield KeyFigure("Energy per token", energy_per_token(summary.joules_per_token))
    yield _profiling_cost(summary)


def _floor(summary: Summary) -> str:
    if summary.floor_ns is None:
        return ""
    source = f", {clean(summary.floor_source)}" if summary.floor_source else ""
    return f"floor {duration(summary.floor_ns)}{source}"


def _unprofiled(summary: Summary) -> str:
    if summary.unprofiled_wall_ns is None or summary.unprofiled_range_ns is None:
        return ""
    low, high = summary.unprofiled_range_ns
    spread = "" if duration(low) == duration(high) else f" ({duration(low)} to {duration(high)})"
    return f"{duration(summary.unprofiled_wall_ns)} unprofiled{spread}"


def _prompt(tokens: int | None) -> str:
    return f"{count(tokens)} prompt tokens" if tokens is not None else ""


def _profiling_cost(summary: Summary) -> KeyFigure:
    label, part = "Profiling added", summary.profiler_share
    if part is None:
        return KeyFigure(label, NOT_AVAILABLE)
    if not summary.profiler_measured:
        # An estimate from the cost of a few operators carries two digits at best.
        why = "estimate; --repeat N measures it"
        if summary.unprofiled_range_ns is not None:
            why = "estimate; the unprofiled passes differ too much to measure it"
        return KeyFigure(label, f"about {number(100 * part, 2)} %", why)
    if part <= 0:
        return KeyFigure(label, "nothing to see", "passes without it were not faster")
    return KeyFigure(label, share(part), "measured against passes without it")


def _slices(summary: Summary) -> Iterator[Slice]:
    idle = summary.idle
    if summary.where != "gpu":
        for kind in summary.kinds:
            yield Slice(kind.kind, kind.name, kind.total_ns, kind.share, palette.work(kind.kind))
        return
    if not idle.window_ns or idle.busy_ns is None:
        return
    for kind in summary.kinds if idle.busy_ns else ():
        # Kinds on streams that overlap add up to more than the busy time: each has its part of that.
        ns = idle.busy_ns * kind.share
        yield Slice(kind.kind, kind.name, ns, ns / idle.window_ns, palette.work(kind.kind))
    for cause in Cause:
        lost = idle.causes.get(cause, 0)
        if lost:
            label = f"idle: {palette.IDLE_LABELS[cause]}"
            yield Slice(cause, label, lost, lost / idle.window_ns, palette.IDLE[cause], idle=True)


def _phases(summary: Summary) -> Iterator[PhaseRow]:
    stats = summary.stats
    phases: tuple[tuple[str, PhaseStats | None], ...] = (
        (("prefill", stats.prefill), ("decode", stats.decode)) if stats else ()
    )
    for name, phase in phases:
        if phase is not None:
            yield PhaseRow(
                name,
                count(phase.steps),
                count(phase.tokens),
                # One token has no next one: the phase then spans no time that can be told.
                duration(phase.span_ns or None),
                duration(phase.host_ns),
                duration(phase.device_ns),
            )


def work_row(work: Work) -> WorkRow:
    """The words of one kernel, operator or kind."""
    return WorkRow(
        kind=work.kind,
        colour=palette.work(work.kind),
        name=work.name,
        count=count(work.count),
        total=duration(work.total_ns),
        mean=duration(work.total_ns / work.count if work.count else None),
        share=share(work.share),
        part=work.share if math.isfinite(work.share) else 0.0,
    )


_NO_STEPS: Final = "no forward pass of a model was seen"
_NO_OUTPUT: Final = "no token was generated"
_REASONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "Wall time": ((), "the record holds no profiled block"),
    "TTFT (prefill)": (("steps", "output_tokens"), "the cell read no prompt that gave a token"),
    "TPOT (decode)": (("steps", "output_tokens"), "it takes two tokens of one generation"),
    "Output rate": (("steps", "output_tokens"), _NO_OUTPUT),
    "Output tokens": (("steps", "output_tokens"), _NO_OUTPUT),
    "GPU busy": (("gpu_busy",), "the record holds no profiled block"),
    "Launches per token": (("gpu_busy", "steps", "output_tokens"), "no decode step was seen"),
    "Peak memory": (("peak_memory",), "the block allocated no GPU memory through torch"),
    "Mean power": (("power",), "fewer than three readings fell in the block"),
    "Energy": (("energy",), "no energy counter was read"),
    "Energy per token": (("energy", "steps", "output_tokens"), "no energy counter was read"),
    "Profiling added": (("profiler_share",), "it was not estimated"),
}
"""Why a key figure may be absent: where the record says so, and what it means if it does not."""


def _missing(summary: Summary) -> Iterator[tuple[str, str]]:
    """Each reason once, with all that it leaves out."""
    known = dict(summary.not_measured)
    if summary.stats is None:
        known.setdefault("steps", _NO_STEPS)
    without: dict[str, list[str]] = {}
    used = set()
    for figure in _key_figures(summary):
        if figure.value == NOT_AVAILABLE and figure.label in _REASONS:
            keys, otherwise = _REASONS[figure.label]
            key = next((key for key in keys if key in known), None)
            used.add(key)
            reason = known[key] if key is not None else otherwise
            without.setdefault(reason, []).append(figure.label)
    for what, reason in known.items():
        if what not in used:
            without.setdefault(reason, []).append(what.replace("_", " "))
    for reason, labels in without.items():
        yield clean(", ".join(labels)), clean(reason)
