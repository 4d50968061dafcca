"""Span precision, recall and F1 of tagged sentences as XTREME scores them, and plain token accuracy.

XTREME's numbers were made with seqeval 0.0.12, whose rules also take tags without a BIO prefix: a UPOS tag
is read as prefix (its first letter) plus kind (the whole tag), so a run of equal tags is one span, and
`SYM` and `SCONJ` are always spans of one token because S means "single". Later versions of seqeval cut the
first letter off the kind, which makes CCONJ equal to SCONJ and moves the UDPOS score; hence this
implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from xstilts.metrics.checks import require_aligned
from xstilts.metrics.classification import accuracy

Tags = Sequence[str]


class Span(NamedTuple):
    """Tokens `first` to `last` (both inside, counted from 0) of one sentence."""

    kind: str
    first: int
    last: int


class _Tag(NamedTuple):
    prefix: str
    kind: str


_OUTSIDE = _Tag("O", "O")


def spans(tags: Tags) -> set[Span]:
    """The spans of one sentence by the rules of seqeval 0.0.12 (BIO, BIOES and bare tags)."""
    found: set[Span] = set()
    first, before = 0, _OUTSIDE
    for position, now in enumerate([*map(_parse, tags), _OUTSIDE]):
        if _ends(before, now):
            found.add(Span(before.kind, first, position - 1))
        if _begins(before, now):
            first = position
        before = now
    return found


def _parse(tag: str) -> _Tag:
    return _Tag(tag[0], tag.rpartition("-")[2])


def _ends(before: _Tag, now: _Tag) -> bool:
    if before.prefix in "ES":
        return True
    if before.prefix in "BI" and now.prefix in "BSO":
        return True
    return before.prefix not in "O." and before.kind != now.kind


def _begins(before: _Tag, now: _Tag) -> bool:
    if now.prefix in "BS":
        return True
    if now.prefix in "EI" and before.prefix in "ESO":
        return True
    return now.prefix not in "O." and before.kind != now.kind


def span_scores(gold: Sequence[Tags], predicted: Sequence[Tags]) -> dict[str, float]:
    """Micro-averaged `f1`, `precision` and `recall` over the spans of all sentences, in percent.

    A span counts only with the right kind and both ends; where there is nothing to divide by, the value is 0.

    Raises:
        UserError: no sentences, or sentences or tokens that do not stand side by side.
    """
    _require_side_by_side(gold, predicted)
    pairs = [(spans(g), spans(p)) for g, p in zip(gold, predicted, strict=True)]
    correct = sum(len(g & p) for g, p in pairs)
    precision = _ratio(correct, sum(len(p) for _, p in pairs))
    recall = _ratio(correct, sum(len(g) for g, _ in pairs))
    f1 = _ratio(2 * precision * recall, precision + recall)
    return {"f1": f1 * 100, "precision": precision * 100, "recall": recall * 100}


def span_f1(gold: Sequence[Tags], predicted: Sequence[Tags]) -> float:
    """The F1 of `span_scores`, in percent."""
    return span_scores(gold, predicted)["f1"]


def token_accuracy(gold: Sequence[Tags], predicted: Sequence[Tags]) -> float:
    """Percentage of tokens with the right tag, over all sentences.

    Raises:
        UserError: no tokens, or sentences or tokens that do not stand side by side.
    """
    _require_side_by_side(gold, predicted)
    return accuracy(list(chain.from_iterable(gold)), list(chain.from_iterable(predicted)))


def _require_side_by_side(gold: Sequence[Tags], predicted: Sequence[Tags]) -> None:
    require_aligned(gold, predicted, "sentences")
    for number, (tags, guess) in enumerate(zip(gold, predicted, strict=True), start=1):
        if len(tags) != len(guess):
            require_aligned(tags, guess, f"tags of sentence {number}")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
