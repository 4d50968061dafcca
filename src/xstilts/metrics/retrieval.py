"""Mining translation pairs (BUCC 2018) and finding translations (Tatoeba) as XTREME scores them.

The mining steps follow XTREME's third_party/utils_retrieve.py (after LASER): `one_to_one` picks pairs of
sentences, `ids_of_unique` drops sentences that stand for several ids, `best_threshold` tunes on dev and
`above` applies the threshold to test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from xstilts.metrics.checks import require_aligned, require_some
from xstilts.metrics.classification import accuracy

Pair = tuple[str, str]


def pair_scores(gold: Iterable[Pair], predicted: Iterable[Pair]) -> dict[str, float]:
    """`f1`, `precision` and `recall` of (foreign id, English id) pairs, in percent; each pair counts once.

    Raises:
        UserError: no gold pairs.
    """
    true, claimed = set(gold), set(predicted)
    require_some(true, "gold pairs")
    correct = len(true & claimed)
    if correct == 0:
        return {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    precision, recall = correct / len(claimed), correct / len(true)
    return {"f1": _f1(precision, recall) * 100, "precision": precision * 100, "recall": recall * 100}


def best_threshold(scores: Mapping[Pair, float], gold: Collection[Pair]) -> float:
    """The score from which on candidates are kept, such that F1 over the gold pairs is highest.

    It lies halfway between the last candidate kept and the next; of several best cuts the strictest wins.
    Where no candidate is right it is 0, which keeps all that `one_to_one` lets through. XTREME's code fails
    where the best cut keeps every candidate; here the threshold then is the lowest score.

    Args:
        scores: candidate pairs of ids with their scores, higher is better.
        gold: the dev set's true pairs.

    Raises:
        UserError: no candidates or no gold pairs.
    """
    true = set(gold)
    require_some(true, "gold pairs")
    require_some(scores, "candidates")
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    threshold = best = 0.0
    correct = 0
    for kept, (pair, score) in enumerate(ranked, start=1):
        correct += pair in true
        f1 = _f1(correct / kept, correct / len(true)) if correct else 0.0
        if f1 > best:
            following = ranked[kept][1] if kept < len(ranked) else score
            best, threshold = f1, (score + following) / 2
    return threshold


def above(scores: Mapping[Pair, float], threshold: float) -> list[Pair]:
    """The pairs whose score reaches the threshold, in the order given."""
    return [pair for pair, score in scores.items() if score >= threshold]


def one_to_one(
    forward: npt.ArrayLike,
    forward_scores: npt.ArrayLike,
    backward: npt.ArrayLike,
    backward_scores: npt.ArrayLike,
) -> list[tuple[int, int, float]]:
    """Pairs taken greedily by falling score, each sentence of either side at most once, scores above 0 only.

    Equal scores go forward before backward, then by index (upstream leaves that to its sorting algorithm).

    Args:
        forward: for each of n foreign sentences the index of its best English one; shape (n,).
        forward_scores: the scores of those; shape (n,).
        backward: for each of m English sentences the index of its best foreign one; shape (m,).
        backward_scores: the scores of those; shape (m,).

    Returns:
        (foreign index, English index, score), best first.

    Raises:
        UserError: neighbours and scores differ in number, or there are none.
    """
    found_english, found_foreign = np.asarray(forward), np.asarray(backward)
    scores = [np.asarray(forward_scores), np.asarray(backward_scores)]
    require_aligned(found_english, scores[0], "forward neighbours")
    require_aligned(found_foreign, scores[1], "backward neighbours")
    foreign = np.concatenate([np.arange(len(found_english)), found_foreign])
    english = np.concatenate([found_english, np.arange(len(found_foreign))])
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    return _greedy(zip(foreign[order].tolist(), english[order].tolist(), score[order].tolist(), strict=True))


def _greedy(ranked: Iterable[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    used_foreign: set[int] = set()
    used_english: set[int] = set()
    pairs = []
    for foreign, english, score in ranked:
        if score > 0 and foreign not in used_foreign and english not in used_english:
            used_foreign.add(foreign)
            used_english.add(english)
            pairs.append((foreign, english, score))
    return pairs


def ids_of_unique(ids: Sequence[str], sentences: Sequence[str]) -> dict[str, str]:
    """Sentence (stripped) to id, without the sentences that occur more than once: their id would be a guess.

    Raises:
        UserError: not as many ids as sentences, or none.
    """
    require_aligned(ids, sentences, "sentence ids")
    texts = [sentence.strip() for sentence in sentences]
    occurrences = Counter(texts)
    return {text: name for name, text in zip(ids, texts, strict=True) if occurrences[text] == 1}


def tatoeba_labels(english: Sequence[str]) -> list[int]:
    """The 0-based index in the foreign file of the translation of each English sentence, in code-point order.

    XTREME sorts the English side so that the order does not give the answer away; `english[i]` translates
    line i of the foreign file, which keeps its order. Spaces around a sentence do not count; equal ones
    keep their order.
    """
    return sorted(range(len(english)), key=lambda index: english[index].strip())


def tatoeba_accuracy(english: Sequence[str], nearest: Sequence[int]) -> float:
    """Percentage of sorted English sentences whose nearest foreign sentence is their translation.

    Args:
        english: English sentences in the order of the foreign file.
        nearest: for each English sentence in code-point order, the index of the foreign sentence found.

    Raises:
        UserError: no sentences, or not one index for each.
    """
    return accuracy(tatoeba_labels(english), nearest)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall)
