"""Draws, intervals and exact tests on made numbers whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from xstilts.analysis import resampling
from xstilts.analysis.resampling import Counts, Effect


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def effect(differences: list[float]) -> Effect:
    return Effect(float(np.mean(differences)), np.array(differences), 0.0, 0)


def test_replicate_zero_is_the_score_itself() -> None:
    """Two runs: 3 of 4 right, and F1 = 2 * 2 / (3 + 3)."""
    points, weights = np.array([[1.0, 2], [1, 2], [1, 0], [0, 0]]), np.array([[1.0, 3], [1, 2], [1, 1], [1, 0]])
    found = resampling.replicated([Counts(np.array(list("abcd")), points, weights)], rng(), 30)
    assert found.shape == (31, 1, 2)
    assert found[0, 0] == pytest.approx([75.0, 100 * 4 / 6])


def test_replicates_spread_as_a_binomial() -> None:
    right = Counts(np.arange(400).astype(str), (np.arange(400) % 4 > 0).astype(float)[:, None], np.ones((400, 1)))
    found = resampling.replicated([right], rng(), 1000)
    assert np.std(found[1:, 0, 0]) == pytest.approx(100 * np.sqrt(0.75 * 0.25 / 400), rel=0.1)


def test_an_item_that_stands_in_two_languages_is_drawn_once() -> None:
    points = np.array([[1.0], [0], [1], [0], [1]])
    one = Counts(np.array(list("abcde")), points, np.ones((5, 1)))
    same = resampling.replicated([one, one], rng(), 50)
    assert (same[:, 0] == same[:, 1]).all()
    other = resampling.replicated([one, one._replace(ids=np.array(list("vwxyz")))], rng(), 50)
    assert (other[1:, 0] != other[1:, 1]).any()


def test_an_id_that_a_run_lacks_adds_nothing_to_it() -> None:
    ones = np.ones(2)
    found = resampling.counts({0: (np.array(["a", "b"]), ones, ones), 1: (np.array(["b", "c"]), ones, 2 * ones)}, 2)
    assert found.ids.tolist() == ["a", "b", "c"]
    assert found.weights.tolist() == [[1, 0], [1, 2], [0, 2]]


@pytest.mark.parametrize(
    ("seed", "language", "item"), [(3.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 3.0), (2.0, 2.0, 2.0)]
)
def test_each_level_counts_once(seed: float, language: float, item: float) -> None:
    """The estimated variance of a mean over 4 seeds and 5 languages is, on average, the one it has."""
    estimated, means, draw = [], [], rng()
    for _ in range(400):
        level = draw.normal(0, seed, 4) + draw.normal(0, language, (5, 1)) + draw.normal(0, 1, (5, 4))
        items = draw.normal(0, item * np.sqrt(30), (30, 1, 1)) + draw.normal(0, 5, (30, 5, 4))
        values = (level + items) / 100
        counts = [Counts(np.arange(30).astype(str), values[:, k], np.ones((30, 4))) for k in range(5)]
        found = resampling.effect(0.0, resampling.replicated(counts, draw, 60))
        estimated.append(found.variance + np.var(found.by_seed, ddof=1) / 4)
        means.append(100 * values.mean())
    assert np.mean(estimated) == pytest.approx(np.var(means), rel=0.25)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (7, 2.365), (30, 2.042), (np.inf, 1.960)])
def test_student_s_quantiles_are_the_tabulated_ones(freedom: float, quantile: float) -> None:
    assert resampling.student(freedom) == pytest.approx(quantile, abs=2e-3)


def test_three_pairs_reach_a_quarter_at_best() -> None:
    assert [resampling.smallest_p(n) for n in (1, 2, 3, 6)] == [1.0, 0.5, 0.25, 0.03125]
    assert resampling.sign_flip(np.array([2.0, 2.1, 1.9])) == 0.25
    assert resampling.sign_flip(np.array([2.0, 2.1, -1.9])) == 0.5
    assert resampling.sign_flip(np.array([5.0])) == 1.0
    assert resampling.sign_flip(np.zeros(4)) == 1.0


def test_many_pairs_are_tested_on_drawn_signs() -> None:
    assert resampling.sign_flip(np.ones(20)) == pytest.approx(resampling.smallest_p(20), abs=1e-3)


def test_holm_by_hand() -> None:
    """.01 * 3, then .02 * 2 (not below the one before), then .5."""
    assert resampling.holm([0.5, 0.01, 0.02]) == pytest.approx([0.5, 0.03, 0.04])
    assert resampling.holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_mean_over_targets_keeps_the_seeds_that_all_have() -> None:
    found = resampling.mean([effect([1.0, 3.0]), effect([5.0])])
    assert found.by_seed.tolist() == [3.0, 4.0]
    assert found.value == 3.5
