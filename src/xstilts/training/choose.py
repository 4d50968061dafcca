"""The one of several fine-tunes, told apart by their learning rates, that is best on English dev."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from xstilts import files, provenance
from xstilts.models import checkpoint
from xstilts.schema.training import Hyperparameters
from xstilts.tasks import features
from xstilts.tasks.features.tokens import Recipe
from xstilts.training import mixing
from xstilts.training.selection import Dev, criterion


def choose(job: dict[str, Any]) -> None:
    """Publish the candidate with the highest criterion on the whole English dev part; of equal ones the first.

    Its files are those of the candidate; record.json tells every candidate's rate and score. Under torchrun the first
    rank does all.

    Args:
        job: name, digest, plan, task, kind, criterion, hyper, learning_rates, candidates (directories), dev, tokens
            (directory), compute, output.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    started = time.time()
    torch.set_num_threads(job["compute"]["threads"])
    device = torch.device("cuda" if job["compute"]["device"] == "cuda" and torch.cuda.is_available() else "cpu")
    scores = [_score(job, Path(candidate), device) for candidate in job["candidates"]]
    best = scores.index(max(scores))
    with files.staged(Path(job["output"])) as staging:
        _link(Path(job["candidates"][best]), staging)
        tried = [{"learning_rate": r, "dev": s} for r, s in zip(job["learning_rates"], scores, strict=True)]
        measured = {"tried": tried, "chosen": job["learning_rates"][best], "dev": scores[best]}
        files.write_json(staging / files.RECORD, provenance.record(job, started, **measured))


def _link(source: Path, target: Path) -> None:
    """All files but the record, those of further checkpoint rules too, under a second name."""
    for path in source.rglob("*"):
        if path.is_file() and path != source / files.RECORD:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


def _score(job: dict[str, Any], candidate: Path, device: torch.device) -> float:
    model, tokenizer = checkpoint.load(candidate).to(device), checkpoint.load_tokenizer(candidate)
    (spec,) = model.specs.values()
    # Its own learning rate and batch play no part in looking.
    hyper = Hyperparameters.model_validate({"learning_rate": 1, "batch": 1, "epochs": 1, **job["hyper"]})
    made = Recipe(job["kind"], tuple(map(Path, job["dev"])), tokenizer, hyper, spec.labels)
    rows, encoded = mixing.dev(made, Path(job["tokens"]), job["compute"]["threads"])
    measure = criterion(job["criterion"])
    dev = Dev(spec.task, features.of(job["kind"]), rows, encoded, spec.labels, hyper, measure, tokenizer.pad_token_id)
    return dev.score(model, device)
