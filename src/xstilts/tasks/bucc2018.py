"""BUCC 2018: mining translation pairs; dev is its sample split, test its training split."""

from xstilts.tasks.base import Task

TASK = Task(name="bucc2018", kind="retrieval", metrics=("f1", "precision", "recall"), scorer="retrieval")
