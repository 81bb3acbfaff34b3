"""Run: one record with its analyses and views as methods. And `profile`, which makes one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from profkit.analysis import idle as idle_analysis
from profkit.analysis import kernels as kernel_analysis
from profkit.analysis import kv as kv_analysis
from profkit.analysis import memory as memory_analysis
from profkit.analysis import steps as step_analysis
from profkit.analysis.summary import summarize
from profkit.errors import OptionError, RecordError
from profkit.formats import archive
from profkit.formats.sweep import is_sweep
from profkit.record import Meta, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from profkit.capture.session import Session
    from profkit.views.summary import SummaryView

last: Run | None = None
"""The newest Run of this process; people read it as `profkit.last`."""


class Run:
    """One profile. Tables are DataFrames in ns, bytes, W and J; analyses and views are methods."""

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def name(self) -> str:
        """The profile's name."""
        return self.record.meta.name

    @property
    def meta(self) -> Meta:
        """Options, environment, source, totals; see `record.Meta`."""
        return self.record.meta

    @property
    def warnings(self) -> list[str]:
        """What may make numbers wrong or incomplete."""
        return self.record.meta.warnings

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row per host operator, runtime call and piece of GPU work, in order of start."""
        return self.record.events.to_pandas()

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """One row per reading of a GPU."""
        return self.record.telemetry.to_pandas()

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row per forward pass of the model."""
        return step_analysis.steps_frame(self.record)

    @cached_property
    def kv(self) -> pd.DataFrame:
        """One row per step and kind of layer: the cache after the step."""
        return kv_analysis.kv_frame(self.record)

    @cached_property
    def memory(self) -> pd.DataFrame:
        """One row per allocation that the history of the GPU's allocator saw, with `memory=True`."""
        return self.record.memory.to_pandas(types_mapper=step_analysis.nullable)

    def summary(self, link: str | None = None) -> SummaryView:
        """The profile in a dozen numbers; shows itself as text, HTML and PNG."""
        from profkit.views.caption import software
        from profkit.views.summary import shown

        return shown(summarize(self.record), link=link, software=software(self.meta))

    def kernels(self, by: kernel_analysis.By = "name") -> pd.DataFrame:
        """GPU work (host operators where there was no GPU) by "name", "kind" or "op", longest first."""
        return kernel_analysis.kernels(self.record, by)

    def idle(self, device: int | None = None) -> idle_analysis.Idle:
        """GPU time by cause, of one GPU or of the busiest."""
        return idle_analysis.idle(self.record, device)

    def idle_by_step(self, device: int | None = None) -> pd.DataFrame:
        """GPU time by cause for every step."""
        return idle_analysis.idle_by_step(self.record, device)

    def kv_growth(self) -> kv_analysis.KVGrowth | None:
        """What a token costs in the KV cache and why, what is wasted, when the GPU is full; None: no cache was read."""
        return kv_analysis.kv_growth(self.record)

    def memory_peak(self, device: int | None = None) -> memory_analysis.MemoryPeak | None:
        """What filled the memory of a GPU, or of the one that held most, at its peak; None without a history."""
        return memory_analysis.memory_peak(self.record, device)

    def figure(self, kind: str, window: tuple[int, int] | None = None) -> Figure:
        """A matplotlib figure: one of `views.figures.FIGURES`; of "timeline" a `window` from when to when, ns."""
        from profkit.views.figures import figure

        return figure(self.record, kind, window)

    def widget(self, tab: str = "overview", path: str | os.PathLike[str] | None = None) -> Any:
        """The interactive view, opened at a tab; `path` is where the record is saved, if it is."""
        from profkit.views.widgets.profile import ProfileView

        return ProfileView(self.record, tab, path)

    def timeline(self) -> Any:
        """The interactive timeline, with a static picture for pages on which no widget lives."""
        from profkit.views.widgets.profile import ProfileView

        return ProfileView(self.record, "timeline", picture=True)

    def export(self, folder: str | os.PathLike[str], formats: tuple[str, ...] = ("svg", "pdf", "png")) -> list[Path]:
        """Every figure that the record can fill, summary.md and summary.json; returns the paths."""
        from profkit.views.export import export

        return export(self.record, folder, formats)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """One HTML page that opens offline, with the interactive view in it; returns the path."""
        from profkit.formats.files import replacing
        from profkit.views.report import html_page

        target = Path(path)
        page = html_page(self.record)
        try:
            with replacing(target) as file:
                file.write(page.encode())
        except OSError as error:
            raise RecordError(f"cannot write the page to {target}: {error.strerror or error}") from error
        return target

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record; `path` gets `.profkit` if it has no suffix."""
        return archive.save(self.record, path)

    def export_trace(self, path: str | os.PathLike[str]) -> Path:
        """Write the trace as Chrome JSON (.json or .json.gz), which ui.perfetto.dev opens; returns the path."""
        from profkit.formats.chrome.write import write

        return write(self.record, path)

    def __repr__(self) -> str:
        events, steps = len(self.record.events), len(self.record.steps)
        return f"<Run {self.name!r}: {self.meta.wall_ns / 1e9:.3g} s, {events:,} events, {steps} steps>"


def load(path: str | os.PathLike[str]) -> Run:
    """Open a `.profkit` file. Opening runs no code from it.

    Raises:
        RecordError: it is not a record, damaged, or too large.
    """
    if is_sweep(path):
        raise RecordError(f"{path} holds a sweep: open it with profkit.Sweep.load")
    return Run(archive.load(path))


class Profile:
    """A `with` block that profiles; `run` is the Run once the block has ended, also when it raised."""

    def __init__(self, make: Callable[[list[Any]], Session]) -> None:
        self._make = make  # from the modules that the code around the block names
        self._session: Session | None = None
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The finished Run."""
        if self._run is None:
            raise RuntimeError("the profile has not ended: read `.run` after its `with` block")
        return self._run

    @property
    def ended(self) -> bool:
        """Whether `run` can be read."""
        return self._run is not None

    def block_ended(self) -> None:
        """The block's work is done; what follows until the end is not counted to it."""
        if self._session is not None and not self.ended:
            self._session.block_ended()

    def __enter__(self) -> Self:
        session = self._make(_named_by_caller())
        session.start()
        self._session = session
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global last  # noqa: PLW0603 - documented as profkit.last
        assert self._session is not None
        session, self._session = self._session, None  # the trace as torch holds it goes with it
        self._run = last = Run(session.stop(error))


def profile(
    name: str = "profile",
    *,
    model: Any = None,
    trace: bool = True,
    shapes: bool = False,
    stacks: bool = False,
    memory: bool = False,
    telemetry_hz: float = 20.0,
) -> Profile:
    """Profile a `with` block.

    Args:
        name: names the Run.
        model: nn.Module (or several) whose forward passes are recorded as steps. By default those that the
            calling function or cell names.
        trace: record kernels and operators; False keeps telemetry, steps and CUDA-event times only.
        shapes: record operators' input shapes.
        stacks: record Python stacks.
        memory: record the history of torch's GPU allocator: what the memory's peak consisted of.
        telemetry_hz: readings of each GPU per second, above 0 and at most 500.

    Raises:
        OptionError: an option that cannot be.
        ProfilerBusyError: on entering, when a profiler is running already.
    """
    from profkit.capture.session import Options, Session

    if not isinstance(name, str):
        raise OptionError(f"name is text, not {type(name).__name__}; did you mean model=?")
    options = Options(trace, shapes, stacks, memory, telemetry_hz)
    given = None if model is None else list(model) if isinstance(model, list | tuple) else [model]
    for module in given or ():
        if not hasattr(module, "register_forward_hook"):
            raise OptionError(f"model is an nn.Module or a list of them, not {type(module).__name__}")
    here = _named_by_caller()

    def make(around: list[Any]) -> Session:
        # A notebook compiles each statement by itself: `p = profile()` and `with p:` name different things.
        found = {id(module): module for module in [*here, *around]}
        return Session(name, options, list(found.values()) if given is None else given)

    return Profile(make)


def _named_by_caller() -> list[Any]:
    """Modules that the function or cell that called ours names."""
    import inspect

    from profkit.capture.discover import modules_of_frame

    frame = inspect.currentframe()
    try:
        caller = frame.f_back.f_back if frame and frame.f_back else None
        return modules_of_frame(caller) if caller else []
    finally:
        del frame, caller  # a frame that names itself would keep the whole profile until a full collection
