"""What each example adds to its language's headline score, so that statistics can draw examples anew without a model.

A headline score is 100 · Σ points / Σ weights over examples, for every metric: of an accuracy a weight is 1 and a point
a right answer; of F1 points are twice the right spans or pairs, and weights the predicted and the gold ones together,
since F1 = 2·right / (predicted + gold); of question answering a point is the mean of F1 and exact match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("variant", pa.string()),
        ("split", pa.string()),
        ("language", pa.string()),
        ("id", pa.string()),
        ("points", pa.float64()),
        ("weight", pa.float64()),
    ]
)


class Examples(NamedTuple):
    """Ids of examples with their points and weights, side by side."""

    ids: Sequence[str]
    points: Sequence[float]
    weights: Sequence[float]

    def table(self, variant: str, split: str, language: str) -> pa.Table:
        """The rows of one language, as SCHEMA names them."""
        place = [[name] * len(self.ids) for name in (variant, split, language)]
        return pa.table([*place, list(self.ids), list(self.points), list(self.weights)], schema=SCHEMA)


def labelled(ids: Sequence[str], gold: Sequence[Any], predicted: Sequence[Any]) -> Examples:
    """Right or wrong: classification, and retrieval of the one translation."""
    return Examples(ids, [float(g == p) for g, p in zip(gold, predicted, strict=True)], [1.0] * len(ids))


def tagged(ids: Sequence[str], gold: Sequence[Any], predicted: Sequence[Any], metric: Any) -> Examples:
    """Spans of sentences, as the metric (`xstilts.metrics.tagging`) finds them in tags."""
    pairs = [(metric.spans(g), metric.spans(p)) for g, p in zip(gold, predicted, strict=True)]
    return Examples(ids, [2.0 * len(g & p) for g, p in pairs], [float(len(g) + len(p)) for g, p in pairs])


def answered(
    ids: Sequence[str], gold: Sequence[Any], predicted: Sequence[Any], metric: Any, *language: str
) -> Examples:
    """Mean of F1 and exact match of each question; arguments of the metric's `score_one` after its two texts."""
    points = [sum(metric.score_one(g, p, *language)) / 2 for g, p in zip(gold, predicted, strict=True)]
    return Examples(ids, points, [1.0] * len(ids))


def mined(gold: Iterable[tuple[str, str]], claimed: Iterable[tuple[str, str]]) -> Examples:
    """Pairs by their foreign sentence; one that is in no pair at all adds nothing and is left out."""
    true, kept = set(gold), set(claimed)
    right = Counter(foreign for foreign, _ in true & kept)
    pairs = Counter(foreign for foreign, _ in (*true, *kept))
    ids = sorted(pairs)
    return Examples(ids, [2.0 * right[name] for name in ids], [float(pairs[name]) for name in ids])
