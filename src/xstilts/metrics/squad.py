"""SQuAD's exact match and F1 (official script v1.1), with v2.0's rule for questions that have no answer.

XTREME scores XQuAD and TyDiQA-GoldP with this, whatever the language: only ASCII punctuation and English
articles are taken out.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from xstilts.metrics.checks import require_aligned

Normaliser = Callable[[str], str]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower-cased text without ASCII punctuation and English articles, words joined by single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def score_one(answers: Sequence[str], prediction: str, normaliser: Normaliser = normalise) -> tuple[float, float]:
    """Exact match and F1 of one prediction, each between 0 and 1, each the best over the gold answers.

    No gold answers means an unanswerable question (SQuAD 2.0): an empty prediction is right, any other wrong.
    """
    guess = normaliser(prediction)
    if not answers:
        right = float(guess == "")
        return right, right
    golds = [normaliser(answer) for answer in answers]
    exact = max(float(guess == gold) for gold in golds)
    return exact, max(_overlap_f1(guess.split(), gold.split()) for gold in golds)


def score(
    golds: Sequence[Sequence[str]], predictions: Sequence[str | None], normaliser: Normaliser = normalise
) -> dict[str, float]:
    """Mean `exact_match` and `f1` over questions, in percent.

    Args:
        golds: the gold answers of each question; none for an unanswerable one.
        predictions: one text per question; None is a question left out, which scores 0.
        normaliser: applied to gold and prediction before they are compared.

    Raises:
        UserError: no questions, or not as many predictions as questions.
    """
    require_aligned(golds, predictions, "answers")
    exact_match = f1 = 0.0
    for answers, prediction in zip(golds, predictions, strict=True):
        if prediction is not None:
            exact, overlap = score_one(answers, prediction, normaliser)
            exact_match += exact
            f1 += overlap
    return {"exact_match": 100.0 * exact_match / len(golds), "f1": 100.0 * f1 / len(golds)}


def mean_f1_em(golds: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> float:
    """Mean of F1 and exact match, in percent: XTREME's single number for a QA task."""
    scores = score(golds, predictions)
    return (scores["exact_match"] + scores["f1"]) / 2


def _overlap_f1(guess: list[str], gold: list[str]) -> float:
    shared = (Counter(guess) & Counter(gold)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(guess), shared / len(gold)
    return 2 * precision * recall / (precision + recall)
