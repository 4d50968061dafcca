"""SQuAD's exact match and F1 by hand, and its normaliser against a reference that goes word by word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xstilts.errors import UserError
from xstilts.metrics.squad import mean_f1_em, normalise, score, score_one

PIECES = ["a", "an", "the", "The", "A-N", "t-he", "than", "L'a", "é", "_", "-", "'", ".", ",", "«", "¿", "。"]
SPACES = [" ", "  ", "\t", "\n", "\u00a0", "\u3000"]
TEXTS = st.lists(st.sampled_from(PIECES + SPACES) | st.text(max_size=3)).map("".join)


def reference(text: str) -> str:
    """Character by character: drop ASCII punctuation, cut at every non-word character, drop articles."""
    kept = [c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]
    result, word = "", ""
    for character in [*kept, " "]:
        if character.isalnum():
            word += character
            continue
        result += (" " if word in ("a", "an", "the") else word) + character
        word = ""
    return " ".join(result.split())


@settings(max_examples=500)
@given(TEXTS)
def test_normaliser_agrees_with_a_slow_reference(text: str) -> None:
    assert normalise(text) == reference(text)


@settings(max_examples=500)
@given(TEXTS)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(TEXTS, min_size=1, max_size=3), TEXTS)
def test_more_gold_answers_never_hurt(answers: list[str], prediction: str) -> None:
    exact, f1 = score_one(answers, prediction)
    alone = [score_one([answer], prediction) for answer in answers]
    assert exact == max(one[0] for one in alone)
    assert f1 == max(one[1] for one in alone)
    assert 0 <= f1 <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel-Tower, an icon!", "eiffeltower icon"),
        ("a.n. The", ""),
        ("Athens than a theatre", "athens than theatre"),
        ("el niño, «der» 。", "el niño «der» 。"),
        ("the\u00a0cat", "cat"),
    ],
)
def test_normaliser_by_hand(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_f1_by_hand() -> None:
    # Shared: blue, car (once). Precision 2/3, recall 2/2: F1 4/5.
    assert score_one(["the blue car"], "Blue car, car") == pytest.approx((0.0, 0.8))
    # Shared: no, twice. Precision 2/2, recall 2/3: F1 4/5.
    assert score_one(["no no no"], "no, no") == pytest.approx((0.0, 0.8))
    assert score_one(["red", "blue car"], "a blue CAR.") == (1.0, 1.0)
    assert score_one(["red"], "blue") == (0.0, 0.0)


def test_best_gold_answer_counts_for_each_metric() -> None:
    # 1/1 and 1/2 against the first: 2/3; 1/1 and 1/3 against the second: 1/2.
    assert score_one(["red car", "old red bus"], "red") == pytest.approx((0.0, 2 / 3))


def test_only_articles_match_exactly_but_share_no_word() -> None:
    assert score_one(["the"], "an") == (1.0, 0.0)


def test_unanswerable_questions_want_an_empty_prediction() -> None:
    assert score_one([], "") == (1.0, 1.0)
    assert score_one([], " the .") == (1.0, 1.0)
    assert score_one([], "red") == (0.0, 0.0)
    assert score_one(["red"], "") == (0.0, 0.0)


def test_scores_are_means_in_percent_and_a_question_left_out_scores_zero() -> None:
    golds = [["red"], ["blue car"], [], ["green"]]
    predictions = ["red", "car", "", None]
    # EM: 1, 0, 1, 0. F1: 1, 2/3, 1, 0.
    assert score(golds, predictions) == pytest.approx({"exact_match": 50.0, "f1": 100 * (8 / 3) / 4})
    assert mean_f1_em(golds, predictions) == pytest.approx((50 + 200 / 3) / 2)


def test_empty_or_uneven_input_is_refused() -> None:
    with pytest.raises(UserError, match="no gold answers"):
        score([], [])
    with pytest.raises(UserError, match="1 predicted and 2 gold answers"):
        mean_f1_em([["a"], ["b"]], ["a"])
