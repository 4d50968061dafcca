"""Out of memory on the device: the same batch in smaller passes."""

from __future__ import annotations

import json
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size

from xstilts.errors import StartAgainError, UserError
from xstilts.training.steps import fitting, halved
from xstilts.training.work import Work

_OF_THE_DEVICE = ("device", "ranks", "deepspeed", "activation_checkpointing", "micro_tokens")


def fitted(job: dict[str, Any], work: Work) -> dict[str, Any]:
    """The job, its micro-batch halved where an earlier attempt on such a device ran out of memory.

    Raises:
        UserError: there is no room for a single example.
    """
    failed = work.too_large(_device(job))
    if not failed:
        return job
    micro = halved(_batch(job), job["compute"]["ranks"], min(failed))
    if micro is None:
        raise UserError(
            "out of memory with one example in a pass; lower max_length, set compute.activation_checkpointing, shard "
            "more (compute.deepspeed.zero_stage), or ask for a larger device"
        )
    return {**job, "compute": {**job["compute"], "micro_batch": micro}}


def failed(job: dict[str, Any], work: Work) -> list[int]:
    """Micro-batches that did not fit, for the record."""
    return work.too_large(_device(job))


def reduced(error: RuntimeError, job: dict[str, Any], work: Work) -> StartAgainError | None:
    """What to raise instead of an error of the device's memory, now noted; None for any other error."""
    if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
        return None
    micro = fitting(_batch(job), job["compute"]["ranks"], job["compute"]["micro_batch"])
    work.note_too_large(micro, _device(job))
    return StartAgainError(f"out of memory with {micro} examples in a pass; starting again with fewer")


def _batch(job: dict[str, Any]) -> int:
    """The largest batch of a training's tasks."""
    return max(int(part["hyper"]["batch"]) for part in job.get("tasks", [job]))


def _device(job: dict[str, Any]) -> dict[str, Any]:
    """What decides how much fits."""
    name = torch.cuda.get_device_name() if job["compute"]["device"] == "cuda" else "cpu"
    of_config = {key: job["compute"][key] for key in _OF_THE_DEVICE}
    found: dict[str, Any] = json.loads(json.dumps({**of_config, "name": name}))
    return found
