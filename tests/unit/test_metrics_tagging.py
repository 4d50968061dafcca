"""Span scores after seqeval 0.0.12, by hand and against slow references that look at tags another way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts import tasks
from xstilts.errors import UserError
from xstilts.metrics.tagging import span_f1, span_scores, spans, token_accuracy

UPOS = tasks.get("udpos").labels
BIO = tasks.get("panx").labels


def upos_spans(tags: list[str]) -> set[tuple[str, int, int]]:
    """Runs of equal tags, cut to single tokens where the tag starts with S."""
    found: set[tuple[str, int, int]] = set()
    start = 0
    for tag, run in groupby(tags):
        length = len(list(run))
        pieces = range(start, start + length) if tag[0] == "S" else [start]
        size = 1 if tag[0] == "S" else length
        found |= {(tag, piece, piece + size - 1) for piece in pieces}
        start += length
    return found


def bio_spans(tags: list[str]) -> set[tuple[str, int, int]]:
    """For each token that opens an entity, walk right as long as the entity goes on."""
    found: set[tuple[str, int, int]] = set()
    for start, tag in enumerate(tags):
        kind = tag[2:]
        goes_on = start > 0 and tag[0] == "I" and tags[start - 1][2:] == kind
        if tag == "O" or goes_on:
            continue
        end = start
        while end + 1 < len(tags) and tags[end + 1] == f"I-{kind}":
            end += 1
        found.add((kind, start, end))
    return found


@given(st.lists(st.sampled_from(UPOS)) | st.lists(st.sampled_from(["NOUN", "SYM", "SCONJ", "INTJ"])))
def test_bare_tags_are_runs(tags: list[str]) -> None:
    assert spans(tags) == upos_spans(tags)


@given(st.lists(st.sampled_from(BIO)))
def test_bio_tags_are_entities_and_a_stray_i_opens_one(tags: list[str]) -> None:
    assert spans(tags) == bio_spans(tags)


@given(st.lists(st.lists(st.sampled_from(BIO), min_size=1), min_size=1))
def test_gold_scored_against_itself_is_perfect_or_empty(sentences: list[list[str]]) -> None:
    expected = 100.0 if any(tag != "O" for tags in sentences for tag in tags) else 0.0
    scores = span_scores(sentences, sentences)
    assert scores == {"f1": expected, "precision": expected, "recall": expected}


def test_the_initials_that_the_rules_know() -> None:
    assert spans(["SYM", "SYM"]) == {("SYM", 0, 0), ("SYM", 1, 1)}  # S: single
    assert spans(["NOUN", "NOUN"]) == {("NOUN", 0, 1)}
    assert spans(["EX", "EX"]) == {("EX", 0, 0), ("EX", 1, 1)}  # E: end
    assert spans(["BAR", "BAR"]) == {("BAR", 0, 0), ("BAR", 1, 1)}  # B: begin
    assert spans(["INTJ", "INTJ"]) == {("INTJ", 0, 1)}  # I: inside
    assert spans(["OTHER", "NOUN"]) == {("NOUN", 1, 1)}  # O: outside
    assert spans(["B-PER", "E-PER", "S-PER"]) == {("PER", 0, 1), ("PER", 2, 2)}


def test_entity_scores_by_hand() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["O", "O"]]
    # Gold has 3 spans, 2 are predicted, 1 is right: P 1/2, R 1/3, F1 2/5.
    assert span_scores(gold, predicted) == pytest.approx({"f1": 40.0, "precision": 50.0, "recall": 100 / 3})


def test_upos_scores_by_hand() -> None:
    gold = [["DET", "NOUN", "NOUN", "VERB"], ["SYM", "SYM", "X"]]
    predicted = [["DET", "NOUN", "NOUN", "NOUN"], ["NUM", "NUM", "X"]]
    # Gold: DET, NOUN 1-2, VERB, SYM, SYM, X = 6. Predicted: DET, NOUN 1-3, NUM 0-1, X = 4. Right: DET, X.
    assert span_scores(gold, predicted) == pytest.approx({"f1": 40.0, "precision": 50.0, "recall": 100 / 3})
    assert span_f1(gold, predicted) == pytest.approx(40.0)
    assert token_accuracy(gold, predicted) == pytest.approx(100 * 4 / 7)


def test_cconj_and_sconj_stay_apart() -> None:
    # seqeval 1.2.2 takes both for "CONJ" and scores 100 here.
    assert span_f1([["CCONJ", "NOUN"]], [["SCONJ", "NOUN"]]) == 50.0


def test_spans_do_not_cross_sentences() -> None:
    # Right are VERB and the first NOUN; the second sentence's NOUN is a span of its own, and missed.
    assert span_scores([["VERB", "NOUN"], ["NOUN"]], [["VERB", "NOUN"], ["ADJ"]])["recall"] == pytest.approx(200 / 3)


def test_nothing_predicted_is_zero_not_an_error() -> None:
    assert span_scores([["B-PER"]], [["O"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert span_scores([["O"]], [["B-PER"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


@pytest.mark.parametrize("metric", [span_f1, token_accuracy])
def test_what_does_not_stand_side_by_side_is_refused(metric: Callable[..., float]) -> None:
    with pytest.raises(UserError, match="no gold sentences"):
        metric([], [])
    with pytest.raises(UserError, match="1 predicted and 2 gold sentences"):
        metric([["O"], ["O"]], [["O"]])
    with pytest.raises(UserError, match="1 predicted and 2 gold tags of sentence 2"):
        metric([["O"], ["O", "O"]], [["O"], ["O"]])


def test_accuracy_of_no_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="no gold labels"):
        token_accuracy([[]], [[]])
