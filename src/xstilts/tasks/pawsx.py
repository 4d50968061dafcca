"""PAWS-X: paraphrase identification in 7 languages; 1 is a paraphrase."""

from xstilts.tasks.base import Task

TASK = Task(
    name="pawsx",
    kind="pair",
    labels=("0", "1"),
    metrics=("accuracy",),
    criterion="classification.accuracy",
    train_set="pawsx",
)
