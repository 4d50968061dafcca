"""Masked-language modelling: one input per text, masked once and for all. Trained on, never predicted.

Encoded: `labels` holds the original token where one was chosen, elsewhere the value that no loss counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xstilts.tasks.features.common import IGNORED, Encoded, inputs, padded


def collate(batch: Sequence[Encoded], pad_id: int) -> dict[str, torch.Tensor]:
    """Inputs (batch, length) and `labels` (batch, length)."""
    return {**inputs(batch, pad_id), "labels": padded([encoded["labels"] for encoded in batch], IGNORED)}
