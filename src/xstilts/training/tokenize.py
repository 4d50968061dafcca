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
    """Make the tables of inputs that trainings, their looks at dev, and predictions will ask for.

    Tables that are there stay; a job finds its table by content, so one that this job did not foresee is made then.

    Args:
        job: name, digest, plan, checkpoint (directory of the tokenizer), tasks (kind, labels, hyper (lengths)), train
            and evaluated (paths of each task's training data, and of what its head predicts), tokens (directory),
            compute, output.

    Raises:
        UserError: the tokenizer cannot be used, or a table has no rows.
    """
    started = time.time()
    tokenizer, store = checkpoint.load_tokenizer(Path(job["checkpoint"])), Path(job["tokens"])
    processes: int = job["compute"]["threads"]

    def recipe(task: dict[str, Any], paths: list[str], labels: list[str]) -> Recipe:
        hyper: Any = SimpleNamespace(**task["hyper"])
        return Recipe(task["kind"], tuple(map(Path, paths)), tokenizer, hyper, tuple(labels))

    rows = 0
    for task, paths, evaluated in zip(job["tasks"], job["train"], job["evaluated"], strict=True):
        labels = task["labels"]
        if paths:  # none for retrieval, which nothing is trained for
            trained = tokens.of(recipe(task, paths, labels), store, processes)
            labels, rows = trained.labels, rows + trained.rows
        tokens.make([recipe(task, [path], labels) for path in evaluated], store, processes)
    files.write_json(Path(job["output"]) / files.RECORD, provenance.record(job, started, rows=rows))
