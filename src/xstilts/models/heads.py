"""What stands on the encoder: one head per task, its outputs by kind of task.

All heads are called with the encoder's last hidden states and the attention mask. The softmax runs over the last
dimension of the logits, so that one cross entropy serves every kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from xstilts.models.pooling import Pooling, pool
from xstilts.tasks.base import Kind
from xstilts.tasks.features.common import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class HeadSpec:
    """What defines a head beside its weights; `head.json` of a checkpoint.

    Attributes:
        labels: label set, in the order of the outputs; span: see `tasks.features.span`; choice: empty.
        pooling: what a pair or choice head reads.
    """

    task: str
    kind: Kind
    labels: tuple[str, ...]
    pooling: Pooling


def build(spec: HeadSpec, config: PreTrainedConfig) -> nn.Module:
    """A fresh head, drawn from torch's global generator as the encoder's own initialisation would be."""
    head = _unset(spec, config, _dropout(config))
    spread = getattr(config, "initializer_range", 0.02)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=spread)
            nn.init.zeros_(module.bias)
    return head


def _unset(spec: HeadSpec, config: PreTrainedConfig, dropout: float) -> nn.Module:
    width: int = config.hidden_size
    if spec.kind == "mlm":
        return MaskedLMHead(width, config.vocab_size, getattr(config, "layer_norm_eps", 1e-5))
    if spec.kind == "span":
        return SpanHead(width)
    if spec.kind == "tagging":
        return TokenHead(width, len(spec.labels), dropout)
    return PooledHead(width, 1 if spec.kind == "choice" else len(spec.labels), spec.pooling, dropout)


def _dropout(config: PreTrainedConfig) -> float:
    own = getattr(config, "classifier_dropout", None)
    return float(getattr(config, "hidden_dropout_prob", 0.1) if own is None else own)


def loss_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy in nats summed over labelled items, in float32; `labels` (…,) index the last axis of `logits`."""
    flat = logits.float().reshape(-1, logits.shape[-1])
    return functional.cross_entropy(flat, labels.reshape(-1), ignore_index=IGNORED, reduction="sum")


class PooledHead(nn.Module):
    """Dense, tanh, linear over one pooled vector (RoBERTa's classification head): (batch, outputs)."""

    def __init__(self, width: int, outputs: int, pooling: Pooling, dropout: float) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits of every sequence; those of a multiple-choice head are the scores of its choices."""
        vector = self.dropout(pool(hidden, attention_mask, self.pooling))
        logits: torch.Tensor = self.out(self.dropout(torch.tanh(self.dense(vector))))
        return logits


class TokenHead(nn.Module):
    """A linear layer over every token: (batch, length, labels)."""

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.out = nn.Linear(width, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, _attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits of every token."""
        logits: torch.Tensor = self.out(self.dropout(hidden))
        return logits


class SpanHead(nn.Module):
    """Start and end scores of every token: (batch, 2, length), -inf on padding, so that padding changes no loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 2)

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits over positions."""
        logits: torch.Tensor = self.out(hidden).transpose(1, 2)
        return logits.masked_fill(attention_mask[:, None] == 0, -torch.inf)


class MaskedLMHead(nn.Module):
    """Dense, GELU, norm, and the encoder's own token embeddings as the output layer: (tokens, vocabulary).

    The embeddings are handed in, not held, so that a checkpoint has them once.
    """

    def __init__(self, width: int, vocabulary: int, epsilon: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width, eps=epsilon)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits of single tokens (tokens, width)."""
        vectors = self.layer_norm(functional.gelu(self.dense(hidden)))
        return functional.linear(vectors, embeddings, self.bias)
