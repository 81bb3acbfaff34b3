"""A sweep in tabs: curves with SLO sliders, the Pareto front, the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pandas as pd
import traitlets

from profkit.analysis.sweep import SLOS, Status, SweepPhase
from profkit.analysis.sweep_curves import CurvePoint, Series, SweepCurves, pareto
from profkit.errors import OptionError, nearest
from profkit.views import sweep_words
from profkit.views.format import clean, duration, rate
from profkit.views.sweep_points import point_table
from profkit.views.widgets.base import TabbedView
from profkit.views.widgets.protocol import Table

_CURVES: Final = {
    "series": "",
    "x": "",
    "phase": "",
    "median_ns": "ns",
    "p10_ns": "ns",
    "p90_ns": "ns",
    "tokens_per_s": "tokens/s",
    "floor_ns": "ns",
    "knee": "",
    "status": "",
    "words": "",
}
_PARETO: Final = {"series": "", "median_ns": "ns", "tokens_per_s": "tokens/s", "front": "", "words": ""}
_TIMES: Final = {"decode": "Time per output token", "prefill": "Time to first token", "total": "Time of a run"}
_SHORT: Final = {str(Status.OUT_OF_MEMORY): "OOM"}
_WORDS: Final = ("phase", "status", "words")
_COUNTS: Final = ("series", "knee", "front")


class SweepView(TabbedView):
    """One sweep in tabs, or two on one graph.

    Sliders move the SLOs; the browser says at once what meets them.

    Raises:
        OptionError: there is no such tab, or the sweeps run along different axes.
    """

    tab = traitlets.Enum(("curves", "pareto", "points"), default_value="curves").tag(sync=True)

    def __init__(self, curves: SweepCurves, tab: str = "curves", overlay: SweepCurves | None = None) -> None:
        if tab not in TABLES:
            raise OptionError(f"SweepView(tab={tab!r}): no such tab{nearest(tab, TABLES)}")
        if overlay is not None and overlay.axis != curves.axis:
            raise OptionError(f"one sweep runs along {curves.axis!r}, the other along {overlay.axis!r}")
        self._sweeps = [curves] if overlay is None else [curves, overlay]
        title = " and ".join(dict.fromkeys(str(sweep.meta.name) for sweep in self._sweeps))
        hardware = " and ".join(dict.fromkeys(str(sweep.meta.gpu_name or "no GPU") for sweep in self._sweeps))
        super().__init__(title, hardware, tab=tab, kind="sweep")

    def _reply(self, what: object, options: dict[Any, Any]) -> tuple[dict[str, Any], list[bytes]]:
        return table(self._sweeps, what, options).message(str(what))


def curves_table(sweeps: Sequence[SweepCurves]) -> Table:
    """A row for each point and phase; a point without times has one, of phase ""."""
    rows = []
    for place, sweep, series, point in _points(sweeps):
        own = {"series": place, "x": point.x, "status": _SHORT.get(point.status, point.status), "words": ""}
        for phase, times in point.phases.items():
            main = phase == sweep.throughput
            read = ("median_ns", "p10_ns", "p90_ns", "tokens_per_s", "floor_ns")
            knee = main and point.x == sweep.knees[series.label].batch
            words = _words(sweep, series, point) if main else ""
            rows.append({**own, "phase": phase, "words": words, "knee": knee} | {n: getattr(times, n) for n in read})
        if not point.phases:
            rows.append({**own, "phase": "", "words": sweep_words.failure(point), "knee": False})
    return _table(rows, _CURVES, _info(sweeps))


def pareto_table(sweeps: Sequence[SweepCurves]) -> Table:
    """A row for each point with a time and counted tokens, in order of time."""
    rows: list[dict[str, Any]] = []
    for place, sweep, series, point in _points(sweeps):
        times = point.phases.get(sweep.throughput)
        if times is not None and times.tokens_per_s:
            words = f"{clean(point.label)}: {_words(sweep, series, point)}"
            found = {"median_ns": times.median_ns, "tokens_per_s": times.tokens_per_s, "words": words}
            rows.append({"series": place, **found})
    rows.sort(key=lambda row: (row["median_ns"], -row["tokens_per_s"]))
    front = pareto([(row["median_ns"], row["tokens_per_s"]) for row in rows])
    rows = [row | {"front": at in front} for at, row in enumerate(rows)]
    info = _info(sweeps) | {
        "titles": {"pareto": f"Tokens per second over {_TIMES[sweeps[0].throughput].lower()}, logarithmic"},
        "notes": ["The front joins the points that no other beats in both."],
        "reason": "" if rows else "No point has both a time and counted tokens: tokens= says how many a run makes.",
    }
    return _table(rows, _PARETO, info)


def points_table(sweeps: Sequence[SweepCurves]) -> Table:
    """Text for people, a row for each point."""
    table = point_table(sweeps)
    frame = pd.DataFrame(table.rows, columns=list(table.head))
    return Table.of(frame, dict.fromkeys(table.head, ""), {"heads": table.head, "left": sorted(table.words)})


TABLES: Final[dict[str, Callable[[Sequence[SweepCurves]], Table]]] = {
    "curves": curves_table,
    "pareto": pareto_table,
    "points": points_table,
}


def table(sweeps: Sequence[SweepCurves], what: object, options: dict[Any, Any]) -> Table:
    """The answer to one request.

    Raises:
        OptionError: no such table, or an option: there are none.
    """
    if not isinstance(what, str) or what not in TABLES:
        raise OptionError(f"no table {what!r} in a sweep{nearest(str(what), TABLES)}")
    if options:
        raise OptionError(f"table {what!r} has no option {next(iter(options))!r}")
    return TABLES[what](sweeps)


def _points(sweeps: Sequence[SweepCurves]) -> Iterator[tuple[int, SweepCurves, Series, CurvePoint]]:
    """Every point with the number of its curve."""
    series = [(sweep, series) for sweep in sweeps for series in sweep.series]
    for place, (sweep, one) in enumerate(series):
        for point in one.points:
            yield place, sweep, one, point


def _table(rows: list[dict[str, Any]], units: dict[str, str], info: dict[str, Any]) -> Table:
    frame = pd.DataFrame(rows, columns=list(units))
    kinds = {name: "int32" if name in _COUNTS else "float64" for name in units if name not in _WORDS}
    return Table.of(frame.astype(kinds), units, info)


def _words(sweep: SweepCurves, series: Series, point: CurvePoint) -> str:
    """``decode 5.86 ms (1.43 × its floor), prefill 199 ms, 2 921 tokens/s, bandwidth-bound, the knee``."""
    said = []
    for phase in sorted(point.phases, key=lambda phase: phase != sweep.throughput):
        times = point.phases[phase]
        if phase != SweepPhase.TOTAL or phase == sweep.throughput:
            over = f" ({times.median_ns / times.floor_ns:.2f} × its floor)" if times.floor_ns else ""
            said.append(f"{phase} {duration(times.median_ns)}{over}")
    main = point.phases.get(sweep.throughput)
    if main is not None:
        said += [rate(main.tokens_per_s)] if main.tokens_per_s else []
        said += [main.regime] if main.regime else []
    said += ["the knee"] if point.x == sweep.knees[series.label].batch else []
    said += ["throttled, or times drifted"] if point.doubtful else []
    return ", ".join(said)


def _info(sweeps: Sequence[SweepCurves]) -> dict[str, Any]:
    first = sweeps[0]
    phases = [str(phase) for phase in SweepPhase if any(str(phase) in sweep.phases() for sweep in sweeps)]
    parts = [phase for phase in phases if phase != SweepPhase.TOTAL] or phases
    failed = next((p for sweep in sweeps for p in sweep.all_points() if p.status != Status.OK), None)
    why = f"; {clean(failed.label)}: {sweep_words.failure(failed)}" if failed else ""
    return {
        "axis": clean(first.axis),
        "series": sweep_words.names(sweeps),
        "titles": _titles(sweeps, parts),
        "throughput": first.throughput,
        "slos": {
            name: {"phase": str(phase), "ns": first.meta.slo_ns.get(name)}
            for name, phase in SLOS.items()
            if phase in parts or (phase in phases and name in first.meta.slo_ns)
        },
        "notes": list(dict.fromkeys(clean(note) for sweep in sweeps for note in _notes(sweep, len(sweeps) > 1))),
        "reason": "" if parts else f"No point of this sweep was measured{why}.",
    }


def _titles(sweeps: Sequence[SweepCurves], phases: Sequence[str]) -> dict[str, str]:
    """Of the plots, in their order: decode first, tokens last."""
    times = [t for _, _, _, point in _points(sweeps) for t in point.phases.values()]
    band = ", band p10 to p90" if any(t.p10_ns for t in times) else ""
    floors = any(t.floor_ns for t in times)
    knees = [knee.batch for sweep in sweeps for knee in sweep.knees.values() if knee.batch is not None]
    floor, at_floor = (", floor dashed", ", dashed: at the floor") if floors else ("", "")
    titles = {phase: f"{_TIMES[phase]}: median{band}{floor}" for phase in reversed(phases)}
    ring = ", ring: the knee" if knees else ""
    return {**titles, "rate": f"Tokens per second ({sweeps[0].throughput}){at_floor}{ring}"}


def _notes(sweep: SweepCurves, named: bool) -> list[str]:
    """What bounds the sweep, with its name where it is not the only one."""
    name = f"{sweep.meta.name}: " if named else ""
    said = [sweep_words.floor(sweep)]
    said += [sweep_words.regime_of_all(sweep, phase) for phase in (SweepPhase.PREFILL, SweepPhase.DECODE)]
    return [f"{name}{text[:1].upper()}{text[1:]}." for text in said if text]
