"""An encoder with one head per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from xstilts.models import heads, packing
from xstilts.models.heads import HeadSpec, MaskedLMHead, PooledHead
from xstilts.tasks.features.common import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TaskModel(nn.Module):
    """Encoder and heads.

    Args:
        encoder: a bare encoder.
        specs: one head each, freshly drawn; seed torch before for reproducible heads.

    Attributes:
        packed: does the encoder compute without padding (`packing`)?
    """

    accepts_loss_kwargs = True
    """Tells the Trainer to count the labelled items of all forward passes of a step."""

    def __init__(self, encoder: PreTrainedModel, specs: Sequence[HeadSpec]) -> None:
        super().__init__()
        self.encoder = encoder
        self.packed = packing.switch_on(encoder)
        self.specs = {spec.task: spec for spec in specs}
        self.heads = nn.ModuleDict({spec.task: heads.build(spec, encoder.config) for spec in specs})
        self._typed = getattr(encoder.config, "type_vocab_size", 0) > 1
        self._mode: bool | None = None  # not known: an encoder comes in evaluation mode, heads in the other

    def train(self, mode: bool = True) -> TaskModel:
        """Training or evaluation mode, of all parts alike; the Trainer asks for it before every pass."""
        if self._mode is not mode:
            super().train(mode)
            self._mode = mode
        return self

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        lengths: Sequence[int],
        token_type_ids: torch.Tensor | None = None,
        choice_mask: torch.Tensor | None = None,
        chosen: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        task: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """Logits of a batch and, given labels, its loss.

        Args:
            input_ids, attention_mask, token_type_ids: (batch, length), or (batch, choices, length).
            lengths: real tokens of every sequence, those of a batch's choices one after the other; on the host.
            choice_mask: (batch, choices), true for real choices.
            chosen: (tokens,), for masked-language modelling: places of the labelled tokens among all, flattened.
            labels: as the kind's `collate` gives them.
            task: the head to use; may be left out where there is only one.

        Returns:
            `logits`, as the kind's head gives them (choice: (batch, choices), -inf where there is none); with labels
            also `loss`, the sum (not the mean) over labelled items, and `items`, their number. A head that is not used
            gets a gradient of zero from it, not none (as in jiant): Adam's momentum and weight decay still move it.
        """
        ids, mask = input_ids.flatten(0, -2), attention_mask.flatten(0, -2)
        extra = {} if token_type_ids is None or not self._typed else {"token_type_ids": token_type_ids.flatten(0, -2)}
        head = self._head(task)
        first_only = isinstance(head, PooledHead) and head.pooling == "cls"
        hidden = packing.last_hidden_state(self.encoder, ids, mask, lengths, first_only=first_only, **extra)
        if isinstance(head, MaskedLMHead):
            return self._masked(head, hidden, chosen, labels)
        logits = head(hidden, mask)
        if choice_mask is not None:
            logits = logits.view(choice_mask.shape).masked_fill(~choice_mask, -torch.inf)
        outputs = {"logits": logits}
        if labels is not None:
            outputs["loss"] = self._with_idle(head, heads.loss_sum(logits, labels))
            outputs["items"] = labels.ne(IGNORED).sum()
        return outputs

    def _masked(
        self, head: MaskedLMHead, hidden: torch.Tensor, chosen: torch.Tensor | None, labels: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """The masked tokens' logits alone: those of all tokens would be a vocabulary wide for nothing."""
        assert chosen is not None and labels is not None, "masked-language modelling predicts nothing without labels"
        vectors = hidden.flatten(0, 1).index_select(0, chosen)
        logits = head(vectors, self.encoder.get_input_embeddings().weight)
        loss = heads.loss_sum(logits, labels.flatten().index_select(0, chosen))
        return {"logits": logits, "loss": self._with_idle(head, loss), "items": labels.ne(IGNORED).sum()}

    def _with_idle(self, used: nn.Module, loss: torch.Tensor) -> torch.Tensor:
        """The same loss, computed also from all parameters of the other heads: these get a gradient, of zero.

        DeepSpeed takes its steps from buffers that only a gradient overwrites: at ZeRO 3 and with any offload, a
        parameter without one would take its last gradient again (0.19.8: stage3.py, stage_1_and_2.py).
        """
        idle = (module for head in self.heads.values() if head is not used for module in head.modules())
        for module in idle:
            for name, _ in module.named_parameters(recurse=False):
                # By attribute: so ZeRO 3 gathers a parameter outside the forward pass of its own module.
                loss = loss + (0 * getattr(module, name)).sum()
        return loss

    def _head(self, task: str | None) -> nn.Module:
        if task is None:
            (task,) = self.heads
        return self.heads[task]
