"""PAN-X (WikiAnn): named entities in 40 languages."""

from xstilts.tasks.base import Task

TASK = Task(
    name="panx",
    kind="tagging",
    labels=("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"),
    metrics=("f1", "precision", "recall"),
    criterion="tagging.span_f1",
    train_set="panx",
)
