"""Single sentences for retrieval: one input per row, nothing to predict from it but its vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xstilts.tasks.features.common import Batch, Encoded, Template, inputs, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from xstilts.schema.training import Hyperparameters
    from xstilts.tasks.rows import RetrievalRow


def labels(_rows: Sequence[RetrievalRow]) -> list[str]:
    """None: there is no head."""
    return []


def encode(
    rows: Sequence[RetrievalRow],
    tokenizer: PreTrainedTokenizerFast,
    hyper: Hyperparameters,
    _labels: Sequence[str],
) -> list[Encoded]:
    """One input per row, special tokens included, cut at its end to `max_length` tokens."""
    template = Template.of(tokenizer, 1)
    room = template.room(hyper.max_length)
    ids = tokenize(tokenizer, (row["text"] for row in rows))
    return [{**template.wrap(ids[row["text"]][:room]), "example": i} for i, row in enumerate(rows)]


def collate(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """Padded inputs (batch, length), the arguments of a bare encoder."""
    made = inputs(batch, pad_id)
    del made["lengths"]
    return made
