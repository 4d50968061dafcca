"""BUCC mining and Tatoeba by hand, and against searches that try every possibility."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts.errors import UserError
from xstilts.metrics.retrieval import (
    Pair,
    above,
    best_threshold,
    ids_of_unique,
    one_to_one,
    pair_scores,
    tatoeba_accuracy,
    tatoeba_labels,
)


def pairs(text: str) -> list[Pair]:
    """`"1a 2b"` to [("1", "a"), ("2", "b")]."""
    return [(pair[0], pair[1]) for pair in text.split()]


def test_pair_scores_by_hand() -> None:
    # 2 of 3 claimed are right, of 5 true: P 2/3, R 2/5, F1 1/2.
    scores = pair_scores(pairs("1a 2b 3c 4d 5e"), pairs("1a 2b 3d"))
    assert scores == pytest.approx({"f1": 50.0, "precision": 200 / 3, "recall": 40.0})


def test_a_pair_counts_once_however_often_it_is_written() -> None:
    assert pair_scores(pairs("1a 2b"), pairs("1a 1a 1a")) == pytest.approx(
        {"f1": 200 / 3, "precision": 100.0, "recall": 50.0}
    )


def test_no_right_pair_scores_zero() -> None:
    nothing = {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert pair_scores(pairs("1a"), pairs("1b a1")) == nothing
    assert pair_scores(pairs("1a"), []) == nothing
    with pytest.raises(UserError, match="no gold pairs"):
        pair_scores([], pairs("1a"))


def test_threshold_lies_between_the_last_kept_and_the_next() -> None:
    scores = dict(zip(pairs("1a 2b 3x 4d"), [1.5, 1.25, 1.0, 0.5], strict=True))
    # F1 with gold {1a, 2b, 4d}: 1/2, 4/5, 2/3, 6/7 for 1 to 4 kept; without 4d in the gold: 2/3, 1, 4/5, 2/3.
    assert best_threshold(scores, pairs("1a 2b")) == 1.125
    assert above(scores, 1.125) == pairs("1a 2b")
    assert best_threshold(scores, pairs("1a 2b 4d")) == 0.5
    assert above(scores, 0.5) == pairs("1a 2b 3x 4d")


def test_of_equally_good_thresholds_the_strictest_wins() -> None:
    scores = dict(zip(pairs("1a 2x 3y 4d 5z"), [1.0, 0.75, 0.5, 0.375, 0.25], strict=True))
    # Gold {1a, 4d}: 1 right of 1 is F1 2/3; 2 right of 4 is 2/3 as well.
    assert best_threshold(scores, pairs("1a 4d")) == 0.875


def test_threshold_is_zero_where_no_candidate_is_right() -> None:
    assert best_threshold({("1", "a"): 0.75}, pairs("2b")) == 0.0
    assert above({("1", "a"): 0.75}, 0.0) == pairs("1a")


def test_a_score_on_the_threshold_is_kept() -> None:
    assert above({("1", "a"): 1.0, ("2", "b"): 0.999}, 1.0) == pairs("1a")


@given(st.integers(0, 10**6))
def test_no_other_threshold_does_better(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randint(1, 8)
    values = chance.sample(range(1, 100), size)  # distinct: of tied scores a threshold keeps all or none
    scores = {(str(i), chance.choice("ab")): value / 64 for i, value in enumerate(values)}
    gold = [(str(i), chance.choice("ab")) for i in range(chance.randint(1, 8))]
    chosen = pair_scores(gold, above(scores, best_threshold(scores, gold)))["f1"]
    assert chosen == max(pair_scores(gold, above(scores, cut))["f1"] for cut in scores.values())


def test_threshold_needs_gold_and_candidates() -> None:
    with pytest.raises(UserError, match="no gold pairs"):
        best_threshold({("1", "a"): 1.0}, [])
    with pytest.raises(UserError, match="no candidates"):
        best_threshold({}, pairs("1a"))


def test_greedy_selection_by_hand() -> None:
    # Forward: 0->0 (0.9), 1->0 (1.2), 2->1 (0.3). Backward: 0->1 (1.2), 1->0 (1.0), 2->0 (1.1).
    found = one_to_one([0, 0, 1], [0.9, 1.2, 0.3], [1, 0, 0], [1.2, 1.0, 1.1])
    # 1.2 takes (1, 0); 1.1 takes (0, 2); 1.0 and 0.9 find foreign 0 used; 0.3 takes (2, 1).
    assert found == [(1, 0, 1.2), (0, 2, 1.1), (2, 1, 0.3)]


def test_scores_of_zero_and_less_are_not_pairs() -> None:
    assert one_to_one([0, 1], [0.5, 0.0], [0, 1], [0.5, -0.1]) == [(0, 0, 0.5)]


def test_equal_scores_go_forward_first_and_by_index() -> None:
    assert one_to_one([1, 1], [1.0, 1.0], [1, 1], [1.0, 1.0]) == [(0, 1, 1.0), (1, 0, 1.0)]


def test_english_sentences_are_used_once_too() -> None:
    assert one_to_one([0, 0], [0.5, 0.4], [0], [0.5]) == [(0, 0, 0.5)]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_greedy_selection_takes_the_best_free_pair_each_time(foreign: int, english: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    forward, backward = draw.integers(english, size=foreign), draw.integers(foreign, size=english)
    values = draw.permutation(np.arange(-2, foreign + english - 2)) / 4  # distinct, some not above 0
    candidates = [(i, int(j)) for i, j in enumerate(forward)] + [(int(i), j) for j, i in enumerate(backward)]
    expected = []
    free = {pair: max(v for p, v in zip(candidates, values, strict=True) if p == pair) for pair in candidates}
    while free and max(free.values()) > 0:
        best = max(free, key=lambda pair: free[pair])
        expected.append((*best, free[best]))
        free = {pair: value for pair, value in free.items() if pair[0] != best[0] and pair[1] != best[1]}
    assert one_to_one(forward, values[:foreign], backward, values[foreign:]) == expected


def test_neighbours_and_scores_must_match() -> None:
    with pytest.raises(UserError, match="1 predicted and 2 gold forward neighbours"):
        one_to_one([0, 0], [1.0], [0], [1.0])
    with pytest.raises(UserError, match="no gold backward neighbours"):
        one_to_one([0], [1.0], [], [])


def test_sentences_that_repeat_have_no_id() -> None:
    assert ids_of_unique(["d1", "d2", "d3", "d4"], ["ja", "nein", " ja", "oh\n"]) == {"nein": "d2", "oh": "d4"}
    with pytest.raises(UserError, match="sentence ids"):
        ids_of_unique(["d1"], ["ja", "nein"])


def test_tatoeba_sorts_english_by_code_point() -> None:
    # Sorted: "Zebra" < "apple" < "apple pie" < "Éclair"; capitals come first and accents last.
    assert tatoeba_labels(["apple pie", "Zebra", "Éclair", "apple"]) == [1, 3, 0, 2]
    assert tatoeba_labels(["b", " a", "b"]) == [1, 0, 2]


def test_tatoeba_asks_for_the_foreign_line_of_each_sorted_english_sentence() -> None:
    english = ["c", "a", "b"]  # translates foreign lines 0, 1, 2; sorted: a (1), b (2), c (0)
    assert tatoeba_accuracy(english, [1, 2, 0]) == 100.0
    assert tatoeba_accuracy(english, [2, 0, 1]) == 0.0  # the other direction: places of a sorted list
    assert tatoeba_accuracy(english, [1, 0, 0]) == pytest.approx(200 / 3)
    with pytest.raises(UserError, match="2 predicted and 3 gold"):
        tatoeba_accuracy(english, [1, 2])
    with pytest.raises(UserError, match="no gold"):
        tatoeba_accuracy([], [])
