"""SQuAD v1.1: an intermediate task, and the train set of XQuAD and MLQA."""

from xstilts.tasks.base import Task

TASK = Task(name="squad_v1", kind="span", metrics=("f1", "exact_match"), criterion="squad.mean_f1_em")
