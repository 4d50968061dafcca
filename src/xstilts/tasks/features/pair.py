"""Sentence pairs with one label (NLI, paraphrase): one input per row.

Encoded: `label` (index into the labels, or IGNORED). Result of a batch: its logits, one float32 array per input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xstilts.tasks.features.common import IGNORED, Batch, Encoded, Template, inputs, label_ids, longest_first, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from xstilts.schema.training import Hyperparameters
    from xstilts.tasks.rows import PairRow


def labels(rows: Sequence[PairRow]) -> list[str]:
    """The sorted label set of the rows."""
    return sorted({row["label"] for row in rows})


def encode(
    rows: Sequence[PairRow], tokenizer: PreTrainedTokenizerFast, hyper: Hyperparameters, labels: Sequence[str]
) -> list[Encoded]:
    """One input per row; a pair that is too long loses tokens at the end of its longer text."""
    template, index = Template.of(tokenizer, 2), label_ids(labels)
    room = template.room(hyper.max_length)
    ids = tokenize(tokenizer, (text for row in rows for text in (row["text_a"], row["text_b"])))
    encoded = []
    for example, row in enumerate(rows):
        first, second = ids[row["text_a"]], ids[row["text_b"]]
        keep_first, keep_second = longest_first(len(first), len(second), room)
        one = template.wrap(first[:keep_first], second[:keep_second])
        encoded.append({**one, "example": example, "label": index.get(row["label"], IGNORED)})
    return encoded


def collate(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """Padded inputs (batch, length) and `labels` (batch,)."""
    return {**inputs(batch, pad_id), "labels": torch.tensor([encoded["label"] for encoded in batch])}


def decode(logits: torch.Tensor, _batch: Sequence[Encoded], _hyper: Hyperparameters) -> list[Any]:
    """Each input's logits (labels,) as float32."""
    return list(logits.float().cpu().numpy())


def rejoin(
    results: Sequence[Any], encoded: Sequence[Encoded], rows: Sequence[PairRow], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """One prediction per row: `id`, `gold`, `prediction`, `logits`."""
    return [
        {
            "id": rows[one["example"]]["id"],
            "gold": rows[one["example"]]["label"],
            "prediction": labels[int(np.argmax(logits))],
            "logits": logits,
        }
        for logits, one in zip(results, encoded, strict=True)
    ]
