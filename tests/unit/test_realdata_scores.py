"""Real files through readers, submission writers and the official scorer: gold scores 100, shuffled gold scores chance.

Chance is exact. Let w[i][j] be what prediction j is worth at place i. If n predictions change places at random, their
total worth has mean and variance (Hoeffding 1951, "A combinatorial central limit theorem")

    mean     = sum(w) / n
    variance = sum((w[i][j] - row[i] - column[j] + all)^2) / (n - 1)

where `row`, `column` and `all` are means of w. Labels: w is 1 for equal labels, so chance is the sum of squared shares.
Answers: w is the SQuAD (MLQA) score of j's answer to question i. Tatoeba: w is the identity, one hit in n. Tagging:
whole sentences change places with sentences of the same length; the number of spans then stays, and F1 is the number of
common spans over it. A test's tolerance is four standard deviations, of each language and of the mean over languages;
where hits are rare (answers, retrieval) scores are means over nine permutations, so that nought is outside it.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from xstilts import config, tasks
from xstilts.evaluation import submission
from xstilts.evaluation.export import write_gold
from xstilts.evaluation.official import score_folders
from xstilts.metrics import mlqa, squad, tagging
from xstilts.study import Plan
from xstilts.tasks.prepare import read

ROOT = Path(__file__).parents[2]
TARGETS = ("xnli", "pawsx", "udpos", "panx", "xquad", "mlqa", "tydiqa", "tatoeba")
DEVIATIONS = 4.0
ROUNDS = {"pair": 1, "tagging": 1, "span": 9, "retrieval": 9}
SHUFFLED = [t if tasks.get(t).kind == "pair" else pytest.param(t, marks=pytest.mark.slow) for t in TARGETS]
Weights = npt.NDArray[np.float64]
Chance = tuple[float, float]  # mean and standard deviation, in percent


@pytest.fixture(scope="module")
def plan(realdata: Path) -> Plan:
    """The study of config/local.yaml, which describes these files."""
    raw = yaml.safe_load((ROOT / "config" / "local.yaml").read_text(encoding="utf-8"))
    return Plan(config.load(config.deep_merge(raw, {"data": {"root": str(realdata)}})))


@cache
def rows_of(plan: Plan, task: str) -> dict[str, list[Any]]:
    """Language: the rows of the test part, through the readers."""
    job = json.loads(plan.prepare(task).job())
    return {language: read(job, "test", language)[0] for language in plan.languages(task)}


def gold(task: str, rows: list[Any]) -> list[Any]:
    """What a perfect system would predict, in the order of the submission file."""
    kind = tasks.get(task).kind
    if kind == "retrieval":
        english = [row["text"] for row in rows if row["side"] == "english"]
        return sorted(range(len(english)), key=lambda line: english[line])
    column = {"pair": "label", "tagging": "tags", "span": "answers"}[kind]
    return [row[column][0] if kind == "span" else row[column] for row in rows]


def write(task: str, path: Path, rows: list[Any], predictions: list[Any]) -> None:
    if tasks.get(task).kind == "span":
        submission.write_answers(path, {row["id"]: text for row, text in zip(rows, predictions, strict=True)})
    else:
        writers = {"pair": submission.write_labels, "tagging": submission.write_tags}
        writers.get(tasks.get(task).kind, submission.write_indices)(path, predictions)  # type: ignore[operator]


def scores(plan: Plan, task: str, folder: Path, draw: random.Random | None = None) -> dict[str, Any]:
    """The official scores of the gold predictions, or of the shuffled ones, in every language."""
    for language, rows in rows_of(plan, task).items():
        predictions = gold(task, rows)
        if draw:
            predictions = [predictions[j] for j in shuffled(task, predictions, draw)]
        write(task, submission.place(folder / "predictions", task, language), rows, predictions)
        write_gold(task, language, rows, folder / "labels")
    report: Any = score_folders(folder / "predictions", folder / "labels", languages_present=True)[task]
    assert set(plan.languages(task)) < set(report)
    return dict(report)


def shuffled(task: str, predictions: list[Any], draw: random.Random) -> list[int]:
    """For each place the number of the prediction that it gets."""
    order = list(range(len(predictions)))
    for places in exchangeable(task, predictions):
        for place, number in zip(places, draw.sample(places, len(places)), strict=True):
            order[place] = number
    return order


def exchangeable(task: str, predictions: list[Any]) -> list[list[int]]:
    """Places whose predictions may be exchanged: all, or those of sentences of one length."""
    groups: dict[int, list[int]] = {}
    for place, prediction in enumerate(predictions):
        groups.setdefault(len(prediction) if tasks.get(task).kind == "tagging" else 0, []).append(place)
    return list(groups.values())


def chances(task: str, language: str, rows: list[Any]) -> dict[str, Chance]:
    """Metric: what shuffled gold scores."""
    predictions = gold(task, rows)
    kind = tasks.get(task).kind
    if kind == "pair":
        labels = np.array(predictions)
        return {"accuracy": chance([np.equal.outer(labels, labels).astype(float)], len(rows))}
    if kind == "retrieval":
        return {"accuracy": chance([np.eye(len(predictions))], len(predictions))}
    if kind == "span":
        exact, f1 = answers_worth(task, language, rows, predictions)
        return {"exact_match": chance([exact], len(rows)), "f1": chance([f1], len(rows))}
    spans = [tagging.spans(tags) for tags in predictions]
    groups = [common_spans([spans[place] for place in places]) for places in exchangeable(task, predictions)]
    of_all = chance(groups, sum(map(len, spans)))
    return dict.fromkeys(("f1", "precision", "recall"), of_all)


def chance(groups: Sequence[Weights], count: int) -> Chance:
    """Percentage of `count` that independent permutations within each group are worth."""
    mean = sum(weights.sum() / len(weights) for weights in groups)
    variance = sum(variance_of(weights) for weights in groups if len(weights) > 1)
    return 100 * float(mean) / count, 100 * math.sqrt(variance) / count


def variance_of(weights: Weights) -> float:
    centred = weights - weights.mean(axis=0) - weights.mean(axis=1, keepdims=True) + weights.mean()
    return float((centred**2).sum()) / (len(weights) - 1)


def common_spans(spans: Sequence[set[tagging.Span]]) -> Weights:
    return np.array([[len(one & other) for other in spans] for one in spans], dtype=float)


def answers_worth(task: str, language: str, rows: list[Any], predictions: list[str]) -> tuple[Weights, Weights]:
    """Exact match and F1 of every question's answer to every question, counted by hand: bags of normalised words."""

    def bag(text: str) -> tuple[str, Counter[str]]:
        plain = mlqa.normalise(text, language) if task == "mlqa" else squad.normalise(text)
        return plain, Counter(plain.split())

    guesses = [bag(text) for text in predictions]
    exact, f1 = (np.zeros((len(rows), len(rows))) for _ in range(2))
    for i, row in enumerate(rows):
        for text, words in map(bag, row["answers"]):
            for j, (guess, others) in enumerate(guesses):
                exact[i, j] = max(exact[i, j], guess == text)
                if not words.keys().isdisjoint(others):
                    shared = 2 * (words & others).total() / (words.total() + others.total())
                    f1[i, j] = max(f1[i, j], shared)
    return exact, f1


def test_the_mean_and_variance_of_a_permutation() -> None:
    """Labels a, a, b: of six permutations two hit all three, four hit one: mean 5/3, variance 8/9."""
    labels = np.array(["a", "a", "b"])
    mean, deviation = chance([np.equal.outer(labels, labels).astype(float)], 3)
    assert mean == pytest.approx(100 * 5 / 9)
    assert deviation == pytest.approx(100 * math.sqrt(8 / 9) / 3)
    assert chance([np.eye(5)], 5) == pytest.approx((20.0, 20.0))  # one fixed point, variance one


@pytest.mark.parametrize("task", TARGETS)
def test_gold_scores_a_hundred(plan: Plan, tmp_path: Path, task: str) -> None:
    report = scores(plan, task, tmp_path)
    for language in plan.languages(task):
        assert set(report[language].values()) == {100.0}, language
    assert {value for name, value in report.items() if name.startswith("avg_")} == {100.0}


@pytest.mark.parametrize("task", SHUFFLED)
def test_shuffled_gold_scores_chance(plan: Plan, tmp_path: Path, task: str) -> None:
    rounds = ROUNDS[tasks.get(task).kind]
    draw = random.Random(task)
    reports = [scores(plan, task, tmp_path, draw) for _ in range(rounds)]
    report = {code: mean_of([one[code] for one in reports]) for code in plan.languages(task)}
    report["avg"] = mean_of([{n.removeprefix("avg_"): v for n, v in one.items() if n[:4] == "avg_"} for one in reports])
    expected = {language: chances(task, language, rows) for language, rows in rows_of(plan, task).items()}
    for language, by_metric in expected.items():
        assert set(by_metric) == set(report[language])
        for metric, (mean, deviation) in by_metric.items():
            assert abs(report[language][metric] - mean) <= DEVIATIONS * deviation / math.sqrt(rounds), (
                language,
                metric,
            )
    for metric in report[plan.languages(task)[0]]:
        means, deviations = zip(*(by_metric[metric] for by_metric in expected.values()), strict=True)
        tolerance = DEVIATIONS * math.hypot(*deviations) / len(means) / math.sqrt(rounds)
        mean = sum(means) / len(means)
        assert tolerance < mean < 60, "the test tells chance from gold and from nothing"
        assert abs(report["avg"][metric] - mean) <= tolerance, (metric, mean, tolerance)


def mean_of(reports: Sequence[dict[str, float]]) -> dict[str, float]:
    return {metric: sum(one[metric] for one in reports) / len(reports) for metric in reports[0]}
