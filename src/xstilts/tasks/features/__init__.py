"""Prepared rows as model inputs, and model outputs as predictions: one module per kind of task."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from xstilts.schema.training import Hyperparameters
    from xstilts.tasks.base import Kind
    from xstilts.tasks.features.common import Batch, Encoded


class Features(Protocol):
    """What the module of every kind with a head offers; that of retrieval, which has none, up to `collate`."""

    def labels(self, rows: Sequence[Any], /) -> list[str]:
        """Labels of the head, where the task does not fix them."""

    def encode(
        self, rows: Sequence[Any], tokenizer: PreTrainedTokenizerFast, hyper: Hyperparameters, labels: Sequence[str], /
    ) -> list[Encoded]:
        """Model inputs, in the order of the rows; a row may give several."""

    def collate(self, batch: Sequence[Encoded], pad_id: int, /) -> Batch:
        """A padded batch, `labels` included: the arguments of `models.TaskModel.forward`."""

    def decode(self, logits: torch.Tensor, batch: Sequence[Encoded], hyper: Hyperparameters, /) -> list[Any]:
        """What is kept of a batch's logits: one result on the host per input."""

    def rejoin(
        self, results: Sequence[Any], encoded: Sequence[Encoded], rows: Sequence[Any], labels: Sequence[str], /
    ) -> list[dict[str, Any]]:
        """One prediction per row, in their order, from the results of all inputs in the order of `encode`."""


def of(kind: Kind) -> Features:
    """The features of a kind, imported only now: a change to one kind must not touch the trainings of another."""
    return cast(Features, importlib.import_module(f"{__name__}.{kind}"))
