"""Sweep: a grid of measured points with its curves and views as methods. And `sweep`, which makes one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from profkit.analysis.axes import UNITS, Axis, axes_of, points_of, slo_of
from profkit.analysis.curves import table
from profkit.analysis.sweep import AxisValue, Status, SweepData, SweepMeta
from profkit.analysis.sweep_curves import SweepCurves, sweep_curves
from profkit.capture.calls import check_takes, counter, named_modules
from profkit.errors import OptionError, nearest
from profkit.formats import sweep as sweep_file
from profkit.run import Run
from profkit.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from profkit.capture.grid import Around, Grid, Outcome
    from profkit.views.progress import Progress
    from profkit.views.sweep import SweepSummary
    from profkit.views.widgets.sweep import SweepView

last: Sweep | None = None
"""The newest Sweep of this process; people read it as `profkit.last_sweep`."""

_KEPT: Final = (Status.OK, Status.OUT_OF_MEMORY)
"""Points that `resume` does not measure again."""


class Sweep:
    """One sweep. Times in ns, sizes in bytes, energy in J; absent values are NA."""

    def __init__(self, data: SweepData, runs: Mapping[int, bytes] | None = None) -> None:
        self.data = data
        self._runs = dict(runs or {})

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.data.meta.name

    @property
    def meta(self) -> SweepMeta:
        """Axes, objectives, environment, totals; see `analysis.sweep.SweepMeta`."""
        return self.data.meta

    @property
    def warnings(self) -> list[str]:
        """What may make numbers wrong or incomplete."""
        return self.data.meta.warnings

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per point and phase: the axes, phase, median_ns, p10_ns, p90_ns and so on; see `curves.table`."""
        return table(self.data)

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row per point: status, warm-up, runs, clocks, temperature, energy, memory."""
        return self.data.points_frame()

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per measurement: every prefill, decode step and whole run."""
        return self.data.samples_frame()

    @property
    def runs(self) -> Mapping[str, Run]:
        """The full profiles of the points that `trace_at` chose, by their words ("batch 32, context 512")."""
        return _Runs(self)

    @cached_property
    def curves(self) -> SweepCurves:
        """What its views are drawn from: series along the batch, floors, regimes, knees, verdicts on the SLOs."""
        return sweep_curves(self.data)

    def figure(self, kind: str = "latency") -> Figure:
        """A matplotlib figure: "latency", "throughput", "pareto", "energy" or "roofline"."""
        from profkit.views.figures.sweep import figure

        return figure(self.curves, kind)

    def figures(self) -> list[str]:
        """The kinds of figures that this sweep can fill."""
        from profkit.views.figures.sweep import available

        return available(self.curves)

    def overlay(self, other: Sweep, kind: str = "latency") -> Figure:
        """A figure of this sweep and another over the same axis."""
        from profkit.views.figures.sweep import figure

        return figure(self.curves, kind, other.curves)

    def widget(self, tab: str = "curves", overlay: Sweep | None = None) -> SweepView:
        """The interactive view, opened at a tab: "curves", "pareto" or "points"; `overlay` draws another sweep over."""
        from profkit.views.widgets.sweep import SweepView

        return SweepView(self.curves, tab, None if overlay is None else overlay.curves)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sweep; `path` gets `.profsweep` if it has no suffix."""
        return sweep_file.save(self.data, self._runs, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sweep:
        """Open a `.profsweep` file. Opening runs no code from it.

        Raises:
            RecordError: it is not a sweep, damaged, or too large.
        """
        return cls(*sweep_file.load(path))

    def summary(self) -> SweepSummary:
        """The sweep in words; shows itself as text, HTML and PNG."""
        from profkit.views.sweep import shown

        return shown(self.curves)

    def __repr__(self) -> str:
        return repr(self.summary())

    def _repr_mimebundle_(self, **kinds: Any) -> dict[str, str]:
        return self.summary()._repr_mimebundle_(**kinds)


class _Runs(Mapping[str, Run]):
    """Traced points, opened when they are asked for."""

    def __init__(self, sweep: Sweep) -> None:
        from profkit.capture.grid import words

        rows = {row["point"]: row for row in sweep.data.points.to_pylist()}
        self._packed = {
            words({axis: rows[number][axis] for axis in sweep.meta.axes}): data
            for number, data in sweep._runs.items()
            if number in rows
        }
        self._name = sweep.name

    def __getitem__(self, words: str) -> Run:
        if words not in self._packed:
            raise KeyError(f"{words!r} was not traced{nearest(words, self._packed)}")
        return Run(sweep_file.unpacked(self._packed[words], Path(f"{self._name}: {words}")))

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def sweep(
    fn: Callable[..., Any],
    /,
    *,
    name: str = "sweep",
    model: Any = None,
    slo: Mapping[str, str | int] | str | None = None,
    price: float | None = None,
    carbon: float | None = None,
    budget_s: float | None = None,
    precision: float = 0.02,
    tokens: Callable[..., int] | str | None = None,
    trace_at: Mapping[str, Any] | str | None = None,
    energy: bool = True,
    seed: int = 0,
    resume: Sweep | str | os.PathLike[str] | None = None,
    progress: bool = True,
    **axes: Any,
) -> Sweep:
    """Measure `fn` at every combination of the axes' values.

    Prefill and decode are told apart where `fn` calls a model, or marks its steps with `profkit.step`. Each point is
    run until its times have settled (warm-up), then until the 95 % interval of each phase's median is narrow, and on a
    GPU for 2 s and more, for its energy. Points run in a shuffled order. One that runs out of memory or raises is a
    result, and the others go on; where none could be measured, the error is raised. An interrupt keeps what is done:
    the sweep is returned, and `resume` goes on with it.

    Args:
        fn: called with the axes as keyword arguments.
        name: names the Sweep.
        model: nn.Module (or several) whose forward passes are steps. By default those that `fn` names, and those that
            are values of an axis.
        slo: objectives for the medians of "ttft" (prefill), "tpot" (decode step), "e2e" (whole run):
            {"tpot": "30ms"} or "tpot=30ms,ttft=500ms".
        price: dollars for a GPU and hour.
        carbon: g of CO2 for a kWh.
        budget_s: time for the whole sweep, s; each point gets its share. By default up to 10 s for each point.
        precision: relative half-width of a median's interval that is narrow enough.
        tokens: how to count a run's new tokens where its steps do not tell: a function of what `fn` returned (and of
            axes that it names), or an expression over `result` and the axes.
        trace_at: values of axes, {"batch": 32}; of the points that have them a full profile is kept in `runs`.
        energy: measure it, where a GPU has a counter.
        seed: of the order.
        resume: an earlier sweep over the same axes, or its file: what it measured is kept.
        progress: show how far it is.
        axes: name and values; a dict names values that have no name of their own: model={"a": a, "b": b}.

    Raises:
        OptionError: an option or an axis that cannot be, or that `fn` does not take.
        ProfilerBusyError: a profiler is running already.
    """
    found = axes_of(axes)
    check_takes(fn, list(found))
    objects = [value for axis in found.values() for value in axis.values()]
    made, error = measure(
        Request(
            name=name,
            axes=found,
            bind=lambda values: lambda: fn(**values),
            modules=named_modules(model, [fn, *objects]),
            slo_ns=slo_of(slo),
            price=_positive("price", price),
            carbon=_positive("carbon", carbon),
            budget_s=_positive("budget_s", budget_s),
            precision=_positive("precision", precision) or 0.02,
            count=counter(tokens, list(found), {}),
            trace_at=points_of(trace_at, found),
            energy=energy,
            seed=seed,
            earlier=earlier(resume, list(found)),
            progress=progress,
        )
    )
    if error is not None:
        raise error
    return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A sweep that was asked for, checked: what `sweep` and the magic have in common."""

    name: str
    axes: Mapping[str, Axis]
    bind: Callable[[Mapping[str, Any]], Callable[[], Any]]
    modules: Sequence[Any]
    slo_ns: dict[str, int]
    price: float | None
    carbon: float | None
    budget_s: float | None
    precision: float
    count: Callable[[Any, Mapping[str, Any]], int] | None
    trace_at: Mapping[str, AxisValue]
    energy: bool
    seed: int
    earlier: Sweep | None
    progress: bool
    source: str | None = None
    around: Around | None = None

    def grid(self) -> Grid:
        """What to run."""
        from profkit.capture.grid import Grid

        grid = Grid(
            self.axes,
            self.bind,
            self.count,
            self.modules,
            self.precision,
            self.budget_s,
            self.energy,
            self.seed,
            self.trace_at,
        )
        return dataclasses.replace(grid, around=self.around) if self.around is not None else grid


def measure(request: Request) -> tuple[Sweep, BaseException | None]:
    """Run a sweep. Gives what the cell raised beside it, where it raised and no point could be measured."""
    global last  # noqa: PLW0603 - documented as profkit.last_sweep
    from profkit.capture.grid import measure_grid
    from profkit.capture.work import NoWorkError, sweep_work
    from profkit.views.progress import Progress

    progress = Progress(request.progress)
    grid = request.grid()
    kept, old_samples, old_runs = _kept(request.earlier, grid)
    since = request.earlier.meta.wall_ns if request.earlier is not None else 0
    ceilings = _ceilings(grid, progress)
    outcome = measure_grid(grid, kept, progress.at, since)
    samples = old_samples + outcome.samples
    meta = _meta(request, outcome)
    if meta.gpus:
        meta.ceilings = ceilings or (request.earlier.meta.ceilings if request.earlier is not None else {})
    elif request.price is not None:
        meta.not_measured["cost"] = "the price is that of a GPU, and the cell uses none"
    try:
        meta.model = sweep_work(grid.modules, grid.axes, outcome.points, samples)
    except NoWorkError as reason:
        meta.not_measured.setdefault("floor", str(reason))
    data = SweepData.of(meta, list(outcome.points.values()), samples)
    traced = {number: sweep_file.packed(record) for number, record in outcome.records.items()}
    made = last = Sweep(data, old_runs | traced)
    progress.end(_ended(made))
    return made, None if kept else outcome.first_error


def _ceilings(grid: Grid, progress: Progress) -> dict[str, Any]:
    """What the GPU can do, measured once for each GPU and kept; {} without one."""
    from profkit.capture.grid import devices
    from profkit.hardware import measure as measure_ceilings

    used = devices(grid.modules)
    if not used:
        return {}
    progress.at(0, len(grid.points), "ceilings of this GPU (measured once, up to 10 s)")
    return measure_ceilings(used[0]).to_dict()


def _kept(before: Sweep | None, grid: Grid) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]], dict[int, bytes]]:
    """Rows, samples and traces of an earlier sweep, by the numbers that the points have now."""
    if before is None:
        return {}, [], {}
    numbers = {tuple(labels.items()): number for number, labels in enumerate(grid.points)}
    now: dict[int, int] = {}
    rows: dict[int, dict[str, Any]] = {}
    for row in before.data.points.to_pylist():
        number = numbers.get(tuple((axis, row[axis]) for axis in grid.axes))
        if number is not None and row["status"] in _KEPT:
            now[row["point"]], rows[number] = number, row
    samples = [row | {"point": now[row["point"]]} for row in before.data.samples.to_pylist() if row["point"] in now]
    return rows, samples, {now[number]: run for number, run in before._runs.items() if number in now}


def _meta(request: Request, outcome: Outcome) -> SweepMeta:
    before = request.earlier.meta if request.earlier is not None else None
    environment = outcome.environment or (before.environment if before is not None else {})
    warnings = list(outcome.warnings)
    if before is not None and outcome.environment and _machine(before.environment) != _machine(environment):
        warnings.append(
            f"Points of the earlier sweep were measured on {_machine(before.environment)}, "
            f"the others on {_machine(environment)}."
        )
    if outcome.interrupted:
        missing = sum(row["status"] == Status.SKIPPED for row in outcome.points.values())
        warnings.append(
            f"Interrupted: {missing} of {len(outcome.points)} points are missing, resume goes on with them."
        )
    gpu_names = [gpu.get("name") for gpu in environment.get("gpus") or []]
    used = [gpu_names[device] for device in outcome.gpus if device < len(gpu_names)]
    return SweepMeta(
        name=request.name,
        profkit_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_ns=outcome.wall_ns + (before.wall_ns if before is not None else 0),
        cell_ns=outcome.cell_ns + (before.cell_ns if before is not None else 0),
        axes={name: list(axis) for name, axis in request.axes.items()},
        units={name: UNITS[name] for name in request.axes if name in UNITS},
        slo_ns=request.slo_ns,
        price_per_gpu_hour=request.price,
        carbon_g_per_kwh=request.carbon,
        gpus=len(outcome.gpus) or (before.gpus if before is not None else 0),
        gpu_name=used[0] if used else (before.gpu_name if before is not None else None),
        idle_power_w=outcome.idle_power_w or (before.idle_power_w if before is not None else None),
        options={"precision": request.precision, "budget_s": request.budget_s, "seed": request.seed},
        source=request.source,
        interrupted=outcome.interrupted,
        environment=environment,
        warnings=warnings,
        not_measured=outcome.not_measured,
    )


def _machine(environment: Mapping[str, Any]) -> str:
    """GPUs, or the CPU, and torch: what makes times comparable."""
    gpus = ", ".join(str(gpu.get("name")) for gpu in environment.get("gpus") or [])
    torch = (environment.get("packages") or {}).get("torch")
    return f"{gpus or environment.get('cpu')} with torch {torch}"


def _ended(made: Sweep) -> str:
    status = made.data.points["status"].to_pylist()
    how = "interrupted after" if made.meta.interrupted else "measured in"
    return f"{status.count(str(Status.OK))} of {len(status)} points {how} {made.meta.wall_ns / 1e9:.1f} s"


def earlier(resume: Sweep | str | os.PathLike[str] | None, axes: Sequence[str]) -> Sweep | None:
    """The sweep to go on with.

    Raises:
        OptionError: it is none, or has other axes.
        RecordError: its file cannot be read.
    """
    if resume is None:
        return None
    if isinstance(resume, str | os.PathLike):
        resume = Sweep.load(resume)
    if not isinstance(resume, Sweep):
        raise OptionError(f"resume is a Sweep or the path of one, not {type(resume).__name__}")
    if set(resume.meta.axes) != set(axes):
        raise OptionError(
            f"the sweep to resume has the axes {', '.join(resume.meta.axes)}, this one {', '.join(axes)}: "
            "they must be the same"
        )
    return resume


def _positive(name: str, value: float | None) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")):
        return value
    raise OptionError(f"{name} is a number above 0, not {value!r}")
