"""Multiple choice: one input per row, which holds one sequence per choice; rows may differ in their number of choices.

Encoded: `input_ids` (and `token_type_ids`) hold one array per choice; `label` is the right choice's index.
Result of a batch: the scores of an input's own choices, float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xstilts.tasks.features.common import Batch, Encoded, Ids, Template, inputs, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from xstilts.schema.training import Hyperparameters
    from xstilts.tasks.rows import ChoiceRow


def labels(_rows: Sequence[ChoiceRow]) -> list[str]:
    """None: the head gives one score to each choice."""
    return []


def encode(
    rows: Sequence[ChoiceRow],
    tokenizer: PreTrainedTokenizerFast,
    hyper: Hyperparameters,
    _labels: Sequence[str],
) -> list[Encoded]:
    """One input per row: (context, question + choice) for every choice; without a context, (question, choice).

    Only the first segment is cut, at its end; where question and choice alone are too long, they lose their beginning,
    because a choice that is cut off cannot be told from the others.
    """
    template = Template.of(tokenizer, 2)
    room = template.room(hyper.max_length)
    segments = [[_segments(row, choice) for choice in row["choices"]] for row in rows]
    ids = tokenize(tokenizer, (text for row in segments for pair in row for text in pair))
    encoded = []
    for example, (row, pairs) in enumerate(zip(rows, segments, strict=True)):
        choices = [template.wrap(*_cut(ids[first], ids[second], room)) for first, second in pairs]
        merged: Encoded = {key: [choice[key] for choice in choices] for key in choices[0]}
        encoded.append({**merged, "tokens": sum(merged["tokens"]), "example": example, "label": row["label"]})
    return encoded


def _segments(row: ChoiceRow, choice: str) -> tuple[str, str]:
    if not row["context"]:
        return row["question"], choice
    return row["context"], f"{row['question']} {choice}" if row["question"] else choice


def _cut(first: Ids[int], second: Ids[int], room: int) -> tuple[Ids[int], Ids[int]]:
    """The first segment keeps at least one token, the second its last ones."""
    second = second[-(room - 1) :]
    return first[: room - len(second)], second


def collate(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """Inputs (batch, choices, length), `choice_mask` (batch, choices; true for real choices) and `labels` (batch,).

    Missing choices are filled with one padding token that is attended to: an input without any would give NaN.
    """
    most = max(len(encoded["input_ids"]) for encoded in batch)
    flat = [choice for encoded in batch for choice in _filled(encoded, most, pad_id)]
    made = inputs(flat, pad_id)
    shaped = {key: value.view(len(batch), most, -1) for key, value in made.items() if key != "lengths"}
    counts = torch.tensor([len(encoded["input_ids"]) for encoded in batch])
    labels = torch.tensor([encoded["label"] for encoded in batch])
    return {**made, **shaped, "choice_mask": torch.arange(most) < counts[:, None], "labels": labels}


def _filled(encoded: Encoded, number: int, pad_id: int) -> list[Encoded]:
    fillers = {"input_ids": Ids("i", [pad_id]), "token_type_ids": Ids("i", [0])}
    keys = [key for key in fillers if key in encoded]
    real = [{key: encoded[key][i] for key in keys} for i in range(len(encoded["input_ids"]))]
    return real + [{key: fillers[key] for key in keys}] * (number - len(real))


def decode(logits: torch.Tensor, batch: Sequence[Encoded], _hyper: Hyperparameters) -> list[Any]:
    """Each input's scores, one per real choice."""
    scores = logits.float().cpu().numpy()
    return [row[: len(encoded["input_ids"])] for row, encoded in zip(scores, batch, strict=True)]


def rejoin(
    results: Sequence[Any],
    encoded: Sequence[Encoded],
    rows: Sequence[ChoiceRow],
    _labels: Sequence[str],
) -> list[dict[str, Any]]:
    """One prediction per row: `id`, `gold` and `prediction` (indices of choices), `logits`."""
    return [
        {
            "id": rows[one["example"]]["id"],
            "gold": rows[one["example"]]["label"],
            "prediction": int(np.argmax(scores)),
            "logits": scores,
        }
        for scores, one in zip(results, encoded, strict=True)
    ]
