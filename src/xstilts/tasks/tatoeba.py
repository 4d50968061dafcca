"""Tatoeba: nearest-neighbour translation retrieval from English, 36 languages."""

from xstilts.tasks.base import Task

TASK = Task(name="tatoeba", kind="retrieval", metrics=("accuracy",), scorer="retrieval")
