"""Model inputs made on CPUs, before the jobs that hold GPUs ask for them."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xstilts import files, provenance
from xstilts.models import checkpoint
from xstilts.tasks.features import tokens
from xstilts.tasks.features.tokens import Recipe


def tokenize(job: dict[str, Any]) -> None:
    """Make the tables of inputs that trainings, and predictions with the first task's head, will ask for.

    Tables that are there stay; a job finds its table by content, so one that this job did not foresee is made then.

    Args:
        job: name, digest, plan, checkpoint (directory of the tokenizer), tasks (kind, labels, hyper (lengths)), train
            (paths of each task), evaluated (paths of what is predicted), tokens (directory), compute, output.

    Raises:
        UserError: the tokenizer cannot be used, or a table has no rows.
    """
    started = time.time()
    tokenizer, store = checkpoint.load_tokenizer(Path(job["checkpoint"])), Path(job["tokens"])
    processes: int = job["compute"]["threads"]

    def recipe(task: dict[str, Any], paths: list[str], labels: list[str]) -> Recipe:
        hyper: Any = SimpleNamespace(**task["hyper"])
        return Recipe(task["kind"], tuple(map(Path, paths)), tokenizer, hyper, tuple(labels))

    trained = [
        tokens.of(recipe(task, paths, task["labels"]), store, processes)
        for task, paths in zip(job["tasks"], job["train"], strict=True)
    ]
    first, labels = job["tasks"][0], trained[0].labels
    tokens.make([recipe(first, [path], labels) for path in job["evaluated"]], store, processes)
    rows = sum(table.rows for table in trained)
    files.write_json(Path(job["output"]) / files.RECORD, provenance.record(job, started, rows=rows))
