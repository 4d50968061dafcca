"""How XTREME averages: over languages, over a task's metrics, over tasks."""

from __future__ import annotations

import pytest

from xstilts.config import xtreme_languages
from xstilts.errors import UserError
from xstilts.metrics.xtreme import GROUPS, averages, mean, metric_names, overall

# Table of spec/xtreme.md 1.1, from XTREME_TASK2LANGS.
COUNTS = {
    "pawsx": 7,
    "xnli": 15,
    "panx": 40,
    "udpos": 33,
    "bucc2018": 4,
    "tatoeba": 36,
    "xquad": 11,
    "mlqa": 7,
    "tydiqa": 9,
}


def test_languages_of_each_target() -> None:
    assert {task: len(set(codes)) for task, codes in xtreme_languages().items()} == COUNTS
    assert list(xtreme_languages()) == list(COUNTS)
    assert all(len(set(codes)) == len(codes) for codes in xtreme_languages().values())
    assert xtreme_languages()["tydiqa"] == ("en", "ar", "bn", "fi", "id", "ko", "ru", "sw", "te")
    assert set(xtreme_languages()["panx"]) - set(xtreme_languages()["tatoeba"]) == {"en", "ms", "my", "yo"}
    assert set().union(*xtreme_languages().values()) == set(xtreme_languages()["panx"])


def test_metric_names() -> None:
    assert {task: metric_names(task) for task in ("xnli", "tatoeba", "udpos", "bucc2018", "mlqa")} == {
        "xnli": ("accuracy",),
        "tatoeba": ("accuracy",),
        "udpos": ("f1", "precision", "recall"),
        "bucc2018": ("f1", "precision", "recall"),
        "mlqa": ("exact_match", "f1"),
    }


def test_mean_adds_from_left_to_right() -> None:
    assert mean([0.1] * 10) == 0.09999999999999999  # an exact sum would give 0.1
    with pytest.raises(UserError, match="no scores"):
        mean([])


def test_accuracy_tasks_average_over_languages() -> None:
    by_language = {"de": {"accuracy": 50.0}, "en": {"accuracy": 100.0}, "zh": {"accuracy": 0.0}}
    assert averages("pawsx", by_language) == {"avg_accuracy": 50.0, "avg_metric": 50.0}


def test_span_tasks_are_ranked_by_f1() -> None:
    by_language = {
        "de": {"f1": 40.0, "precision": 50.0, "recall": 30.0},
        "fr": {"f1": 60.0, "precision": 100.0, "recall": 45.0},
    }
    expected = {"avg_f1": 50.0, "avg_precision": 75.0, "avg_recall": 37.5, "avg_metric": 50.0}
    assert averages("bucc2018", by_language) == expected
    assert averages("panx", by_language) == expected


def test_questions_are_ranked_by_the_mean_of_both() -> None:
    by_language = {"en": {"exact_match": 60.0, "f1": 80.0}, "ar": {"exact_match": 20.0, "f1": 70.0}}
    assert averages("tydiqa", by_language) == {"avg_exact_match": 40.0, "avg_f1": 75.0, "avg_metric": 57.5}


def test_all_task_is_the_mean_over_tasks_not_groups() -> None:
    # XLM-R large as published (spec 1.5): 68.25 over the nine tasks.
    published = {"xnli": 79.2, "pawsx": 86.4, "udpos": 73.8, "panx": 65.4, "xquad": 68.7, "mlqa": 62.4}
    published |= {"tydiqa": 55.05, "bucc2018": 66.0, "tatoeba": 57.3}
    scores = overall(published)
    assert scores["all_task"] == pytest.approx(68.25)
    assert scores["classification"] == pytest.approx(82.8)
    assert scores["qa"] == pytest.approx((68.7 + 62.4 + 55.05) / 3)
    assert set(scores) == {"all_task", *GROUPS}


def test_incomplete_groups_have_no_score() -> None:
    assert overall({"udpos": 70.0, "panx": 60.0, "xquad": 50.0}) == {"tagging": 65.0}
    assert overall({"xnli": 70.0}) == {}
