"""CommonsenseQA: five choices."""

from xstilts.tasks.base import Task

TASK = Task(name="commonsenseqa", kind="choice", metrics=("accuracy",), criterion="classification.accuracy")
