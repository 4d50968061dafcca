"""The inputs of a training: those of its tasks, one after the other, and how some of them become a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xstilts.models.heads import HeadSpec
from xstilts.schema.training import Hyperparameters
from xstilts.tasks.features import Features
from xstilts.tasks.features.common import Batch, Encoded
from xstilts.tasks.features.tokens import Tokens

if TYPE_CHECKING:
    from xstilts.tasks.base import Kind


@dataclass(frozen=True)
class TaskData:
    """What one task brings to a training.

    Attributes:
        rows: number of its examples; QA gives several inputs for some.
        labels: of its head.
    """

    task: str
    kind: Kind
    features: Features
    encoded: Sequence[Encoded]
    rows: int
    labels: Sequence[str]
    hyper: Hyperparameters

    def head(self, pooling: Any) -> HeadSpec:
        """The head that it trains."""
        return HeadSpec(self.task, self.kind, tuple(self.labels), pooling)


def _lengths(encoded: Sequence[Encoded]) -> list[int]:
    if isinstance(encoded, Tokens):
        found: list[int] = encoded.lengths.tolist()
        return found
    return [int(one["tokens"]) for one in encoded]


class Inputs(Sequence[tuple[int, "Encoded"]]):
    """All inputs, each with the number of its part.

    Args:
        pad_id: the tokenizer's padding token.
    """

    def __init__(self, parts: Sequence[TaskData], pad_id: int) -> None:
        self._parts, self._pad_id = parts, pad_id
        self._places = [(k, i) for k, part in enumerate(parts) for i in range(len(part.encoded))]
        self.tasks = [part.task for part in parts]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        part, place = self._places[index]
        return part, self._parts[part].encoded[place]

    def lengths(self) -> list[int]:
        """Tokens of every input."""
        return [length for part in self._parts for length in _lengths(part.encoded)]

    def collate(self, batch: Sequence[tuple[int, Encoded]]) -> Batch:
        """The arguments of `TaskModel.forward`, of inputs of one task; nothing for an empty batch."""
        if not batch:
            return {}
        part = self._parts[batch[0][0]]
        return {**part.features.collate([one for _, one in batch], self._pad_id), "task": part.task}
