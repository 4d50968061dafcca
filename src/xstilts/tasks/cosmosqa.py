"""Cosmos QA: commonsense reading comprehension, four choices."""

from xstilts.tasks.base import Task

TASK = Task(name="cosmosqa", kind="choice", metrics=("accuracy",), criterion="classification.accuracy")
