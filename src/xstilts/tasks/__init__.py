"""Tasks, one module each, looked up lazily: adding one touches no other, and reaches no other's digest."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from xstilts.errors import UserError
from xstilts.tasks.base import Task

_NOT_TASKS = {"base", "hub", "preflight", "prepare", "rows", "sources"}


@cache
def names() -> tuple[str, ...]:
    """Names of every task that has a module here, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg and m.name not in _NOT_TASKS))


@cache
def get(name: str) -> Task:
    """The task of that name; imports its module only.

    Raises:
        UserError: there is no such task.
    """
    if name not in names():
        raise UserError(f"task {name!r}: there is no such task; known are {', '.join(names())}")
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task
