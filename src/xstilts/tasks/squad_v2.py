"""SQuAD v2.0: with questions that the passage does not answer."""

from xstilts.tasks.base import Task

TASK = Task(name="squad_v2", kind="span", metrics=("f1", "exact_match"), criterion="squad.mean_f1_em")
