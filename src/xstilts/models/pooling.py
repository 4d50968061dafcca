"""One vector per sequence."""

from __future__ import annotations

from typing import Literal

import torch

Pooling = Literal["cls", "mean"]


def mean(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean over real tokens, special ones included, padding apart: (batch, length, width) to (batch, width)."""
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """The first token's vector (`cls`) or the masked mean: (batch, length, width) to (batch, width)."""
    return hidden[:, 0] if pooling == "cls" else mean(hidden, attention_mask)
