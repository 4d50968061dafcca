"""The data of a training: its tasks' rows as inputs, and how the tasks share its steps."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xstilts import parquet
from xstilts.errors import DataError, UserError
from xstilts.schema.arms import MLM, Mixture
from xstilts.schema.training import Hyperparameters
from xstilts.tasks import features
from xstilts.tasks.features import tokens
from xstilts.tasks.features.common import Encoded
from xstilts.training.batching import MicroBatches, Schedule, draws
from xstilts.training.inputs import TaskData
from xstilts.training.steps import mixed_steps, rates, total_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ALONE = Mixture()


@dataclass(frozen=True)
class Mix:
    """The tasks of a training, and which of them each step trains.

    Attributes:
        sizes: examples by which each task counts in the rates (MLM: those of the sample, of which a part is drawn).
        shares: the rates.
    """

    tasks: Sequence[TaskData]
    sizes: Sequence[int]
    shares: Sequence[float]
    schedule: Schedule

    def measured(self, batches: MicroBatches, steps: int) -> dict[str, Any]:
        """What the record says of the tasks after so many steps; of several, what each got."""
        counts = self.schedule.counts(steps)
        tokens = self.schedule.tokens(batches.lengths, steps)
        told = [self._told(k, counts[k], tokens[k]) for k in range(len(self.tasks))]
        if len(told) == 1:
            return {key: told[0][key] for key in ("rows", "encoded", "epochs")}
        return {"mixture": {data.task: one for data, one in zip(self.tasks, told, strict=True)}}

    def _told(self, k: int, steps: int, tokens: int) -> dict[str, Any]:
        data = self.tasks[k]
        seen, inputs = steps * data.hyper.batch, len(data.encoded)
        return {
            "rows": data.rows,
            "encoded": inputs,
            "size": self.sizes[k],
            "rate": round(self.shares[k], 6),
            "steps": steps,
            "epochs": round(seen / inputs, 4),
            "tokens": tokens,
        }


def parts(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks of a job; a job of one task tells of it itself."""
    return list(job["tasks"]) if "tasks" in job else [dict(job)]


def prepare(job: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Mix:
    """Read and encode what a job trains on, and draw the task of every step.

    Raises:
        UserError: a part without rows, or with labels that are not the task's.
    """
    found = [_candidate(part, job, tokenizer) for part in parts(job)]
    found, shares, steps = _plan(job, found)
    seed, counts = job["seed"], np.bincount(draws(shares, steps, job["seed"]), minlength=len(found))
    tasks = [one.data or _masked(one, tokenizer, int(n), seed) for one, n in zip(found, counts, strict=True)]
    batches = [one.hyper.batch for one in found]
    schedule = Schedule([len(data.encoded) for data in tasks], batches, shares, steps, seed)
    return Mix(tasks, [one.size for one in found], shares, schedule)


@dataclass(frozen=True)
class _Candidate:
    """A task before its steps are known.

    Attributes:
        data: what it trains on; None for MLM, which draws as much text as it needs.
        size: examples by which it counts in the rates.
        alone: steps that it takes alone.
    """

    part: dict[str, Any]
    hyper: Hyperparameters
    data: TaskData | None
    size: int
    alone: int


def _candidate(part: dict[str, Any], job: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> _Candidate:
    hyper = Hyperparameters.model_validate(part["hyper"])
    if part["task"] == MLM:
        size = part["text"]["sentences"]
        return _Candidate(part, hyper, None, size, total_steps(size, hyper))
    data = _supervised(part, hyper, job, tokenizer)
    return _Candidate(part, hyper, data, data.rows, total_steps(len(data.encoded), hyper))


def _plan(job: dict[str, Any], found: list[_Candidate]) -> tuple[list[_Candidate], list[float], int]:
    """The tasks that are trained, their rates, and the steps in all."""
    labelled = [one for one in found if one.data]
    if job.get("mlm_only"):
        return [one for one in found if not one.data], [1.0], sum(one.alone for one in labelled)
    mixture = Mixture.model_validate(job["mixture"]) if "mixture" in job else _ALONE
    sizes = [one.size for one in found]
    shares = rates(sizes, mixture)
    alone = [one.alone if one.data or not labelled else None for one in found]
    return found, shares, mixed_steps(sizes, shares, alone, mixture, [one.hyper.batch for one in found])


def _masked(one: _Candidate, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int) -> TaskData:
    """As many masked sentences as the steps take, and a step's worth if chance gave it none."""
    # By name, as the features of a kind: a change of it must not touch trainings without MLM.
    masking = importlib.import_module("xstilts.training.masking")
    data: TaskData = masking.task_data(one.part, one.hyper, tokenizer, max(1, steps) * one.hyper.batch, seed)
    return data


def _supervised(
    part: dict[str, Any], hyper: Hyperparameters, job: dict[str, Any], tokenizer: PreTrainedTokenizerFast
) -> TaskData:
    kind, paths = features.of(part["kind"]), tuple(map(Path, part["train"]))
    if not job.get("shuffled"):
        made = tokens.Recipe(part["kind"], paths, tokenizer, hyper, tuple(part["labels"]))
        shared = tokens.of(made, Path(job["tokens"]), job["compute"]["threads"])
        return TaskData(part["task"], part["kind"], kind, shared, shared.rows, _labels(part, shared.found), hyper)
    found = rows(part["train"], "train")
    found = importlib.import_module("xstilts.training.shuffling").shuffled(found, part["kind"], job["seed"])
    labels = _labels(part, kind.labels(found))
    encoded = kind.encode(found, tokenizer, hyper, labels)
    return TaskData(part["task"], part["kind"], kind, encoded, len(found), labels, hyper)


def _labels(part: dict[str, Any], found: list[str]) -> list[str]:
    labels = list(part["labels"]) or found
    if strange := sorted(set(found) - set(labels)):
        problem = f"label {strange[0]!r} is none of the task's ({', '.join(labels)})"
        raise DataError(part["train"][0], problem, "correct the data, or map the label in the dataset's config")
    return labels


def dev(
    recipe: tokens.Recipe, store: Path, processes: int, examples: int | None = None
) -> tuple[list[Any], list[Encoded]]:
    """Rows of dev tables, one after the other, and their inputs, which predictions share.

    Args:
        examples: how many of the first to take, as many from each table (ANLI+ has five); None: all.

    Raises:
        UserError: there are none.
    """
    each = None if examples is None else math.ceil(examples / max(1, len(recipe.paths)))
    found: list[Any] = []
    encoded: list[Encoded] = []
    for path in recipe.paths:
        some = rows([str(path)], "dev")[:each]
        for one in tokens.of(replace(recipe, paths=(path,)), store, processes):
            if one["example"] >= len(some):
                break
            encoded.append({**one, "example": len(found) + one["example"]})
        found += some
    return found or rows([], "dev"), encoded


def rows(paths: Sequence[str], split_name: str) -> list[Any]:
    """Prepared rows of some tables, one after the other.

    Raises:
        UserError: there are none.
    """
    found = [row for path in paths for row in parquet.rows(path)]
    if not found:
        where = ", ".join(paths) or "no file"
        raise UserError(f"{where}: the {split_name} part has no rows; check the dataset's source and limits")
    return found
