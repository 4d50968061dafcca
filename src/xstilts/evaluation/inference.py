"""How inputs go through a model that no longer learns: batches by tokens, precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which a model runs in `precision` (fp32, bf16, fp16); only the model belongs into it."""
    return torch.autocast(device.type, _DTYPES[precision]) if precision in _DTYPES else nullcontext()


def by_tokens(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of the inputs of each batch, of like lengths, the longest first (memory runs out at once or never).

    Args:
        lengths: tokens of every input.
        budget: tokens of a batch at most: its inputs times its longest one. An input that is longer goes alone.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
