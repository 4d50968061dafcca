"""Masked-language modelling on multilingual text: a task that intermediates mix in (Phang et al. 2020, §2.3)."""

from xstilts.tasks.base import Task

TASK = Task(name="mlm", kind="mlm", metrics=())
