"""MultiNLI: an intermediate task, and the train set of XNLI."""

from xstilts.tasks.base import NLI_LABELS, Task

TASK = Task(name="mnli", kind="pair", labels=NLI_LABELS, metrics=("accuracy",), criterion="classification.accuracy")
