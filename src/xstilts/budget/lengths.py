"""How long a dataset's inputs are, in tokens: measured where the data is at hand, shipped statistics where it is not.

A part's lengths are kept as quantiles by role of text: `text` (a pair, a sentence, or one choice with its question),
`context` and `question` (QA), and the number of `choices`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xstilts.files import packaged

Array = NDArray[np.float64]
Roles = dict[str, list[float]]
Origin = Literal["measured", "shipped", "estimated"]

SPECIALS = 4  # `<s> a </s></s> b </s>`; other models have two or three
SAMPLE = 1024  # inputs that stand for a part
_STEPS = 20  # quantiles at 0, 5, …, 100 %
_ROWS, _READ = 500, 16384  # rows of a part whose texts are measured, evenly from its first so many


@dataclass(frozen=True)
class Part:
    """One split of one dataset in one language.

    Attributes:
        rows: its rows (of a retrieval set, both sides).
        origin: where the lengths come from.
    """

    rows: float
    roles: Mapping[str, Sequence[float]]
    origin: Origin


@dataclass(frozen=True)
class Inputs:
    """What a model sees of one or more parts.

    Attributes:
        count: inputs in all (windows of a passage and chunks of a sentence each count).
        longest: a sample of their lengths in tokens: of the longest sequence, where an input has several.
        sequences: sequences per input (choices).
    """

    count: float
    longest: Array
    sequences: float = 1.0

    @property
    def tokens(self) -> float:
        """Tokens of all inputs, padding apart."""
        return self.count * self.sequences * float(self.longest.mean())


# --- measuring


def quantiles(values: Sequence[float] | Array) -> list[float]:
    """Values at 0, 5, …, 100 %."""
    return [float(x) for x in np.quantile(np.asarray(values, dtype=float), np.linspace(0, 1, _STEPS + 1))]


def measured(parquet: Path, count: Callable[[list[str]], Array]) -> tuple[int, Roles]:
    """Rows and lengths of a prepared part, from some of its rows.

    Args:
        count: tokens of each of some texts.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(parquet)
    table = next(file.iter_batches(batch_size=_READ))
    some = np.unique(np.linspace(0, table.num_rows - 1, _ROWS).astype(int))
    return file.metadata.num_rows, _roles(table.take(some).to_pylist(), count)


def _roles(rows: list[dict[str, Any]], count: Callable[[list[str]], Array]) -> Roles:
    first = rows[0]
    if "answers" in first:
        return {role: quantiles(count([row[role] for row in rows])) for role in ("context", "question")}
    if "choices" in first:
        stems = count([f"{row['context']} {row['question']}" for row in rows])
        found = [stem + max(count(row["choices"])) for stem, row in zip(stems, rows, strict=True)]
        return {"text": quantiles(found), "choices": [float(np.mean([len(row["choices"]) for row in rows]))]}
    if "text_a" in first:
        return {"text": quantiles(count([row["text_a"] for row in rows]) + count([row["text_b"] for row in rows]))}
    if "tokens" in first:
        return {"text": quantiles(count([" ".join(row["tokens"]) for row in rows]))}
    return {"text": quantiles(count([row["text"] for row in rows]))}


def by_tokenizer(path: Path) -> Callable[[list[str]], Array]:
    """Counts tokens with a tokenizer.json."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: list[str]) -> Array:
        return np.array([len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)], dtype=float)

    return count


def by_characters(language: str) -> Callable[[list[str]], Array]:
    """Estimates tokens from characters, where no tokenizer is at hand."""
    known = shipped()["tokens_per_character"]
    rate = known.get(language, known["other"])
    return lambda texts: np.array([rate * len(text) for text in texts])


# --- shipped statistics


@cache
def shipped() -> dict[str, Any]:
    """data/lengths.yaml, each number with its source."""
    raw: dict[str, Any] = packaged("lengths.yaml")
    return raw


def shipped_part(dataset: str, language: str, world: bool) -> tuple[Roles, Origin] | None:
    """Shipped lengths of a dataset (English ones, longer by as much as the language's translations are), if any."""
    known = shipped()["world" if world else "datasets"].get(dataset)
    if known is None:
        return None
    origin: Origin = "estimated" if "estimated" in known else "shipped"
    factor = 1.0 if world else per_english_token(language)
    lengths = {role: _curve(known[role]) for role in ("text", "context", "question") if role in known}
    roles = {role: [factor * x for x in curve] for role, curve in lengths.items()}
    return roles | ({"choices": [float(known["choices"])]} if "choices" in known else {}), origin


def per_english_token(language: str) -> float:
    """Tokens of a translation per token of English."""
    factors: dict[str, float] = shipped()["tokens_per_english_token"]
    return factors.get(language, factors["other"])


def _curve(given: Sequence[float] | Mapping[str, float]) -> Sequence[float]:
    """Quantiles as they stand, or those of a log-normal law of a given mean and spread (of the logarithm)."""
    if not isinstance(given, Mapping):
        return given
    normal = _normal_quantiles()
    return [given["mean"] * math.exp(given["spread"] * z - given["spread"] ** 2 / 2) for z in normal]


@cache
def _normal_quantiles() -> tuple[float, ...]:
    from statistics import NormalDist

    shares = np.clip(np.linspace(0, 1, _STEPS + 1), 0.005, 0.995)
    return tuple(NormalDist().inv_cdf(float(p)) for p in shares)


# --- inputs of a model


def inputs(kind: str, parts: Sequence[Part], hyper: Mapping[str, Any]) -> Inputs:
    """What a model sees of some parts of one kind.

    Args:
        hyper: `max_length` and, for QA, `doc_stride` and `max_query_length`, in tokens.
    """
    made = [_of_part(kind, part, hyper) for part in parts]
    total = sum(one.count for one in made)
    drawn = [one.longest[_spread(len(one.longest), round(SAMPLE * one.count / max(total, 1)))] for one in made]
    sequences = sum(one.sequences * one.count for one in made) / max(total, 1)
    return Inputs(total, np.concatenate(drawn), sequences)


def texts(kind: str, part: Part) -> Inputs:
    """The single texts of a part's rows, one of a row taken to be as long as another.

    A row of choices has its context and question besides; its length is that of these with the longest choice.
    """
    number, told = (2.0, 2.0) if kind == "pair" else (2.0 + part.roles["choices"][0], 3.0)
    return Inputs(part.rows * number, np.sort(_drawn(part.roles["text"]) / told + 1))


def _spread(size: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` places (one at least), evenly over `size`."""
    return np.linspace(0, size - 1, max(1, min(wanted, 4 * SAMPLE))).astype(np.int64)


def _of_part(kind: str, part: Part, hyper: Mapping[str, Any]) -> Inputs:
    longest = int(hyper["max_length"])
    if kind == "span":
        return _windows(part, hyper)
    text = _drawn(part.roles["text"])
    if kind == "tagging":
        return _chunks(part.rows, text, longest - 2)
    if kind == "retrieval":
        return Inputs(part.rows, np.sort(np.minimum(text + 2, longest)))
    sequences = part.roles.get("choices", [1.0])[0]
    return Inputs(part.rows, np.sort(np.minimum(text + SPECIALS, longest)), sequences)


def _drawn(curve: Sequence[float], seed: int = 0) -> Array:
    """A sample of a law that is given by its quantiles."""
    shares = (np.random.default_rng(seed).permutation(SAMPLE) + 0.5) / SAMPLE
    return np.maximum(1.0, np.interp(shares, np.linspace(0, 1, len(curve)), curve))


def _chunks(rows: float, text: Array, room: int) -> Inputs:
    number = np.ceil(text / room)
    pieces = np.repeat(text / number, number.astype(int)) + 2
    return Inputs(rows * float(number.mean()), np.sort(pieces))


def _windows(part: Part, hyper: Mapping[str, Any]) -> Inputs:
    """Windows over passages, as `tasks.features.span` cuts them."""
    question = np.minimum(_drawn(part.roles["question"], seed=1), hyper["max_query_length"])
    context, stride = _drawn(part.roles["context"], seed=2), int(hyper["doc_stride"])
    room = int(hyper["max_length"]) - SPECIALS - question
    number = 1 + np.ceil(np.maximum(0.0, context - room) / stride)
    full = np.repeat(question + room, (number - 1).astype(int))
    last = question + context - (number - 1) * stride
    return Inputs(part.rows * float(number.mean()), np.sort(np.concatenate([full, last]) + SPECIALS))
