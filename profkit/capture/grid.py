"""Runs a cell at every point of a grid and brings the rows of a sweep: points, samples, full records of a few."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from profkit.analysis import telemetry
from profkit.analysis.bootstrap import drifts
from profkit.analysis.samples import Sample, phase_samples, requests, tokens_made, total_samples
from profkit.analysis.sweep import AxisValue, Status
from profkit.capture.energy import Counter, RunEnergy, idle_power_w
from profkit.capture.energy import counters as energy_counters
from profkit.capture.point import (
    Effort,
    Measured,
    gpus_in_use,
    is_out_of_memory,
    measure_point,
    memory_now,
    release,
)
from profkit.capture.redact import redact
from profkit.capture.session import Options, Session, described
from profkit.capture.work import planned_bytes
from profkit.record import Metric, Record

_ENOUGH_NS: Final = 10_000_000_000
"""Time for a point where there is no budget."""
_OURS: Final = str(Path(__file__).parents[1])
_SENTENCES: Final = 3
"""Of an out-of-memory error: what was asked for, what there is, what is free. Advice on settings follows."""

_NO_ENERGY: Final[dict[str, str]] = {
    Status.OUT_OF_MEMORY: "the point ran out of memory",
    Status.ERROR: "the point raised an error",
}
"""Why a point that ended early has no energy."""

Around = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Grid:
    """What to run, and how.

    Attributes:
        axes: the values of each axis by the label that the record keeps; the last axis varies fastest.
        bind: the cell at one point, from the axes' values, as a call without arguments.
        count: new tokens of a run, from what the call returned and the axes; None: as its steps say.
        modules: whose forward passes are steps.
        precision, budget_s, energy, seed: see `profkit.sweep`.
        traced: axes and labels of the points of which a full record is wanted; {}: none.
        around: entered around all runs of a point (the magic keeps the cell's output quiet there).
    """

    axes: Mapping[str, Mapping[AxisValue, Any]]
    bind: Callable[[Mapping[str, Any]], Callable[[], Any]]
    count: Callable[[Any, Mapping[str, Any]], int] | None = None
    modules: Sequence[Any] = ()
    precision: float = 0.02
    budget_s: float | None = None
    energy: bool = True
    seed: int = 0
    traced: Mapping[str, AxisValue] = field(default_factory=dict)
    around: Around = contextlib.nullcontext

    @property
    def points(self) -> list[dict[str, AxisValue]]:
        """The labels of every point; its place in the list is its number."""
        return [dict(zip(self.axes, labels, strict=True)) for labels in itertools.product(*self.axes.values())]


@dataclass
class Outcome:
    """What a grid brought so far."""

    points: dict[int, dict[str, Any]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    records: dict[int, Record] = field(default_factory=dict)  # of the traced points
    environment: dict[str, Any] = field(default_factory=dict)
    gpus: list[int] = field(default_factory=list)
    idle_power_w: float | None = None
    warnings: list[str] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    first_error: BaseException | None = None  # while no point has been measured
    wall_ns: int = 0
    cell_ns: int = 0


def measure_grid(
    grid: Grid, done: Mapping[int, dict[str, Any]], on_point: Callable[[int, int, str], None], since_ns: int = 0
) -> Outcome:
    """Run the points that are not done, in an order that `grid.seed` shuffles.

    Args:
        grid: what to run.
        done: rows of points that an earlier sweep brought.
        on_point: called before each point with how many are done, how many there are, and its words.
        since_ns: the earlier sweep's wall time: times of samples go on from there.

    An interrupt ends it; what was measured before is kept.
    """
    began = time.perf_counter_ns()
    outcome = Outcome(points=dict(done))
    labels = grid.points
    missing = [number for number in range(len(labels)) if number not in done]
    random.Random(grid.seed).shuffle(missing)  # noqa: S311 - an order, not a secret
    first = 1 + max((row["order"] for row in done.values() if row["order"] is not None), default=-1)
    limit = None if grid.budget_s is None else began + round(grid.budget_s * 1e9)
    try:
        counters = _counters(grid, outcome)
        for place, number in enumerate(missing):
            on_point(len(labels) - len(missing) + place, len(labels), words(labels[number]))
            left = None if limit is None else limit - time.perf_counter_ns()
            if left is not None and left <= 0:
                reason = f"the budget of {grid.budget_s:g} s ended before it was measured"
                outcome.points[number] = _skipped(labels[number], reason)
                continue
            effort = Effort(grid.precision, _ENOUGH_NS if left is None else left // (len(missing) - place))
            at = since_ns + time.perf_counter_ns() - began
            _run_point(grid, number, labels[number], counters, effort, outcome, at)
            outcome.points[number]["order"] = first + place
    except KeyboardInterrupt:
        outcome.interrupted = True
    for number in missing:
        reason = "interrupted before it was measured" if outcome.interrupted else "not run"
        outcome.points.setdefault(number, _skipped(labels[number], reason))
    outcome.points = {number: outcome.points[number] | {"point": number} for number in sorted(outcome.points)}
    _conclude(outcome)
    outcome.wall_ns = time.perf_counter_ns() - began
    return outcome


def words(labels: Mapping[str, AxisValue]) -> str:
    """``batch 32, context 512``."""
    return ", ".join(f"{name} {value}" for name, value in labels.items()) or "the only point"


def _counters(grid: Grid, outcome: Outcome) -> Sequence[Counter]:
    """The energy counters of the GPUs that the cell will use, with the power that they draw idle."""
    if not grid.energy:
        outcome.not_measured["energy"] = "not asked for (energy=False)"
        return []
    used = devices(grid.modules)
    found, reason = energy_counters(used) if used else ([], _no_gpu())
    if reason is not None:
        outcome.not_measured["energy"] = reason
        return []
    idle = idle_power_w(found)
    if isinstance(idle, str):
        outcome.not_measured["idle power"] = idle
    else:
        outcome.idle_power_w = idle
    return found


def devices(modules: Sequence[Any]) -> list[int]:
    """GPUs that hold the models or other memory of this process; torch's current one where no model is known yet."""
    import torch

    if not torch.cuda.is_available():
        return []
    places = {parameter.device for module in modules for parameter in module.parameters()}
    held = {place.index or 0 for place in places if place.type == "cuda"} | set(gpus_in_use())
    return sorted(held) if held or places else [torch.cuda.current_device()]


def _no_gpu() -> str:
    from profkit.capture.nvml import ReadingError, torch_gpus

    try:
        torch_gpus()
    except ReadingError as reason:
        return str(reason)
    return "the cell uses no GPU"


def _run_point(
    grid: Grid,
    number: int,
    labels: dict[str, AxisValue],
    counters: Sequence[Counter],
    effort: Effort,
    outcome: Outcome,
    at_ns: int,
) -> None:
    values = {name: grid.axes[name][label] for name, label in labels.items()}
    count = grid.count

    def counted(result: Any) -> int | None:
        return None if count is None else _whole(count(result, values))

    with grid.around():
        call = grid.bind(values)
        found = measure_point(call, counted, grid.modules, counters, effort)
    outcome.cell_ns += found.cell_ns
    outcome.gpus = sorted({*outcome.gpus, *gpus_in_use()})
    error, found.error = found.error, None
    row = outcome.points[number] = {**labels, **_row(found, outcome)}
    if error is None:
        row["status"] = str(Status.OK)
        outcome.first_error = None
        samples = _samples(found, row, grid, outcome)
        outcome.samples += [sample | {"point": number, "time_ns": sample["time_ns"] + at_ns} for sample in samples]
        if grid.traced and all(labels.get(axis) == label for axis, label in grid.traced.items()):
            _trace(grid, call, number, labels, outcome)
        return
    if isinstance(error, Exception):
        _failed(row, error, outcome, planned_bytes(grid.modules, grid.axes, labels))
        release(error)
        return
    del outcome.points[number]  # an interrupt, or an exit
    release(error)
    raise error


def _row(found: Measured, outcome: Outcome) -> dict[str, Any]:
    """The columns of a point that do not depend on how it ended."""
    assert found.record is not None
    record, meta = found.record, found.record.meta
    outcome.environment = meta.environment
    outcome.warnings += [warning for warning in meta.warnings if warning not in outcome.warnings]
    if "steps" in meta.not_measured and found.runs:
        outcome.not_measured.setdefault("prefill and decode", meta.not_measured["steps"])
    passes = (*found.passes, *found.runs)
    return {
        "warm_up_passes": len(found.passes),
        "warm_up_stable": found.stable,
        "repetitions": len(found.runs),
        "wall_ns": passes[-1][1] - passes[0][0] if passes else 0,
        "peak_memory_bytes": max(meta.peak_memory_bytes.values(), default=None),
        **_state(record, found.runs),
    }


def _state(record: Record, runs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Clocks, temperature and what held the clocks back, of the GPUs in use."""
    devices = gpus_in_use()
    if not devices or not runs:
        return {}
    clocks: list[float] = []
    for device in devices:
        times, values = telemetry.series(record, Metric.SM_CLOCK, device)
        clocks += values[(times >= runs[0][0]) & (times <= runs[-1][1])].tolist()
    warmth = [value for device in devices for value in telemetry.series(record, Metric.TEMPERATURE, device)[1]]
    known = any(len(telemetry.series(record, Metric.CLOCK_EVENT_REASONS, device)[0]) for device in devices)
    return {
        "sm_clock_mhz": float(np.median(clocks)) if clocks else None,
        "temperature_c": float(max(warmth)) if warmth else None,
        "throttling": "; ".join(telemetry.clock_reasons(record)) if known else None,
    }


def _samples(found: Measured, row: dict[str, Any], grid: Grid, outcome: Outcome) -> list[Sample]:
    """All samples of a point; fills in what its row takes from them."""
    assert found.record is not None
    phases = phase_samples(found.record.steps, found.runs)
    seen = tokens_made(phases, len(found.runs))
    tokens = [told if told is not None else made for told, made in zip(found.tokens, seen, strict=True)]
    row["tokens_out"] = next((made for made in reversed(tokens) if made is not None), None)
    if row["tokens_out"] is None:
        why = found.record.meta.not_measured.get("steps", "its steps made no token")
        row["tokens_reason"] = f"{why}; or say how to count tokens with tokens="
    row["requests"] = requests(phases)
    if _host_times_only(found.record, grid.modules):
        reason = "the steps have times of the host only, which launches and goes on: give profkit.step device="
        outcome.not_measured["prefill and decode"] = reason
        phases = []
    if isinstance(found.energy, RunEnergy):
        row["energy_j"], row["energy_error_j"] = found.energy.joules, found.energy.error_j
        row["energy_window_ns"] = found.energy.window_ns
    else:
        row["energy_reason"] = found.energy or outcome.not_measured.get("energy")
    row["drift"] = drifts([end - begin for begin, end in found.runs])
    return phases + total_samples(found.runs, tokens)


def _host_times_only(record: Record, modules: Sequence[Any]) -> bool:
    """Whether steps ran on a GPU, as far as one can tell, and were not timed there."""
    if not gpus_in_use() or not record.steps["device_duration"].null_count:
        return False
    devices = {parameter.device.type for module in modules for parameter in module.parameters()}
    return devices != {"cpu"}


def _failed(row: dict[str, Any], error: Exception, outcome: Outcome, planned: int | None) -> None:
    if is_out_of_memory(error):
        row["status"] = str(Status.OUT_OF_MEMORY)
        row["peak_memory_bytes"] = max(row["peak_memory_bytes"] or 0, memory_now() or 0) or None
        lines = str(error).splitlines() or [type(error).__name__]
        said = redact(". ".join(lines[0].split(". ")[:_SENTENCES]).rstrip("."))
        row["message"] = f"{_memory(row['peak_memory_bytes'], planned)}{said}"
        return
    row["status"] = str(Status.ERROR)
    row["message"] = f"{described(error)}{_where(error)}"
    if outcome.first_error is None and not any(point["status"] == Status.OK for point in outcome.points.values()):
        outcome.first_error = error.with_traceback(_users(error.__traceback__))


def _memory(peak: int | None, planned: int | None) -> str:
    """``at 141 GB, by plan 143 GB. ``: what was allocated, and what weights and cache take; "" without a GPU."""
    if peak is None:
        return ""
    sizes = {"at": peak} if planned is None else {"at": peak, "by plan": planned}
    said = (f"{what} {round(size / 1e9, 0 if size >= 1e10 else 2):g} GB" for what, size in sizes.items())
    return f"{', '.join(said)}. "


def _where(error: Exception) -> str:
    """The line of the user's code that an exception came through first."""
    found = _users(error.__traceback__)
    if found is None:
        return ""
    name = found.tb_frame.f_code.co_name
    return f" (line {found.tb_lineno}{'' if name == '<module>' else f' of {name}'})"


def _users(link: TracebackType | None) -> TracebackType | None:
    """A traceback from the first frame that is not ours on."""
    while link is not None and link.tb_frame.f_code.co_filename.startswith(_OURS):
        link = link.tb_next
    return link


def _trace(grid: Grid, call: Callable[[], Any], number: int, labels: dict[str, AxisValue], outcome: Outcome) -> None:
    """One more run of a point, with kernels and operators."""
    session = Session(words(labels), Options(), grid.modules)
    session.start()
    error: BaseException | None = None
    try:
        with grid.around():
            call()
    except Exception as raised:  # noqa: BLE001 - it goes into the record and the warnings
        error = raised
        outcome.warnings.append(f"The traced run of {words(labels)} raised {described(raised)}.")
    finally:
        outcome.records[number] = session.stop(error)
    if error is not None:
        release(error)


def _skipped(labels: dict[str, AxisValue], reason: str) -> dict[str, Any]:
    return {**labels, "status": str(Status.SKIPPED), "message": reason}


def _whole(value: Any) -> int:
    number = int(value)
    if number < 0:
        raise ValueError(f"tokens= gave {number}: it is a number of tokens")
    return number


def _conclude(outcome: Outcome) -> None:
    """What can be said of the whole only at its end."""
    rows = [row for row in outcome.points.values() if row["status"] == Status.OK]
    if rows and not outcome.gpus:  # a sweep that measured nothing does not know its GPUs
        outcome.not_measured.setdefault("energy", _no_gpu())
        outcome.not_measured.setdefault("floor", _no_gpu())
        for row in rows:
            row.update(dict.fromkeys(("energy_j", "energy_error_j", "energy_window_ns")))
            row["energy_reason"] = outcome.not_measured["energy"]
    for row in outcome.points.values():
        if row["status"] != Status.OK:
            ended = _NO_ENERGY.get(row["status"], row["message"])
            row["energy_reason"] = outcome.not_measured.get("energy", ended)
