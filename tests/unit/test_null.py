"""Tables of nothing against nothing: the campaign of benchmarks/statistics_null.py at reduced size."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.statistics_null import LANGUAGES, expected_power, pair_spread, rates, resampled, simulated

from xstilts.analysis import resampling
from xstilts.analysis.resampling import Counts

TABLES = 40
SLACK = 10.0  # three standard errors of a rate of 5 % over 40 tables


def test_three_seeds_never_give_a_significant_cell() -> None:
    null, _ = rates(simulated(3.0, 3.0), 3, TABLES)
    assert null.cells_significant == null.tables_significant == 0.0
    assert null.intervals_missing_0 <= 5 + SLACK


@pytest.mark.parametrize("spreads", [(3.0, 3.0), (3.0, 0.0), (0.0, 3.0), (0.0, 0.0)])
def test_nothing_is_found_where_nothing_is(spreads: tuple[float, float]) -> None:
    null, _ = rates(simulated(*spreads), 8, TABLES)
    assert null.tables_significant <= 5 + SLACK
    assert null.cells_significant <= 5 + SLACK / 2
    assert null.intervals_missing_0 <= 5 + SLACK / 2


def test_real_runs_against_others_of_their_kind() -> None:
    """A pool as the mini study's: runs of one model that differ by seed, on the same items in every language."""
    rng = np.random.default_rng(3)
    chance = 0.7 + rng.normal(0, 0.05, (LANGUAGES, 1, 24)) + rng.normal(0, 0.1, (LANGUAGES, 60, 1))
    pool = [Counts(np.arange(60).astype(str), (rng.random(c.shape) < c) * 1.0, np.ones(c.shape)) for c in chance]
    null, _ = rates(resampled(pool), 8, TABLES)
    assert null.tables_significant <= 5 + SLACK


def test_a_planted_effect_is_found_as_often_as_expected() -> None:
    draw = simulated(3.0, 3.0)
    spread = pair_spread(draw)
    null, real = rates(draw, 6, TABLES, 2 * spread)
    assert real.cells_significant == pytest.approx(expected_power(2 * spread, spread, 6), abs=12)
    assert real.intervals_missing_0 > 80
    assert null.cells_significant <= 5 + SLACK / 2
    assert resampling.smallest_p(6) * 6 > 0.05 and real.cells_significant_holm == 0.0  # six cells need eight seeds
