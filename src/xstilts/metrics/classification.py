"""Accuracy, and QQP's mean of accuracy and F1."""

from __future__ import annotations

from collections.abc import Sequence

from xstilts.errors import UserError
from xstilts.metrics.checks import require_aligned


def accuracy(gold: Sequence[object], predicted: Sequence[object]) -> float:
    """Percentage of predictions equal to their gold label (XTREME evaluate.py, `accuracy`).

    Raises:
        UserError: no labels, or not as many predictions as gold labels.
    """
    require_aligned(gold, predicted, "labels")
    correct = sum(bool(g == p) for g, p in zip(gold, predicted, strict=True))
    return correct / len(gold) * 100


def binary_f1(gold: Sequence[object], predicted: Sequence[object], positive: object) -> float:
    """F1 of the label `positive`, in percent.

    Raises:
        UserError: as `accuracy`; or no gold label is `positive`, which leaves recall undefined and mostly
            means that labels of another kind (ids for names) were passed.
    """
    require_aligned(gold, predicted, "labels")
    true = sum(g == positive for g in gold)
    if not true:
        raise UserError(f"metric: no gold label is {positive!r}; pass the label as the data writes it")
    claimed = sum(p == positive for p in predicted)
    correct = sum(bool(g == p == positive) for g, p in zip(gold, predicted, strict=True))
    return 2 * correct / (true + claimed) * 100


def accuracy_and_f1(gold: Sequence[object], predicted: Sequence[object], positive: object = "duplicate") -> float:
    """Mean of accuracy and F1 of the positive label, in percent: QQP's score (jiant, `acc_and_f1`).

    Raises:
        UserError: as `binary_f1`.
    """
    return (accuracy(gold, predicted) + binary_f1(gold, predicted, positive)) / 2
