"""CCG supertagging; the tag set is that of the training data (1,363 categories in jiant's CCGbank)."""

from xstilts.tasks.base import Task

TASK = Task(name="ccg", kind="tagging", metrics=("accuracy",), criterion="tagging.token_accuracy")
