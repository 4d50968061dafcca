"""Accuracy and QQP's mean of accuracy and F1, against values worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from xstilts.errors import UserError
from xstilts.metrics.classification import accuracy, accuracy_and_f1, binary_f1

YES, NO = "duplicate", "not_duplicate"


def test_accuracy_is_the_percentage_of_equal_labels() -> None:
    assert accuracy(["a", "b", "b", "c"], ["a", "b", "c", "c"]) == 75.0
    assert accuracy([0, 1], [1, 0]) == 0.0


def test_accuracy_rounds_like_evaluate_py() -> None:
    # 23 / 40 * 100 and 100 * 23 / 40 differ in the last digit; XTREME divides first.
    assert accuracy([1] * 40, [1] * 23 + [0] * 17) == 57.49999999999999


def test_f1_counts_the_positive_label_only() -> None:
    gold = [YES, YES, YES, NO, NO]
    predicted = [YES, NO, NO, YES, NO]
    # 1 right of 2 claimed and 3 true: precision 1/2, recall 1/3, F1 2/5.
    assert binary_f1(gold, predicted, YES) == pytest.approx(40.0)


def test_accuracy_and_f1_is_their_mean() -> None:
    gold = [YES, YES, YES, NO, NO]
    predicted = [YES, NO, NO, YES, NO]
    assert accuracy_and_f1(gold, predicted) == pytest.approx((40.0 + 40.0) / 2)
    # 3 of 4 right; 1 of 1 claimed, 1 of 2 true: F1 2/3.
    assert accuracy_and_f1([1, 1, 0, 0], [1, 0, 0, 0], positive=1) == pytest.approx((75 + 200 / 3) / 2)


def test_f1_is_zero_where_no_positive_is_found() -> None:
    assert binary_f1([YES, NO], [NO, NO], YES) == 0.0


def test_labels_of_another_kind_are_refused() -> None:
    with pytest.raises(UserError, match="no gold label is 'duplicate'"):
        accuracy_and_f1([1, 0], [1, 0])


@pytest.mark.parametrize("metric", [accuracy, accuracy_and_f1])
def test_empty_or_uneven_input_is_refused(metric: Callable[..., float]) -> None:
    with pytest.raises(UserError, match="no gold labels"):
        metric([], [])
    with pytest.raises(UserError, match="1 predicted and 2 gold labels"):
        metric([YES, NO], [YES])


def test_metrics_import_nothing_heavy() -> None:
    modules = "classification tagging squad mlqa retrieval xtreme"
    code = f"""
import importlib, sys
for name in {modules.split()!r}:
    importlib.import_module("xstilts.metrics." + name)
print(sorted({{"torch", "pandas", "transformers", "datasets", "matplotlib"}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
