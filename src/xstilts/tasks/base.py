"""What a task is, without anything heavy: the Snakefile imports this to plan the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["pair", "choice", "span", "tagging", "retrieval", "mlm"]

NLI_LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Task:
    """One intermediate or target task.

    Attributes:
        name: the field's own name, and the name of its module in this package.
        kind: the shape of its rows (see `xstilts.tasks.rows`), hence its features, head and decoding.
        metrics: official metric names; the first is the headline, except QA, whose headline is the mean of both.
        criterion: the `module.function` of `xstilts.metrics` by which training selects a checkpoint on dev.
        labels: the label set, in the order of the head's outputs; empty where the training data defines it (CCG)
            or where there is none (QA, multiple choice, retrieval).
        datasets: what its train and dev parts are read from, concatenated; its own name unless said otherwise.
        train_set: the task whose training data phase 3 uses for this target; None for a task that is scored
            straight from the encoder, its own name where target and train set are one.
        scorer: module of `xstilts.metrics` that scores the predictions, where it is not the criterion's.
        scores: can the metric score a language (its code)? None for a metric that does not ask.
    """

    name: str
    kind: Kind
    metrics: tuple[str, ...]
    criterion: str = ""
    labels: tuple[str, ...] = ()
    datasets: tuple[str, ...] = field(default=())
    train_set: str | None = None
    scorer: str = ""
    scores: Callable[[str], bool] | None = None
