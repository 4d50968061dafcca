"""Resampling and exact tests on arrays: what a difference between two sets of runs is worth.

Scores stand in arrays (replicate, language, run); replicate 0 is the data as they are. Examples, languages and seeds
are drawn anew, each on its own, and a score's weight is the product of its draws (the pigeonhole bootstrap: Owen,
Annals of Applied Statistics 1(2), 2007; Owen and Eckles, ibid. 6(3), 2012; mildly conservative for crossed data, which
these are: one item often stands in many languages). Of n seeds or languages n - 1 are drawn: n draws would give a
variance too small by a factor (n - 1) / n, which with three seeds is two thirds.
"""

from __future__ import annotations

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


def drawn(count: int, rng: np.random.Generator, replicates: int = REPLICATES) -> Array:
    """Weights (1 + replicates, count) of `count` seeds or languages, each row's sum 1; row 0 is even."""
    if count == 1:
        return np.ones((1 + replicates, 1))
    draws = rng.multinomial(count - 1, np.full(count, 1 / count), size=replicates) / (count - 1)
    return np.concatenate([np.full((1, count), 1 / count), draws])


@dataclass(frozen=True)
class Effect:
    """One cell's score, or its distance from the baseline.

    Attributes:
        values: (1 + replicates,), the estimate first.
        by_seed: (seeds,): the same for each pair of runs, or each run where there is no baseline; no run is in two.
        by_language: of each target (languages,): its part in the estimate, for each language alone.
    """

    values: Array
    by_seed: Array
    by_language: tuple[Array, ...]

    def minus(self, other: Effect) -> Effect:
        """The distance from another cell of the same languages; one that has no seeds is the same for every seed."""
        pairs = min(len(self.by_seed), len(other.by_seed)) if len(other.by_seed) > 1 else len(self.by_seed)
        languages = tuple(own - base for own, base in zip(self.by_language, other.by_language, strict=True))
        by_seed = self.by_seed[:pairs] - (other.by_seed[:pairs] if len(other.by_seed) > 1 else other.by_seed)
        return Effect(self.values - other.values, by_seed, languages)


def effect(scores: Array, seeds: Array, languages: Array, matched: Sequence[int]) -> Effect:
    """The mean over runs and languages.

    Args:
        scores: (1 + replicates, languages, runs).
        seeds: weights of the runs, (1 + replicates, runs).
        languages: weights of the languages, (1 + replicates, languages).
        matched: runs that share no seed of any phase, in the order in which runs of two cells are paired.
    """
    values = np.einsum("rls,rl,rs->r", scores, languages, seeds)
    even = languages[0]
    return Effect(values, even @ scores[0][:, list(matched)], (scores[0] @ seeds[0],))


def mean(effects: Sequence[Effect]) -> Effect:
    """The unweighted mean over targets, of as many seeds as each has that has any."""
    count = len(effects)
    seeds = min((len(e.by_seed) for e in effects if len(e.by_seed) > 1), default=1)
    by_seed = np.mean([np.resize(e.by_seed[:seeds], seeds) for e in effects], axis=0)
    languages = tuple(part / count for e in effects for part in e.by_language)
    return Effect(np.mean([e.values for e in effects], axis=0), by_seed, languages)


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
    """The estimate plus and minus Student's t times the bootstrap's standard error.

    Degrees of freedom are Satterthwaite's, from the variance between seeds and that between languages.
    """
    seeds, value = len(found.by_seed), float(found.values[0])
    sd = float(np.std(found.by_seed, ddof=1)) if seeds > 1 else float("nan")
    half = student(_freedom(found)) * float(np.std(found.values[1:], ddof=1))
    return Summary(value, value - half, value + half, sd, seeds, sign_flip(found.by_seed), smallest_p(seeds))


def _freedom(found: Effect) -> float:
    parts = [(np.var(x, ddof=1) / len(x), len(x) - 1) for x in (found.by_seed, *found.by_language) if len(x) > 1]
    total = sum(variance for variance, _ in parts)
    if not total:
        return float("inf")
    return float(total**2 / sum(variance**2 / freedom for variance, freedom in parts))


def student(freedom: float, level: float = 0.05) -> float:
    """Quantile of |t|: half the width of an interval in standard errors; `freedom` at least 1, or infinite."""
    freedom = min(freedom, 1e4)
    angle = np.linspace(0, np.pi / 2, 200_001)
    mass = np.cumsum(np.cos(angle) ** (freedom - 1))
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
