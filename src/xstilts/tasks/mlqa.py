"""MLQA: question and passage in the same language, 7 languages, trained on SQuAD v1.1."""

from xstilts.metrics import mlqa
from xstilts.tasks.base import Task

TASK = Task(
    name="mlqa",
    kind="span",
    metrics=("f1", "exact_match"),
    train_set="squad_v1",
    scorer="mlqa",
    scores=mlqa.normalises,
)
