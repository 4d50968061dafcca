"""Masked-language modelling: one input per text, masked once and for all. Trained on, never predicted.

Encoded: `labels` holds the original token where one was chosen, elsewhere the value that no loss counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from xstilts.tasks.features.common import IGNORED, Batch, Encoded, inputs, padded


def collate(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """Inputs and `labels` (batch, length), and `chosen` (tokens,): places of the labelled ones among all, flattened."""
    labels = padded([encoded["labels"] for encoded in batch], IGNORED)
    return {**inputs(batch, pad_id), "labels": labels, "chosen": labels.flatten().ne(IGNORED).nonzero().flatten()}
