"""HellaSwag: which of four endings follows?"""

from xstilts.tasks.base import Task

TASK = Task(name="hellaswag", kind="choice", metrics=("accuracy",), criterion="classification.accuracy")
