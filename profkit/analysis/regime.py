"""What bounds each step of a sweep: launches, memory or arithmetic? And from which batch on is more batch worth less?

The times of steps that differ in batch and context are fitted by

    time = max(launch, bytes / bandwidth, FLOPs / rate)

with FLOPs and bytes counted from the model's shape, and launch time, effective bandwidth and effective rate free
within what the GPU's ceilings allow. A term that the times do not call for is left out. The term that holds is the
point's regime. Nothing is claimed where the fit misses, where two fits explain the times equally well and disagree,
and where there are too few points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LAUNCH: Final = "launch-bound"
BANDWIDTH: Final = "bandwidth-bound"
COMPUTE: Final = "compute-bound"
TERMS: Final = (LAUNCH, BANDWIDTH, COMPUTE)

MIN_POINTS: Final = 6
"""Twice the free numbers of the fit."""
MIN_BATCHES: Final = 3
"""Two batches lie on any curve."""
LEAST_SHARE: Final = 1 / 3
"""Of a ceiling, that memory or arithmetic has to reach to be called the bound: what could have done its part in less
than a third of the time stood idle for most of it, and something else held the step up."""
MAX_ERROR: Final = math.log(2) / 4
"""Mean miss (natural log of the ratio; 19 %) of points that a fit has not seen. Batches are doubled as a rule, and
regimes differ by a factor of 2 a doubling: a fit that misses by more than a quarter of that cannot tell them."""
MAX_MISS: Final = math.log(2) / 2
"""Of a single point (41 %), by the same measure: it lies nearer to another slope than to its own."""
NEAR_LINEAR: Final = 0.75
"""Growth exponent of throughput over batch above which it grows near-linearly: 1 when steps take the same time
whatever the batch, 0 when batch buys nothing. At 0.75 a doubled batch gives 1.68 times the throughput."""

_FOLDS: Final = 12
_CANDIDATES: Final = 24
"""Values of each free number that the search over all of them together tries; each is then refined by itself."""


@dataclass(frozen=True)
class StepPoint:
    """One measured kind of step: what it had to do and how long it took."""

    batch: float
    flops: float
    bytes: float
    ns: float


@dataclass(frozen=True)
class RegimeFit:
    """The fit, each point's regime by it, and how far it is off."""

    regimes: tuple[str | None, ...]  # of the points, in their order; None where nothing is claimed
    fitted_ns: tuple[float, ...]
    residuals: tuple[float, ...]  # measured / fitted - 1
    launch_ns: float | None  # None: the times call for no such term
    bandwidth: float | None  # effective, bytes/s
    rate: float | None  # effective, FLOP/s
    error: float | None  # mean relative miss of points that the fit had not seen
    reason: str | None  # why nothing, or not everything, is claimed

    @property
    def claims(self) -> bool:
        """Whether any point has a regime."""
        return any(self.regimes)


@dataclass(frozen=True)
class Knee:
    """Where throughput stops to grow near-linearly with the batch."""

    batch: float | None  # the last batch that was worth its size; None: growth goes on to the last one
    growth: tuple[float, ...]  # exponent between each two neighbours
    why: str  # in words


def fit_regimes(points: Sequence[StepPoint], bandwidth: float | None, rate: float | None) -> RegimeFit:
    """The regimes of steps of one kind, all decode or all prefill.

    Least absolute misses in the logarithm of time, over every set of terms; the fewest terms that predict points
    left out of the fit as well as any (within one standard error: Breiman et al. 1984, section 3.4.3) are taken.

    Args:
        points: steps that differ in batch, and better in context too.
        bandwidth: the memory's ceiling, bytes/s.
        rate: the ceiling of arithmetic in the steps' dtype, FLOP/s.
    """
    reason = _refusal(points, bandwidth, rate)
    if reason is not None:
        return _no_claim(points, reason)
    assert bandwidth is not None
    assert rate is not None
    problem = _Problem.of(points, bandwidth, rate)
    fits = [problem.fit(terms) for count in (1, 2, 3) for terms in itertools.combinations(range(3), count)]
    best = min(fits, key=lambda fit: fit.error)
    good = [fit for fit in fits if fit.error <= best.error + best.error_of_error]
    fewest = min(len(fit.terms) for fit in good)
    good = sorted((fit for fit in good if len(fit.terms) == fewest), key=lambda fit: fit.error)
    return _judged(problem, good)


def knee(batches: Sequence[float], throughput: Sequence[float], regimes: Sequence[str | None]) -> Knee:
    """The last batch up to which throughput grew near-linearly: with an exponent of `NEAR_LINEAR` or more.

    After it every further step of the batch axis grows by less. The exponent between two neighbours is
    log(throughput ratio) / log(batch ratio).

    Args:
        batches: in ascending order, all other axes alike.
        throughput: tokens/s at each.
        regimes: of each, None where unknown.
    """
    if len(batches) < MIN_BATCHES:
        return Knee(None, (), f"a knee takes {MIN_BATCHES} batches, there are {len(batches)}")
    growth = tuple(
        math.log(b_rate / a_rate) / math.log(b / a)
        for (a, a_rate), (b, b_rate) in itertools.pairwise(zip(batches, throughput, strict=True))
    )
    slow_from = len(growth)
    while slow_from and growth[slow_from - 1] < NEAR_LINEAR:
        slow_from -= 1
    if slow_from == len(growth):
        return Knee(
            None, growth, f"throughput still grows near-linearly at batch {batches[-1]:g}, the largest measured"
        )
    at = batches[slow_from]
    where = f"from the smallest batch, {at:g}, on" if not slow_from else f"beyond batch {at:g}"
    doubled = 2 ** max(growth[slow_from:])
    why = f"{where} a doubled batch gives {doubled:.2f} × the throughput at most"
    return Knee(at, growth, why + _handover(batches, regimes, slow_from))


def _handover(batches: Sequence[float], regimes: Sequence[str | None], at: int) -> str:
    """Which regimes meet at the knee."""
    before = regimes[at]
    after = next((regime for regime in regimes[at + 1 :] if regime is not None), None)
    if before is None or after is None:
        return ""
    return f": steps are {before} there" + (f", then {after}" if after != before else "")


def _refusal(points: Sequence[StepPoint], bandwidth: float | None, rate: float | None) -> str | None:
    if bandwidth is None or rate is None:
        return "the GPU's ceilings are not known, and without them a launch and a slow memory look alike"
    if len(points) < MIN_POINTS:
        return f"a regime takes {MIN_POINTS} measured points, there are {len(points)}"
    batches = len({point.batch for point in points})
    if batches < MIN_BATCHES:
        return f"a regime takes {MIN_BATCHES} different batches, there are {batches}"
    if any(min(point.ns, point.flops, point.bytes) <= 0 for point in points):
        return "the work of a step is not known"
    return None


def _no_claim(points: Sequence[StepPoint], reason: str) -> RegimeFit:
    nothing = (math.nan,) * len(points)
    return RegimeFit((None,) * len(points), nothing, nothing, None, None, None, None, reason)


@dataclass(frozen=True)
class _Fit:
    """Offsets of some of the terms, and how well they predict points they have not seen."""

    terms: tuple[int, ...]
    offsets: tuple[float, ...]
    error: float
    error_of_error: float


@dataclass(frozen=True)
class _Problem:
    """In logarithms, a term's time is its work plus an offset, and the step's is the greatest of them."""

    time: Floats  # [n]
    work: Floats  # [3, n]: 1, bytes, FLOPs; logarithms
    low: tuple[float, ...]  # of each offset
    high: tuple[float, ...]

    @classmethod
    def of(cls, points: Sequence[StepPoint], bandwidth: float, rate: float) -> _Problem:
        work = np.log([[1.0] * len(points), [p.bytes for p in points], [p.flops for p in points]])
        fastest = [-math.log(ceiling / 1e9) for ceiling in (bandwidth, rate)]  # ns for a byte, for a FLOP
        slowest = [offset - math.log(LEAST_SHARE) for offset in fastest]
        return cls(np.log([p.ns for p in points]), work, (-math.inf, *fastest), (math.inf, *slowest))

    def fit(self, terms: tuple[int, ...]) -> _Fit:
        """Fitted to all points; judged by those that each fold leaves out."""
        count = len(self.time)
        fold = np.arange(count) % min(_FOLDS, count)
        misses = np.empty(count)
        for left_out in np.unique(fold):
            out = fold == left_out
            offsets = self._search(terms, ~out)
            misses[out] = np.abs(self.time[out] - self.predict(terms, offsets)[out])
        error = float(misses.mean())
        return _Fit(terms, self._search(terms, np.ones(count, bool)), error, float(misses.std() / math.sqrt(count)))

    def predict(self, terms: Sequence[int], offsets: Sequence[float]) -> Floats:
        """Logarithm of each point's time."""
        return np.max(self.each(terms, offsets), axis=0)

    def each(self, terms: Sequence[int], offsets: Sequence[float]) -> Floats:
        """Logarithm of each term's time at each point: [terms, n]."""
        return self.work[list(terms)] + np.asarray(offsets)[:, None]

    def _search(self, terms: tuple[int, ...], used: NDArray[np.bool_]) -> tuple[float, ...]:
        """The offsets with the least absolute misses: with a term on, some point lies on it."""
        time, work = self.time[used], self.work[:, used]
        whole = [np.unique(np.clip(time - work[term], self.low[term], self.high[term])) for term in terms]
        few = [_thin(values) for values in whole]
        grids = [values[:, None] + work[term] for values, term in zip(few, terms, strict=True)]  # [candidates, points]
        best, found = math.inf, tuple(values[0] for values in few)
        for first in range(len(few[0])):
            predicted = grids[0][first]
            for grid in grids[1:]:
                predicted = np.maximum(predicted[..., None, :], grid)
            misses = np.abs(time - predicted).mean(axis=-1)
            if misses.min() < best:
                best = float(misses.min())
                at = np.unravel_index(int(misses.argmin()), misses.shape) if misses.ndim else ()
                found = (few[0][first], *(values[i] for values, i in zip(few[1:], at, strict=True)))
        return self._refined(terms, found, whole, used)

    def _refined(
        self, terms: tuple[int, ...], offsets: tuple[float, ...], whole: list[Floats], used: NDArray[np.bool_]
    ) -> tuple[float, ...]:
        """Each offset in turn takes its best of all candidates."""
        time, work = self.time[used], self.work[:, used]
        refined = [float(offset) for offset in offsets]
        for _ in range(2):
            for i, term in enumerate(terms):
                others = [work[t] + refined[j] for j, t in enumerate(terms) if j != i]
                tried = whole[i][:, None] + work[term]
                for other in others:
                    tried = np.maximum(tried, other)
                refined[i] = float(whole[i][np.abs(time - tried).mean(axis=-1).argmin()])
        return tuple(refined)


def _thin(values: Floats) -> Floats:
    if len(values) <= _CANDIDATES:
        return values
    return values[np.linspace(0, len(values) - 1, _CANDIDATES).round().astype(int)]


def _judged(problem: _Problem, good: list[_Fit]) -> RegimeFit:
    """What may be claimed when these fits, the best first, explain the times equally well."""
    best = good[0]
    predicted = problem.predict(best.terms, best.offsets)
    misses = problem.time - predicted
    held = [_holding(problem, fit) for fit in good]
    poor = best.error > MAX_ERROR
    regimes: list[str | None] = []
    for at, miss in enumerate(misses):
        said = {terms[at] for terms in held}
        regimes.append(said.pop() if len(said) == 1 and abs(miss) <= MAX_MISS and not poor else None)
    offsets = dict(zip(best.terms, best.offsets, strict=True))
    values = {term: math.exp(offset if term == 0 else -offset) for term, offset in offsets.items()}
    return RegimeFit(
        regimes=tuple(regimes),
        fitted_ns=tuple(float(value) for value in np.exp(predicted)),
        residuals=tuple(float(value) for value in np.expm1(misses)),
        launch_ns=values.get(0),
        bandwidth=values[1] * 1e9 if 1 in values else None,
        rate=values[2] * 1e9 if 2 in values else None,
        error=math.expm1(best.error),
        reason=_reason(good, best, held, regimes, poor),
    )


def _holding(problem: _Problem, fit: _Fit) -> list[str | None]:
    """The term that holds at each point; None where the next one is nearer than the fit is exact."""
    each = problem.each(fit.terms, fit.offsets)
    order = np.sort(each, axis=0)
    clear = order[-1] - order[-2] > fit.error if len(fit.terms) > 1 else np.ones(each.shape[1], bool)
    return [TERMS[fit.terms[top]] if sure else None for top, sure in zip(each.argmax(axis=0), clear, strict=True)]


def _reason(
    good: list[_Fit], best: _Fit, held: list[list[str | None]], regimes: list[str | None], poor: bool
) -> str | None:
    if poor:
        return (
            f"the fit misses points by {math.expm1(best.error):.0%} on average, and beyond "
            f"{math.expm1(MAX_ERROR):.0%} it cannot tell them apart"
        )
    if all(regimes):
        return None
    if len(good) > 1 and any(len({terms[at] for terms in held}) > 1 for at in range(len(regimes))):
        ways = sorted(fit.terms for fit in good)
        said = " or ".join(" with ".join(TERMS[term].removesuffix("-bound") for term in terms) for terms in ways)
        return f"where none is given, {said} explain the times equally well: a wider range of batch or context can tell"
    return "where none is given, the point lies between two regimes or off the fit"
