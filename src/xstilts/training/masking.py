"""Text for masked-language modelling beside other tasks: sampled over languages, masked (Phang et al. 2020, §2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xstilts import parquet
from xstilts.errors import UserError
from xstilts.schema.training import Hyperparameters
from xstilts.tasks import features
from xstilts.tasks.features.common import IGNORED, Encoded, Ids, Template, tokenize
from xstilts.training.inputs import TaskData
from xstilts.training.mlm import shares

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SAMPLE, _MASKS = 2**31 + 1, 2**31 + 2  # streams of random numbers that no order of examples has


def task_data(
    part: Mapping[str, Any], hyper: Hyperparameters, tokenizer: PreTrainedTokenizerFast, count: int, seed: int
) -> TaskData:
    """As many masked sentences as a training takes, in the order of the draw.

    Languages are drawn at shares proportional to size ** alpha, lines of a language in random order and, once all were
    drawn, again; every draw is masked anew. A longer training begins with the same draws.

    Args:
        part: `train`, a table of text per language, and `text`, a dumped `MaskedText`.
        count: sentences wanted.

    Raises:
        UserError: the tokenizer has no mask.
    """
    if tokenizer.mask_token_id is None:
        raise UserError("task mlm: the backbone's tokenizer has no mask token; leave `mlm` out for this backbone")
    text, kind = part["text"], features.of("mlm")
    tables = [parquet.read(path, ["text"])["text"] for path in part["train"]]
    drawn = sample([len(table) for table in tables], text["alpha"], count, seed)
    lines = [tables[language][line].as_py() for language, line in drawn]
    encoded = mask(lines, tokenizer, hyper.max_length, text["mask_probability"], seed)
    return TaskData(part["task"], "mlm", kind, encoded, count, [], hyper)


def sample(sizes: Sequence[int], alpha: float, count: int, seed: int) -> list[tuple[int, int]]:
    """(language, line) of every draw.

    Args:
        sizes: lines of each language.
    """
    rng = np.random.default_rng([seed, _SAMPLE])
    languages = np.searchsorted(np.cumsum(shares(sizes, alpha))[:-1], rng.random(count), side="right")
    orders = [_cycled(size, int((languages == k).sum()), [seed, _SAMPLE, k + 1]) for k, size in enumerate(sizes)]
    taken = [iter(order) for order in orders]
    return [(int(k), int(next(taken[k]))) for k in languages]


def _cycled(size: int, count: int, seed: Sequence[int]) -> NDArray[np.int64]:
    """The first of endless permutations, one after the other."""
    rounds = [np.random.default_rng([*seed, k]).permutation(size) for k in range(-(-count // size))]
    return np.concatenate(rounds)[:count] if rounds else np.empty(0, dtype=np.int64)


def mask(
    lines: Sequence[str], tokenizer: PreTrainedTokenizerFast, max_length: int, probability: float, seed: int
) -> list[Encoded]:
    """One input per line, cut at its end; the line's place in the list is part of the seed of its masks.

    Each token is chosen with `probability`, one at least; of the chosen, 80 % become the mask, 10 % a random token and
    10 % stay. Special tokens are never chosen and never put in.
    """
    template = Template.of(tokenizer, 1)
    ids = tokenize(tokenizer, lines)
    special = set(tokenizer.all_special_ids)
    words = np.array([i for i in range(len(tokenizer)) if i not in special])
    encoded = []
    for example, line in enumerate(lines):
        whole = template.wrap(ids[line][: template.room(max_length)])
        free = np.array([token not in special for token in whole["input_ids"]])
        rng = np.random.default_rng([seed, _MASKS, example])
        masked, labels = _masked(np.array(whole["input_ids"]), free, probability, tokenizer.mask_token_id, words, rng)
        encoded.append({**whole, "input_ids": masked, "labels": labels, "example": example})
    return encoded


def _masked(
    ids: NDArray[np.int64],
    free: NDArray[np.bool_],
    probability: float,
    mask_id: int,
    words: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Ids[int], Ids[int]]:
    luck = np.where(free, rng.random(len(ids)), 1.0)
    chosen = free & (luck < max(probability, np.nextafter(luck.min(), 1.0)))
    labels, fate = np.where(chosen, ids, IGNORED), rng.random(len(ids))
    masked = np.where(chosen & (fate < 0.8), mask_id, ids)
    masked = np.where(chosen & (fate >= 0.9), rng.choice(words, size=len(ids)), masked)
    return Ids("i", masked.tolist()), Ids("i", labels.tolist())
