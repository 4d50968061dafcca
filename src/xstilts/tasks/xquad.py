"""XQuAD: SQuAD passages in 11 languages, trained on SQuAD v1.1."""

from xstilts.tasks.base import Task

TASK = Task(name="xquad", kind="span", metrics=("f1", "exact_match"), train_set="squad_v1", scorer="squad")
