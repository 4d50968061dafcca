"""XTREME's own metrics for each target, and how it averages them (evaluate.py at 838c13b)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xstilts.metrics.checks import require_some

GROUPS = {
    "classification": ("pawsx", "xnli"),
    "tagging": ("udpos", "panx"),
    "qa": ("xquad", "mlqa", "tydiqa"),
    "retrieval": ("bucc2018", "tatoeba"),
}
_TARGETS = frozenset(target for group in GROUPS.values() for target in group)
_SPANS = ("f1", "precision", "recall")


def metric_names(target: str) -> tuple[str, ...]:
    """The official metrics of a target, in the order in which evaluate.py reports them."""
    if target in GROUPS["qa"]:
        return ("exact_match", "f1")
    return _SPANS if target in (*GROUPS["tagging"], "bucc2018") else ("accuracy",)


def mean(values: Iterable[float]) -> float:
    """Mean, added up from left to right: `sum` of newer Pythons rounds differently, in the last digit.

    Raises:
        UserError: no values.
    """
    total, numbers = 0.0, list(values)
    require_some(numbers, "scores")
    for number in numbers:
        total += number
    return total / len(numbers)


def averages(target: str, by_language: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """`avg_<metric>` over languages (English included) for each metric, and `avg_metric`, the task's score.

    Args:
        target: an XTREME task.
        by_language: language to its metrics, in the order of the benchmark's language list.

    Raises:
        UserError: no languages.
    """
    names = metric_names(target)
    means = {f"avg_{name}": mean(scores[name] for scores in by_language.values()) for name in names}
    return {**means, "avg_metric": task_score(target, means)}


def task_score(target: str, means: Mapping[str, float]) -> float:
    """A task's one score: the mean of EM and F1 for QA, F1 for tagging and mining, else accuracy."""
    if target in GROUPS["qa"]:
        return (means["avg_exact_match"] + means["avg_f1"]) / 2
    return means[f"avg_{metric_names(target)[0]}"]


def overall(task_scores: Mapping[str, float]) -> dict[str, float]:
    """Mean score of each group whose tasks are all there, after `all_task`, over tasks, if all nine are."""
    groups = {"all_task": tuple(task_scores)} if set(task_scores) == _TARGETS else {}
    groups |= {name: members for name, members in GROUPS.items() if set(members) <= set(task_scores)}
    return {name: mean(task_scores[target] for target in members) for name, members in groups.items()}
