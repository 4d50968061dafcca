"""XNLI: inference in 15 languages, trained on MNLI."""

from xstilts.tasks.base import NLI_LABELS, Task

TASK = Task(
    name="xnli",
    kind="pair",
    labels=NLI_LABELS,
    metrics=("accuracy",),
    criterion="classification.accuracy",
    train_set="mnli",
)
