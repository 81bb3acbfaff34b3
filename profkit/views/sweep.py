"""How does a sweep show itself: what meets the SLOs, where the knee is and why, what a token costs; text, HTML, PNG."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from profkit.analysis.sweep import Status, SweepPhase
from profkit.analysis.sweep_curves import CurvePoint, PhaseTimes, Series, SweepCurves
from profkit.views import html, sweep_words, terminal
from profkit.views.caption import software
from profkit.views.content import KeyFigure
from profkit.views.format import (
    NOT_AVAILABLE,
    clean,
    cut,
    date,
    duration,
    energy_per_token,
    number,
    plural,
    power,
    rate,
    share,
)
from profkit.views.sheet import Sheet, Table
from profkit.views.sweep_points import point_table

_KINDS: Final = ("text/plain", "text/html", "image/png")
HEAD: Final = ("curve", "fastest step", "most tokens/s", "knee", "within the SLOs", "J/token", "$/M tokens")
"""Of the table with a row for each curve; columns without a value are left out. Energy and cost are those of its point
with the most tokens a second."""

ROWS: Final = 40
"""Points that a summary lists; `table` has all."""
_LONG: Final = ("p10 to p90", "n", "whole run", "notes")
_NOTE: Final = 40


def describe(sweep: SweepCurves) -> Sheet:
    """The words of a sweep's summary."""
    meta = sweep.meta
    head, rows = _filled(HEAD, [_row(sweep, series) for series in sweep.series])
    gpu = f"{meta.gpus} × {meta.gpu_name}" if meta.gpus > 1 else meta.gpu_name
    failed = (f"{p.label}: {sweep_words.failure(p)}" for p in _failed(sweep))
    missing = (f"{what.replace('_', ' ')}: {why}" for what, why in meta.not_measured.items())
    return Sheet(
        title=cut(clean(meta.name).strip() or "sweep", 40),
        byline=" · ".join(filter(None, (cut(clean(gpu or "no GPU"), 60), date(meta.created), software(meta)))),
        sentence=clean(_sentence(sweep)),
        figures=tuple(_figures(sweep)),
        tables=(Table("Curves", head, rows), *_points(sweep)) if rows else (),
        lists=(
            ("What bounds it", tuple(_bounds(sweep))),
            ("Points without times", tuple(map(clean, failed))),
            ("Warnings", tuple(map(clean, meta.warnings))),
            ("Not measured", tuple(map(clean, missing))),
        ),
    )


def _points(sweep: SweepCurves) -> Iterator[Table]:
    """A row for each point; what is said of it at length is in the widget and in the table."""
    table = point_table([sweep])
    kept = [at for at, head in enumerate(table.head) if head not in _LONG]
    rows = [tuple(cut(row[at], _NOTE) or "–" for at in kept) for row in table.rows[:ROWS]]
    more = len(table.rows) - ROWS
    caption = f"Points, the first {ROWS} of {ROWS + more}" if more > 0 else "Points"
    yield Table(caption, tuple(table.head[at] for at in kept), tuple(rows), words=0)


def _sentence(sweep: SweepCurves) -> str:
    """The answer that the sweep was made for."""
    if not sweep.phases():
        return "No point was measured."
    if len(sweep.verdicts) == 1:
        return _capital(sweep_words.verdict(sweep.verdicts[0][1])) + "."
    if sweep.verdicts:
        met = [(answer.largest, label) for label, answer in sweep.verdicts if answer.largest is not None]
        if met:
            said = ", ".join(f"{largest:g} ({label})" for largest, label in met)
            none = len(sweep.verdicts) - len(met)
            rest = f"; {plural(none, 'curve')} {'has' if none == 1 else 'have'} none" if none else ""
            return f"The largest {sweep.axis} within {sweep_words.limits(sweep)}: {said}{rest}."
        label, answer = min(sweep.verdicts, key=lambda pair: pair[1].miss.ratio if pair[1].miss else float("inf"))
        return f"With {label}, {sweep_words.verdict(answer)}; the other curves miss by more."
    best = _most(sweep)
    if best is not None:
        return f"Most throughput is {rate(best[1].tokens_per_s)}, at {best[0].label}."
    known = [pair for series in sweep.series for pair in series.measured(sweep.throughput)]
    point, times = min(known, key=lambda pair: pair[1].median_ns)
    return f"The fastest run takes {duration(times.median_ns)}, at {point.label}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _most(sweep: SweepCurves) -> tuple[CurvePoint, PhaseTimes] | None:
    known = [pair for series in sweep.series for pair in series.measured(sweep.throughput) if pair[1].tokens_per_s]
    return max(known, key=lambda pair: pair[1].tokens_per_s or 0.0, default=None)


def _figures(sweep: SweepCurves) -> Iterator[KeyFigure]:
    points = sweep.all_points()
    measured = [point for point in points if point.phases]
    what = "decode step" if sweep.throughput == SweepPhase.DECODE else "run"
    yield KeyFigure("Points", f"{len(measured)} of {len(points)}", _states(points))
    known = [pair for series in sweep.series for pair in series.measured(sweep.throughput)]
    if known:
        point, times = min(known, key=lambda pair: pair[1].median_ns)
        yield KeyFigure(f"Fastest {what}", duration(times.median_ns), f"{point.label}{_times_floor(times)}")
    best = _most(sweep)
    if best is not None:
        yield KeyFigure("Most throughput", rate(best[1].tokens_per_s), best[0].label)
    frugal = min((p for p in points if p.joules_per_token), key=lambda p: p.joules_per_token or 0.0, default=None)
    if frugal is not None:
        idle = sweep.meta.idle_power_w
        beside = f"; {power(idle)} idle" if idle is not None else ""
        yield KeyFigure("Least energy", energy_per_token(frugal.joules_per_token), f"{frugal.label}{beside}")
    cheap = min((p for p in points if p.cost_per_mtok), key=lambda p: p.cost_per_mtok or 0.0, default=None)
    if cheap is not None:
        price = (
            f"${sweep.meta.price_per_gpu_hour:.2f} per GPU hour" if sweep.meta.price_per_gpu_hour is not None else ""
        )
        yield KeyFigure(
            "Least cost", f"${number(cheap.cost_per_mtok)}/M tokens", "; ".join(filter(None, (cheap.label, price)))
        )
    yield KeyFigure("Wall time", duration(sweep.meta.wall_ns or None))


def _times_floor(times: PhaseTimes) -> str:
    return f"; {times.median_ns / times.floor_ns:.2f} × its floor" if times.floor_ns else ""


def _states(points: list[CurvePoint]) -> str:
    """``2 out of memory, 1 skipped``."""
    found = {status: sum(point.status == status for point in points) for status in Status if status != Status.OK}
    return ", ".join(f"{many} {status}" for status, many in found.items() if many)


def _row(sweep: SweepCurves, series: Series) -> tuple[str, ...]:
    """One curve: as `HEAD`."""
    known = series.measured(sweep.throughput)
    fastest = min(known, key=lambda pair: pair[1].median_ns, default=None)
    best = max(
        (pair for pair in known if pair[1].tokens_per_s), key=lambda pair: pair[1].tokens_per_s or 0.0, default=None
    )
    knee = sweep.knees[series.label].batch
    answer = next((answer for label, answer in sweep.verdicts if label == series.label), None)
    return (
        clean(series.label) or clean(sweep.meta.name),
        f"{duration(fastest[1].median_ns)} at {fastest[0].x:g}" if fastest else NOT_AVAILABLE,
        f"{number(best[1].tokens_per_s)} at {best[0].x:g}" if best else NOT_AVAILABLE,
        f"{knee:g}" if knee is not None else "none" if len(known) > 2 else NOT_AVAILABLE,
        NOT_AVAILABLE
        if answer is None
        else f"{answer.largest:g}"
        if answer.largest is not None
        else _missed(answer.miss),
        number(best[0].joules_per_token) if best else NOT_AVAILABLE,
        number(best[0].cost_per_mtok) if best else NOT_AVAILABLE,
    )


def _filled(
    head: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The columns in which any row has a value."""
    kept = [at for at in range(len(head)) if any(row[at] != NOT_AVAILABLE for row in rows)]
    return tuple(head[at] for at in kept), tuple(tuple(row[at] for at in kept) for row in rows)


def _missed(miss: Any) -> str:
    return NOT_AVAILABLE if miss is None else f"none: {miss.slo} + {share(miss.ratio - 1)}"


def _bounds(sweep: SweepCurves) -> Iterator[str]:
    for series in sweep.series:
        knee = sweep.knees[series.label]
        if series.measured(sweep.throughput):
            yield _capital(clean(": ".join(filter(None, (series.label, knee.why))))) + "."
    for phase in (SweepPhase.PREFILL, SweepPhase.DECODE):
        if any(series.measured(phase) for series in sweep.series):
            said = sweep_words.regime_of_all(sweep, phase)
            if said:
                yield f"{_capital(said)}{_fit(sweep, phase)}."
    if sweep.floors.floors:
        stand_on = sweep_words.ceilings(sweep.floors)
        yield f"The floors stand on {stand_on}: the shortest times that they allow, no prediction."
    elif "floor" not in sweep.meta.not_measured:
        yield _capital(sweep_words.floor(sweep)) + "."


def _fit(sweep: SweepCurves, phase: str) -> str:
    """The numbers of a fit that claims something."""
    fit = sweep.fits.get(phase)
    if fit is None or not fit.claims or fit.error is None:
        return ""
    terms = []
    if fit.launch_ns is not None:
        terms.append(f"launches {duration(fit.launch_ns)}")
    if fit.bandwidth is not None:
        terms.append(f"memory {fit.bandwidth / 1e12:.2f} TB/s")
    if fit.rate is not None:
        terms.append(f"arithmetic {fit.rate / 1e12:.0f} TFLOP/s")
    return f" (fit: {', '.join(terms)}; points it had not seen are missed by {share(fit.error)} on average)"


def _failed(sweep: SweepCurves) -> list[CurvePoint]:
    return [point for point in sweep.all_points() if point.status in (Status.OUT_OF_MEMORY, Status.ERROR)]


@dataclass(frozen=True, repr=False)
class SweepSummary:
    """A sweep's summary, as notebooks, GitHub and terminals show it."""

    curves: SweepCurves

    @cached_property
    def content(self) -> Sheet:
        """Its words."""
        return describe(self.curves)

    def __repr__(self) -> str:
        return terminal.sheet(self.content)

    def _repr_html_(self) -> str:
        return html.sheet(self.content)

    def _repr_png_(self) -> bytes | None:
        from profkit.views.figures.base import rendered
        from profkit.views.figures.sweep import available, figure

        kinds = available(self.curves)
        return rendered(figure(self.curves, kinds[0]), "png", dpi=100) if kinds else None

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        wanted = set(include or _KINDS) - set(exclude or ())
        bundle = {}
        if "text/plain" in wanted:
            bundle["text/plain"] = repr(self)
        if "text/html" in wanted:
            bundle["text/html"] = self._repr_html_()
        picture = self._repr_png_() if "image/png" in wanted else None
        if picture is not None:
            bundle["image/png"] = base64.b64encode(picture).decode()
        return bundle


def shown(curves: SweepCurves) -> SweepSummary:
    """The summary of a sweep, able to show itself."""
    return SweepSummary(curves)
