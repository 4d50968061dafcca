"""Dataset parts as items: named streams, no item twice within a part."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from random import Random
from typing import TypeVar

from xstilts.mini import events, pairs
from xstilts.mini.events import Density, Event, Part
from xstilts.mini.grammar import Clause
from xstilts.mini.pairs import Inference, Paraphrase
from xstilts.mini.seeds import stream

T = TypeVar("T", bound=Hashable)

_CLAIM = Density(beneficiary=0.0, place=0.4, time=0.3)
_CAPTION = Density(beneficiary=0.0, place=0.5, time=0.0)
_RICH = Density(adjective=0.4, number=0.2, beneficiary=0.2, place=0.6, time=0.5)
_ANLI = {"R1": _CLAIM, "R2": events.PLAIN, "R3": _RICH}


def unique(make: Callable[[int], T], count: int) -> Iterator[T]:
    """`count` different items; `make` gets the number of items so far, to take labels in turn."""
    seen: set[T] = set()
    while len(seen) < count:
        item = make(len(seen))
        if item not in seen:
            seen.add(item)
            yield item


def inferences(seed: int, dataset: str, part: Part, count: int) -> Iterator[Inference]:
    """The items of `mnli`, `snli`, `xnli` or an ANLI round (`R1` .. `R3`), labels in turn."""
    rng = stream(seed, dataset, part)
    if dataset in _ANLI:
        make, density = pairs.inference_in_context, _ANLI[dataset]
    else:
        make, density = pairs.inference, _CAPTION if dataset == "snli" else _CLAIM
    return unique(lambda i: make(rng, part, events.RELATIONS[i % 3], density), count)


def paraphrases(seed: int, part: Part, count: int) -> Iterator[Paraphrase]:
    """The items of PAWS-X, labels in turn."""
    rng = stream(seed, "pawsx", part)
    return unique(lambda i: pairs.paraphrase(rng, part, i % 2 == 1), count)


def question_pairs(seed: int, part: Part, count: int) -> Iterator[Paraphrase]:
    """The items of QQP, labels in turn."""
    rng = stream(seed, "qqp", part)
    return unique(lambda i: pairs.question_pair(rng, part, i % 2 == 1), count)


def sentences(seed: int, dataset: str, part: Part, code: str, count: int) -> Iterator[tuple[Clause, ...]]:
    """The sentences of a tagging dataset: one clause, three in ten two."""
    rng = stream(seed, dataset, part, code)

    def make(_: int) -> tuple[Clause, ...]:
        many = 2 if rng.random() < 0.3 else 1
        return tuple(pairs.told(rng, events.draw(rng, part, _RICH)) for _ in range(many))

    return unique(make, count)


def facts(rng: Random, part: Part, count: int, besides: Sequence[Event] = ()) -> list[Event]:
    """Different events to retrieve, none of `besides`."""
    known = set(besides)
    return list(unique(lambda _: _new(rng, part, known), count))


def _new(rng: Random, part: Part, known: set[Event]) -> Event:
    while True:
        event = events.draw(rng, part, _RICH)
        if event not in known:
            return event
