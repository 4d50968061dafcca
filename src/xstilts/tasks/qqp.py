"""Quora Question Pairs (GLUE): is one question a paraphrase of the other?"""

from xstilts.tasks.base import Task

TASK = Task(
    name="qqp",
    kind="pair",
    labels=("not_duplicate", "duplicate"),
    metrics=("accuracy_and_f1",),
    criterion="classification.accuracy_and_f1",
)
