"""What every kind of task shares when prepared rows become model inputs: tokenising, special tokens, padding."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer, models

from xstilts.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""Label of what takes no part in a loss; the value that PyTorch's cross entropy leaves out."""

Encoded = dict[str, Any]
"""One model input: a sentence pair, a question's choices, a window, a chunk of words, a sentence.

Every kind has `input_ids` (choice: one array per choice), `example` (index of its row) and `tokens` (real tokens,
special ones included); each kind's module says what else it keeps. Token ids are compact 32-bit arrays.
"""

Batch = dict[str, Any]
"""Inputs that go through a model together, the arguments of `TaskModel.forward`: tensors and, on the host, lengths."""

Ids = array  # array("i"): four bytes a token, where a list of Python integers takes forty

_BATCH = 8192


def backend(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """The Rust tokenizer, free of any truncation and padding that its file or an earlier call left switched on."""
    rust: Tokenizer = tokenizer.backend_tokenizer
    rust.no_truncation()
    rust.no_padding()
    return rust


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> dict[str, Ids[int]]:
    """Token ids of every distinct text, without special tokens."""
    rust, distinct = backend(tokenizer), list(dict.fromkeys(texts))
    ids: dict[str, Ids[int]] = {}
    for start in range(0, len(distinct), _BATCH):
        some = distinct[start : start + _BATCH]
        encodings = rust.encode_batch_fast(some, add_special_tokens=False)
        ids.update((text, Ids("i", e.ids)) for text, e in zip(some, encodings, strict=True))
    return ids


@dataclass(frozen=True)
class Template:
    """Where a tokenizer puts its special tokens around one or two segments, learnt from its own post-processor.

    Attributes:
        specials: special tokens before, between and after the segments (one piece more than there are segments).
        types: token type ids of `specials`, piece by piece; None for a model that takes none.
        own: token type id of each segment.
    """

    specials: tuple[Ids[int], ...]
    types: tuple[Ids[int], ...] | None
    own: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, segments: int) -> Template:
        """Read it off by processing segments of one token, which no vocabulary can spoil."""
        probe = Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
        if processor := backend(tokenizer).post_processor:
            probe.post_processor = processor
        encoding = probe.encode("x") if segments == 1 else probe.encode("x", "x")
        text = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
        bounds = list(zip([-1, *text], [*text, len(encoding.ids)], strict=True))
        typed = "token_type_ids" in tokenizer.model_input_names
        return cls(
            specials=tuple(Ids("i", encoding.ids[a + 1 : b]) for a, b in bounds),
            types=tuple(Ids("i", encoding.type_ids[a + 1 : b]) for a, b in bounds) if typed else None,
            own=tuple(encoding.type_ids[i] for i in text),
        )

    def room(self, max_length: int) -> int:
        """Tokens that `max_length` leaves for the segments together.

        Raises:
            ConfigError: it leaves less than one token for each.
        """
        room = max_length - sum(map(len, self.specials))
        if room < len(self.own):
            raise ConfigError("max_length", f"{max_length} leaves no room beside the special tokens", "make it larger")
        return room

    def wrap(self, *segments: Ids[int]) -> Encoded:
        """The segments among special tokens: `input_ids`, `tokens` and, if the model takes them, `token_type_ids`."""
        ids = self.specials[0][:]
        for segment, special in zip(segments, self.specials[1:], strict=True):
            ids += segment
            ids += special
        encoded: Encoded = {"input_ids": ids, "tokens": len(ids)}
        if self.types:
            types = self.types[0][:]
            for segment, own, special in zip(segments, self.own, self.types[1:], strict=True):
                types += Ids("i", [own]) * len(segment) + special
            encoded["token_type_ids"] = types
        return encoded


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths of two segments once tokens are dropped from the longer one until both fit into `room` tokens."""
    if first + second <= room:
        return first, second
    half = room // 2
    if second <= half:
        return room - second, second
    return (first, room - first) if first <= room - half else (room - half, half)


def padded(sequences: Sequence[Ids[int]], value: int) -> torch.Tensor:
    """Sequences as one (number, longest) int64 tensor, filled up with `value` on the right."""
    table = np.full((len(sequences), max(map(len, sequences))), value, dtype=np.int64)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(table)


def mask(lengths: Sequence[int]) -> torch.Tensor:
    """Attention mask (number, longest), int64: 1 for the first `lengths[i]` positions of row i."""
    size = torch.tensor(lengths)
    return (torch.arange(int(size.max())) < size[:, None]).long()


def inputs(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """`input_ids`, `attention_mask` and, where present, `token_type_ids`, all (batch, longest) int64; and `lengths`.

    The lengths, a tuple, stay on the host when the tensors go to a device, from which to read them back would stop it.
    """
    ids = [encoded["input_ids"] for encoded in batch]
    lengths = tuple(map(len, ids))
    made: Batch = {"input_ids": padded(ids, pad_id), "attention_mask": mask(lengths), "lengths": lengths}
    if "token_type_ids" in batch[0]:
        made["token_type_ids"] = padded([encoded["token_type_ids"] for encoded in batch], 0)
    return made


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device; out of pinned memory they go there while the host goes on."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def label_ids(labels: Sequence[str]) -> dict[str, int]:
    """Position of every label among the head's outputs."""
    return {label: i for i, label in enumerate(labels)}
