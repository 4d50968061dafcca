"""Resampling and exact tests on arrays: what a difference between two sets of runs is worth.

Scores stand in arrays (replicate, language, run); replicate 0 is the data as they are, the others have examples drawn
anew. An interval speaks of seeds, languages and examples, which are crossed: a seed runs in every language, an item
often stands in several. Drawing all three at once would count what belongs to a single score up to seven times (the
pigeonhole bootstrap: Owen, Annals of Applied Statistics 1(2), 2007). So each level is drawn on its own, and what two of
them share is taken off again, as in an analysis of variance. Drawing n - 1 of n seeds or languages gives their mean the
variance s² / n, which is therefore computed and not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REPLICATES = 1000
_EXACT, _DRAWN = 14, 20_000  # more pairs than _EXACT: signs are drawn instead of counted
_BLOCK = 100  # replicates at a time: draws of every example are held in memory


class Counts(NamedTuple):
    """One language: ids of its n examples, and each run's points and weights (n, runs); see `evaluation.examples`."""

    ids: NDArray[np.str_]
    points: Array
    weights: Array


def replicated(languages: Sequence[Counts], rng: np.random.Generator, replicates: int = REPLICATES) -> Array:
    """Scores in percent, (1 + replicates, languages, runs): the data's, then with examples drawn anew.

    An id is drawn once for all languages and runs, so that what they have in common stays in common. Draws are
    Poisson(1), the limit of drawing n of n. A run without anything to score has 0.
    """
    known, places = np.unique(np.concatenate([one.ids for one in languages]), return_inverse=True)
    starts = np.cumsum([0, *(len(one.ids) for one in languages)])
    blocks = [_scores(languages, places, starts, np.ones((1, len(known)), np.float32))]
    for start in range(0, replicates, _BLOCK):
        draws = rng.poisson(1.0, (min(_BLOCK, replicates - start), len(known))).astype(np.float32)
        blocks.append(_scores(languages, places, starts, draws))
    return np.concatenate(blocks)


def _scores(
    languages: Sequence[Counts], places: NDArray[np.intp], starts: NDArray[np.int_], draws: NDArray[np.float32]
) -> Array:
    found = []
    for one, start, end in zip(languages, starts[:-1], starts[1:], strict=True):
        own = draws[:, places[start:end]]
        points, weights = own @ one.points, own @ one.weights
        found.append(100 * np.divide(points, weights, out=np.zeros_like(points), where=weights > 0))
    return np.stack(found, axis=1)


@dataclass(frozen=True)
class Effect:
    """One cell's score or its distance from the baseline, or a mean of such over targets.

    Attributes:
        value: the estimate, in points.
        by_seed: (pairs,): the same for each pair of runs, or each run where there is no baseline; no seed is in two.
        variance: of the estimate, beside what seeds add; it may be estimated below 0.
        freedom: its degrees of freedom: languages, less one for each target.
    """

    value: float
    by_seed: Array
    variance: float
    freedom: int


NOTHING = Effect(0.0, np.zeros(1), 0.0, 0)
"""The change of a cell that is the baseline itself."""


def effect(value: float, scores: Array) -> Effect:
    """The effect of one cell.

    Args:
        value: its estimate, from all runs.
        scores: (1 + replicates, languages, runs) of runs of which no two share a seed; distances from the baseline's
            runs, or scores.
    """
    return Effect(value, scores[0].mean(0), _beside_seeds(scores), scores.shape[1] - 1)


def _beside_seeds(scores: Array) -> float:
    """Variance of the mean from languages and from items, without what the variance between seeds holds already."""
    data = scores[0]
    rest = data - data.mean(0) - data.mean(1)[:, None] + data.mean()
    freedom = max(1, (data.shape[0] - 1) * (data.shape[1] - 1))
    both = float((rest**2).sum() / freedom / data.size)
    return float(_between(data.mean(1)) - both * (data.shape[1] > 1) + _of_items(scores[1:]))


def _of_items(draws: Array) -> float:
    """Variance from what an item does to every language and run alike: the covariance of scores that share neither.

    The variance of a mean of n scores is the mean of their n² covariances; those of one language or one run are in
    the variance between languages or runs, so they leave.
    """
    _, languages, runs = draws.shape
    found = _drawn(draws.mean((1, 2)))
    if languages > 1:
        found = found - _drawn(draws.mean(2)).sum() / languages**2
    if runs > 1:
        found = found - _drawn(draws.mean(1)).sum() / runs**2
    if languages > 1 and runs > 1:
        found = found + _drawn(draws).sum() / (languages * runs) ** 2
    return float(found * languages * runs / (max(1, languages - 1) * max(1, runs - 1)))


def _drawn(draws: Array) -> Array:
    """Variance over replicates."""
    found: Array = np.var(draws, axis=0, ddof=1)
    return found


def _between(values: Array) -> float:
    """Variance of the mean of values that were drawn: s² / n; of a single one it is not known and counts as 0."""
    return float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else 0.0


def mean(effects: Sequence[Effect]) -> Effect:
    """The unweighted mean over targets, of as many seeds as each has that has any; targets share seeds and no more."""
    count = len(effects)
    seeds = min((len(e.by_seed) for e in effects if len(e.by_seed) > 1), default=1)
    by_seed = np.mean([np.resize(e.by_seed[:seeds], seeds) for e in effects], axis=0)
    variance, freedom = sum(e.variance for e in effects) / count**2, sum(e.freedom for e in effects)
    return Effect(float(np.mean([e.value for e in effects])), by_seed, variance, freedom)


class Summary(NamedTuple):
    """An estimate in points with its 95 % interval, the spread over seeds (NaN with one), and the test.

    `p` is of the sign-flip test over seeds; `smallest_p` what it could reach with so many.
    """

    value: float
    low: float
    high: float
    sd: float
    seeds: int
    p: float
    smallest_p: float


def summary(found: Effect) -> Summary:
    """The estimate plus and minus Student's t times its standard error.

    Degrees of freedom are Satterthwaite's, from the variance between seeds and what languages and examples add to it;
    estimated below 0, that counts as nothing.
    """
    seeds = len(found.by_seed)
    sd = float(np.std(found.by_seed, ddof=1)) if seeds > 1 else float("nan")
    parts = [(_between(found.by_seed), seeds - 1), (max(0.0, found.variance), found.freedom)]
    half = student(_freedom(parts)) * math.sqrt(sum(variance for variance, _ in parts))
    return Summary(
        found.value, found.value - half, found.value + half, sd, seeds, sign_flip(found.by_seed), smallest_p(seeds)
    )


def _freedom(parts: Sequence[tuple[float, int]]) -> float:
    """Of a sum of variances, each with its own degrees; one without any (of many examples alone) counts as known."""
    total = sum(variance for variance, _ in parts)
    unsure = sum(variance**2 / freedom for variance, freedom in parts if freedom > 0)
    return total**2 / unsure if unsure else math.inf


def student(freedom: float, level: float = 0.05) -> float:
    """Quantile of |t|: half the width of an interval in standard errors; `freedom` at least 1, or infinite."""
    freedom = min(freedom, 1e4)
    angle = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.cumsum(density) - density / 2
    return float(np.sqrt(freedom) * np.tan(np.interp((1 - level) * mass[-1], mass, angle)))


def sign_flip(differences: Array) -> float:
    """Two-sided p: how often the mean would be as far from 0 if each difference had either sign by chance.

    Exact if the two runs of a pair could as well have been swapped, which is the case where the intermediate does
    nothing. A single pair has p = 1.
    """
    count = len(differences)
    if count <= _EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=count)))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (_DRAWN, count))
        signs[0] = 1.0
    sums = np.abs(signs @ differences)
    return float(np.mean(sums >= sums[0] - 1e-9 * max(1.0, float(sums[0]))))


def smallest_p(pairs: int) -> float:
    """The smallest p that `sign_flip` can reach: one of 2^n sign patterns and its mirror image; three pairs: .25."""
    return min(1.0, 2.0 ** (1 - pairs)) if pairs <= _EXACT else 1 / _DRAWN


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: with it, the chance of any false finding in the table is at most the level."""
    order = np.argsort(p_values, kind="stable")
    count, adjusted, running = len(p_values), [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted


def counts(runs: Mapping[int, tuple[NDArray[np.str_], Array, Array]], total: int) -> Counts:
    """One language's runs side by side: {run: (ids, points, weights)}; an id that a run lacks adds nothing to it."""
    ids, places = np.unique(np.concatenate([run[0] for run in runs.values()]), return_inverse=True)
    found = Counts(ids, np.zeros((len(ids), total)), np.zeros((len(ids), total)))
    start = 0
    for column, (own, points, weights) in runs.items():
        rows = places[start : start + len(own)]
        found.points[rows, column], found.weights[rows, column] = points, weights
        start += len(own)
    return found
