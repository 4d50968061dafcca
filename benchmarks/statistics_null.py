"""Do the statistics keep their word? Tables of `none` against `none` with other seeds, and with a planted effect.

    python benchmarks/statistics_null.py [--tables 500] [--pool results/mini-null/scores/mini/none]

simulated: what a seed adds to all languages, what it adds to each, and examples, together and each alone. resampled:
seeds, languages and examples are drawn from a pool of real runs of `none`, no run on both sides. Of each kind the share
of tables with any significant cell (after Holm), of cells with p <= .05 and of 95 % intervals that miss 0; and the same
of cells into which an effect is planted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from xstilts.analysis import resampling
from xstilts.analysis.resampling import Array, Counts, Effect

LEVEL, CELLS, LANGUAGES, EXAMPLES, REPLICATES = 0.05, 6, 6, 80, 100
SPREADS = {
    "all levels": (3.0, 3.0),
    "seeds alone": (3.0, 0.0),
    "languages alone": (0.0, 3.0),
    "examples alone": (0.0, 0.0),
}
"""Standard deviations in points of what a seed adds to all languages, and to each language on its own."""

Runs = tuple[list[Counts], list[Counts]]  # languages of the arm and of the baseline, runs as columns
Draw = Callable[[np.random.Generator, int, float], Runs]


class Rates(NamedTuple):
    """Shares of tables or cells, in percent."""

    tables_significant: float
    cells_significant: float
    cells_significant_holm: float
    intervals_missing_0: float


def simulated(between_seeds: float, between_languages: float) -> Draw:
    """Runs whose chance of a right answer differs by seed, by language, and by both."""

    def draw(rng: np.random.Generator, seeds: int, effect: float) -> Runs:
        easy = rng.normal(55, 8, LANGUAGES)[:, None]
        item = rng.normal(0, 10, (EXAMPLES, 1))  # an item is as hard in every language and for every run
        ids = np.arange(EXAMPLES).astype(str)

        def side(shift: float) -> list[Counts]:
            run = easy + shift + rng.normal(0, between_seeds, seeds)
            run = run + rng.normal(0, between_languages, (LANGUAGES, seeds))
            chance = np.clip((run[:, None] + item) / 100, 0, 1)
            return [Counts(ids, (rng.random(c.shape) < c).astype(float), np.ones(c.shape)) for c in chance]

        return side(effect), side(0.0)

    return draw


def resampled(pool: list[Counts]) -> Draw:
    """Real runs: seeds without replacement for both sides, languages and examples with replacement."""

    def draw(rng: np.random.Generator, seeds: int, effect: float) -> Runs:
        chosen = rng.permutation(pool[0].points.shape[1])
        sides: list[list[Counts]] = [[], []]
        for place in rng.integers(0, len(pool), len(pool)):
            rows = rng.integers(0, len(pool[place].ids), len(pool[place].ids))
            ids = np.arange(len(rows)).astype(str)
            for side, columns in enumerate((chosen[:seeds], chosen[seeds : 2 * seeds])):
                points, weights = (a[np.ix_(rows, columns)] for a in (pool[place].points, pool[place].weights))
                sides[side].append(Counts(ids, points + (side == 0) * effect / 100 * weights, weights))
        return sides[0], sides[1]

    return draw


def compared(runs: Runs, rng: np.random.Generator) -> Effect:
    """The cell that the workflow would make of these runs."""
    seeds = runs[0][0].points.shape[1]
    both = [Counts(a.ids, *(np.hstack([a[k], b[k]]) for k in (1, 2))) for a, b in zip(*runs, strict=True)]
    scores = resampling.replicated(both, rng, REPLICATES)
    distances = scores[:, :, :seeds] - scores[:, :, seeds:]
    return resampling.effect(float(distances[0].mean()), distances)


def rates(draw: Draw, seeds: int, tables: int, effect: float = 0.0) -> tuple[Rates, Rates]:
    """Rates over the cells without an effect, and over those with one (half of them, if there is one)."""
    rng = np.random.default_rng([seeds, tables, int(effect * 10)])
    found: list[list[tuple[bool, bool, bool]]] = [[], []]
    any_wrong = []
    planted = CELLS // 2 if effect else 0
    for _ in range(tables):
        cells = [resampling.summary(compared(draw(rng, seeds, effect * (k < planted)), rng)) for k in range(CELLS)]
        adjusted = resampling.holm([cell.p for cell in cells])
        marks = [(c.p <= LEVEL, p <= LEVEL, c.low > 0 or c.high < 0) for c, p in zip(cells, adjusted, strict=True)]
        found[1] += marks[:planted]
        found[0] += marks[planted:]
        any_wrong.append(any(mark[1] for mark in marks[planted:]))
    null, real = (np.mean(marks, axis=0) * 100 if marks else np.full(3, np.nan) for marks in found)
    return Rates(float(np.mean(any_wrong)) * 100, *map(float, null)), Rates(float("nan"), *map(float, real))


def expected_power(effect: float, spread: float, seeds: int) -> float:
    """Percent of six pairs that all have one sign (below .05 nothing else is), differences being normal."""
    assert seeds == 6, "with six pairs only two of the 64 sign patterns are significant"
    share = NormalDist().cdf(effect / spread)
    return 100 * (share**seeds + (1 - share) ** seeds)


def pair_spread(draw: Draw, draws: int = 400) -> float:
    """Standard deviation of one pair's difference without an effect, in points."""
    rng = np.random.default_rng(1)
    return float(np.std([compared(draw(rng, 1, 0.0), rng).value for _ in range(draws)]))


def pool_of(folder: Path, target: str) -> list[Counts]:
    """Every run of a target below a study's scores of `none`: languages of test, runs as columns."""
    tables = [pq.read_table(path) for path in sorted((folder / target).glob("*/*/examples.parquet"))]
    parts: dict[str, dict[int, tuple[Any, Array, Array]]] = {}
    for column, table in enumerate(tables):
        frame = table.to_pandas()
        for language, own in frame[frame["split"] == "test"].groupby("language"):
            arrays = (own["id"].to_numpy(str), own["points"].to_numpy(), own["weight"].to_numpy())
            parts.setdefault(str(language), {})[column] = arrays
    return [resampling.counts(runs, len(tables)) for runs in parts.values()]


def campaign(tables: int, pool: Path | None) -> Iterator[dict[str, Any]]:
    """Every kind of table with three, six and eight seeds, without an effect and (a quarter as many) with one."""
    draws: dict[str, Draw] = {f"simulated, {name}": simulated(*spreads) for name, spreads in SPREADS.items()}
    if pool:
        for target in sorted(path.name for path in pool.iterdir()):
            draws[f"resampled, {target}"] = resampled(pool_of(pool, target))
    for name, draw in draws.items():
        spread = pair_spread(draw)
        for seeds in (3, 6, 8):
            for effect in (0.0, 2 * spread):
                null, real = rates(draw, seeds, tables // 4 if effect else tables, effect)
                row = {"tables": name, "seeds": seeds, "effect": effect, "pair_spread": spread}
                power = expected_power(effect, spread, seeds) if effect and seeds == 6 else None
                yield {**row, "null": null._asdict(), "planted": real._asdict() if effect else None, "expected": power}


def main() -> None:
    """Print one JSON line for each kind of table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=500)
    parser.add_argument("--pool", type=Path)
    options = parser.parse_args()
    for row in campaign(options.tables, options.pool):
        print(json.dumps({k: v for k, v in row.items() if v is not None}), flush=True)


if __name__ == "__main__":
    main()
