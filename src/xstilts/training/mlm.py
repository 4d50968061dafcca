"""Inputs of masked-language modelling: raw text, its sampling, batches of like lengths, masks. Numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xstilts.errors import DataError
from xstilts.training.tokenizer import BOS, EOS, MASK, PAD, SPECIAL

Tokens = NDArray[np.int64]
Segments = tuple[Tokens, ...]  # one text, or two that share an input
_POOL = 32  # batches drawn together and sorted by length


@dataclass(frozen=True)
class Source:
    """Inputs to draw from: `size` lines, and the input that a line gives (a random one of several)."""

    size: int
    draw: Callable[[int, np.random.Generator], Segments]


@dataclass(frozen=True)
class Batch:
    """One step's inputs.

    Attributes:
        ids: [sequences, tokens], masked, padded with <pad>.
        chosen: [sequences, tokens], True where the model must restore the token.
        targets: [chosen.sum()], the original tokens there, in row-major order.
    """

    ids: Tokens
    chosen: NDArray[np.bool_]
    targets: Tokens


def read_lines(path: Path, most_segments: int) -> list[tuple[str, ...]]:
    """Lines of a raw text file, split at its TABs; blank ones stay, as ("",), for files that are aligned.

    Raises:
        DataError: the file is missing or empty, not UTF-8, or a line has too many or empty segments.
    """
    lines = [tuple(part.strip() for part in line.split("\t")) for line in _decoded(path).split("\n")]
    for number, parts in enumerate(lines, start=1):
        if len(parts) > most_segments:
            problem = f"{len(parts)} segments separated by tabs, expected at most {most_segments}"
            raise DataError(path, problem, "replace the other tabs by spaces", number)
        if len(parts) > 1 and not all(parts):
            raise DataError(path, "an empty segment beside a tab", "remove the tab or fill the segment", number)
    if not any(parts[0] for parts in lines):
        raise DataError(path, "the file holds no text", "give a file with one text a line")
    return lines


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "give a text file, one text a line") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(path, f"not UTF-8 (byte 0x{raw[error.start]:02x})", "convert the file to UTF-8", line) from None


def text_source(lines: Sequence[Segments]) -> Source:
    """The lines themselves."""
    return Source(len(lines), lambda i, _: lines[i])


def translation_source(pairs: Sequence[Segments]) -> Source:
    """Pairs of translations, in either order."""
    return Source(len(pairs), lambda i, rng: pairs[i] if rng.random() < 0.5 else pairs[i][::-1])


def aligned_source(language: int, lines: Sequence[Sequence[Segments]], count: int) -> Source:
    """A line of one language and the same line of a random other; `lines` are those of all languages."""
    others = [other for other in range(len(lines)) if other != language]

    def draw(i: int, rng: np.random.Generator) -> Segments:
        other = others[rng.integers(len(others))]
        return np.concatenate(lines[language][i]), np.concatenate(lines[other][i])

    return Source(count, draw)


def shares(sizes: Sequence[int], alpha: float) -> NDArray[np.float64]:
    """Sampling shares proportional to size ** alpha (Conneau and Lample 2019, §3.1)."""
    weights = np.asarray(sizes, dtype=np.float64) ** alpha
    return np.asarray(weights / weights.sum())


def assemble(segments: Segments, max_length: int) -> Tokens:
    """`<s> a </s>` or `<s> a </s></s> b </s>`, the longer segment cut first until it fits."""
    if len(segments) == 1:
        return np.concatenate([[BOS], segments[0][: max_length - 2], [EOS]])
    first, second = segments
    room = max_length - 4
    keep = min(len(first), max(room - len(second), (room + 1) // 2))
    return np.concatenate([[BOS], first[:keep], [EOS, EOS], second[: room - keep], [EOS]])


def batches(
    texts: Sequence[Source],
    pairs: Sequence[Source],
    *,
    batch: int,
    max_length: int,
    alpha: float,
    parallel_share: float,
    rng: np.random.Generator,
) -> Iterator[list[Tokens]]:
    """Endless batches of inputs of like lengths, in random order.

    Args:
        texts: sources of plain text, one per language.
        pairs: sources of translation pairs; none: all inputs are plain text.
        parallel_share: share of translation pairs among the inputs.
    """
    sources = [*texts, *pairs]
    share = parallel_share if pairs else 0.0
    parts = [(1 - share) * shares([s.size for s in texts], alpha)]
    parts += [share * shares([s.size for s in pairs], alpha)] if pairs else []
    chances = np.concatenate(parts)
    while True:
        drawn = rng.choice(len(sources), size=batch * _POOL, p=chances)
        inputs = [assemble(sources[s].draw(int(rng.integers(sources[s].size)), rng), max_length) for s in drawn]
        inputs.sort(key=len)
        for start in rng.permutation(_POOL) * batch:
            yield inputs[start : start + batch]


def masked(inputs: Sequence[Tokens], probability: float, vocabulary: int, rng: np.random.Generator) -> Batch:
    """Pad and mask: of the chosen tokens 80 % become <mask>, 10 % a random one, 10 % stay (as in BERT).

    Special tokens are never chosen; at least one token of the batch is.
    """
    ids = np.full((len(inputs), max(map(len, inputs))), PAD, dtype=np.int64)
    for row, tokens in zip(ids, inputs, strict=True):
        row[: len(tokens)] = tokens
    free = ~np.isin(ids, (BOS, PAD, EOS))
    luck = np.where(free, rng.random(ids.shape), 1.0)
    chosen = luck < max(probability, np.nextafter(luck.min(), 1.0))
    targets = ids[chosen]
    fate = rng.random(ids.shape)
    ids[chosen & (fate < 0.8)] = MASK
    swapped = chosen & (fate >= 0.9)
    ids[swapped] = rng.integers(len(SPECIAL), vocabulary, size=int(swapped.sum()))
    return Batch(ids, chosen, targets)
