"""Words and tags (POS, NER, supertags): one input per chunk of a sentence.

Encoded: `starts` (position of each word's first sub-token), `first_word` (index, in its sentence, of its first word)
and `labels` (per token; IGNORED but for the first sub-token of a word). Result of a batch: per input the label
log-probabilities of its words, (words, labels) float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xstilts.tasks.features.common import IGNORED, Batch, Encoded, Ids, Template, inputs, label_ids, padded
from xstilts.tasks.features.words import WordTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from xstilts.schema.training import Hyperparameters
    from xstilts.tasks.rows import TaggingRow


def labels(rows: Sequence[TaggingRow]) -> list[str]:
    """The sorted tag set of the rows."""
    return sorted({tag for row in rows for tag in row["tags"]})


def encode(
    rows: Sequence[TaggingRow], tokenizer: PreTrainedTokenizerFast, hyper: Hyperparameters, labels: Sequence[str]
) -> list[Encoded]:
    """Chunks of at most `max_length` tokens; a longer sentence is split between words, never cut (XTREME utils_tag)."""
    template, index = Template.of(tokenizer, 1), label_ids(labels)
    room = template.room(hyper.max_length)
    words = WordTokenizer(tokenizer, room).sentences([row["tokens"] for row in rows])
    encoded = []
    for example, (row, pieces) in enumerate(zip(rows, words, strict=True)):
        tags = [index.get(tag, IGNORED) for tag in row["tags"]]
        for start, stop in chunks([len(piece) for piece in pieces], room):
            one = _chunk(template, pieces[start:stop], tags[start:stop])
            encoded.append({**one, "example": example, "first_word": start})
    return encoded


def chunks(lengths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Ranges of words that follow each other, each as long as fits into `room` tokens; no word is longer than that."""
    start = used = 0
    for i, length in enumerate(lengths):
        if used + length > room:
            yield start, i
            start, used = i, 0
        used += length
    if lengths:
        yield start, len(lengths)


def _chunk(template: Template, pieces: Sequence[Ids[int]], tags: Sequence[int]) -> Encoded:
    ids = Ids("i")
    starts = Ids("i")
    for piece in pieces:
        starts.append(len(template.specials[0]) + len(ids))
        ids += piece
    encoded = template.wrap(ids)
    targets = Ids("i", [IGNORED]) * encoded["tokens"]
    for position, tag in zip(starts, tags, strict=True):
        targets[position] = tag
    return {**encoded, "starts": starts, "labels": targets}


def collate(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """Padded inputs and `labels`, all (batch, length)."""
    return {**inputs(batch, pad_id), "labels": padded([encoded["labels"] for encoded in batch], IGNORED)}


def decode(logits: torch.Tensor, batch: Sequence[Encoded], _hyper: Hyperparameters) -> list[Any]:
    """Per input the log-probabilities (words, labels) at the words' first sub-tokens."""
    rows = np.concatenate([np.full(len(encoded["starts"]), i) for i, encoded in enumerate(batch)])
    columns = np.concatenate([np.asarray(encoded["starts"]) for encoded in batch])
    words = logits[torch.from_numpy(rows), torch.from_numpy(columns)].float().log_softmax(-1).cpu().numpy()
    return np.split(words, np.cumsum([len(encoded["starts"]) for encoded in batch])[:-1])


def rejoin(
    results: Sequence[Any], encoded: Sequence[Encoded], rows: Sequence[TaggingRow], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """One prediction per row, chunks put together: `id`, `gold`, `prediction`, `log_probabilities` (words, labels).

    Args:
        results: those of all inputs of the rows, in the order of `encoded`.
    """
    predictions = [_prediction(row, np.zeros((0, len(labels)), np.float32), labels) for row in rows]
    pairs = zip(results, encoded, strict=True)
    for example, group in groupby(pairs, key=lambda pair: int(pair[1]["example"])):
        words = np.concatenate([result for result, _ in group])
        predictions[example] = _prediction(rows[example], words, labels)
    return predictions


def _prediction(row: TaggingRow, words: Any, labels: Sequence[str]) -> dict[str, Any]:
    best = [labels[i] for i in words.argmax(-1)] if len(words) else []
    return {"id": row["id"], "gold": list(row["tags"]), "prediction": best, "log_probabilities": words}
