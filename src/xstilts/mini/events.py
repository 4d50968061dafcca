"""Events, the semantics of the mini world: who did what to what, for whom, where and when, and what follows from it.

An event fills six slots: agent, verb and object always, beneficiary, place and time sometimes. Two sentences of
an inference pair speak of the same event unless their agents or objects differ. `relation` is the truth:

    hypothesis against premise                                     relation
    another agent, object (head or number) or unrelated verb       neutral (another event)
    else: the opposite verb, the opposite adjective,
          another place of the same kind, another time             contradiction
    else: a slot or adjective that the premise does not give       neutral (added information)
    else (the same, left out, or general: person, thing)           entailment
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

from xstilts.mini import lexicon

Kind = Literal["PER", "ORG", "LOC", "noun", "wh"]
Relation = Literal["entailment", "neutral", "contradiction"]
Part = Literal["train", "dev", "test", "text"]

RELATIONS: tuple[Relation, ...] = ("entailment", "neutral", "contradiction")
OPTIONAL = ("beneficiary", "place", "time")
WH = {"agent": "who", "object": "what", "place": "where", "time": "when"}
# Twentieths of all agent-verb-object triples: what one part may use no other part may, whatever the dataset.
_SHARES: dict[Part, int] = {"train": 9, "dev": 3, "test": 3, "text": 5}
_PART_OF = [part for part, share in _SHARES.items() for _ in range(share)]


class Phrase(NamedTuple):
    """A noun phrase: its head (an English word or a name), what the head is, and what is said of it ("" = nothing)."""

    head: str
    kind: Kind
    adjective: str = ""
    number: str = ""


class Event(NamedTuple):
    """One event; a question is an event whose asked slot holds a wh-phrase."""

    agent: Phrase
    verb: str
    object: Phrase
    beneficiary: Phrase | None = None
    place: Phrase | None = None
    time: Phrase | None = None

    def phrase(self, slot: str) -> Phrase | None:
        """What fills a slot other than the verb's."""
        value: Phrase | None = getattr(self, slot)
        return value

    def put(self, slot: str, value: Phrase | str | None) -> Event:
        """The event with one slot changed."""
        return self._replace(**{slot: value})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Density:
    """How much an event says: the probability of each optional piece.

    Attributes:
        at_home: probability that a common place is where the object belongs (`lexicon.HOME`), else any place.
    """

    adjective: float = 0.3
    number: float = 0.0
    beneficiary: float = 0.1
    place: float = 0.5
    time: float = 0.4
    at_home: float = 0.0


PLAIN = Density()


def part_of(event: Event) -> Part:
    """The part of the world that owns an event, by who does what to what."""
    return _part(event.agent, event.verb, event.object)


def _part(agent: Phrase, verb: str, thing: Phrase) -> Part:
    content = f"{agent.head}|{verb}|{thing.head}".encode()
    return _PART_OF[zlib.crc32(content) % len(_PART_OF)]


def draw(rng: Random, part: Part, density: Density = PLAIN) -> Event:
    """A random event that belongs to a part."""
    while True:
        agent, verb, thing = draw_agent(rng, density), rng.choice(lexicon.VERBS), draw_object(rng, density)
        if _part(agent, verb, thing) == part:
            return _with_circumstances(rng, Event(agent, verb, thing), density)


def _with_circumstances(rng: Random, event: Event, density: Density) -> Event:
    beneficiary = draw_person(rng, density) if rng.random() < density.beneficiary else None
    if beneficiary and beneficiary.head == event.agent.head:
        beneficiary = None
    place = draw_place(rng, event.object.head, density) if rng.random() < density.place else None
    time = draw_time(rng) if rng.random() < density.time else None
    return event._replace(beneficiary=beneficiary, place=place, time=time)


def draw_agent(rng: Random, density: Density = PLAIN) -> Phrase:
    """A person, or one time in six a company."""
    if rng.random() < 1 / 6:
        name = rng.choice(lexicon.COMPANIES)
        if rng.random() < 0.5:
            name = f"{rng.choice((name, *lexicon.CITIES))} {rng.choice(lexicon.COMPANY_KINDS)}"
        return Phrase(name, "ORG")
    return draw_person(rng, density)


def draw_person(rng: Random, density: Density = PLAIN) -> Phrase:
    """A person, by name (one in four with a surname) or by profession."""
    if rng.random() < 0.4:
        return Phrase(rng.choice(lexicon.PROFESSIONS), "noun", _maybe_adjective(rng, density))
    name = rng.choice(lexicon.FIRST_NAMES)
    return Phrase(f"{name} {rng.choice(lexicon.SURNAMES)}" if rng.random() < 0.25 else name, "PER")


def draw_object(rng: Random, density: Density = PLAIN) -> Phrase:
    """A thing, perhaps with an adjective and a number (`the old book 3`)."""
    number = rng.choice(lexicon.NUMBERS) if rng.random() < density.number else ""
    return Phrase(rng.choice(lexicon.OBJECTS), "noun", _maybe_adjective(rng, density), number)


def draw_place(rng: Random, thing: str, density: Density = PLAIN) -> Phrase:
    """A common place (three in five) or a city."""
    if rng.random() < 0.4:
        return Phrase(rng.choice(lexicon.CITIES), "LOC")
    return Phrase(lexicon.HOME[thing] if rng.random() < density.at_home else rng.choice(lexicon.PLACES), "noun")


def draw_time(rng: Random) -> Phrase:
    """A time of day."""
    return Phrase(rng.choice(lexicon.TIMES), "noun")


def _maybe_adjective(rng: Random, density: Density) -> str:
    return rng.choice(lexicon.ADJECTIVES) if rng.random() < density.adjective else ""


def other(rng: Random, choices: Sequence[str], *not_these: str) -> str:
    """A random choice that is none of `not_these`."""
    return rng.choice([choice for choice in choices if choice not in not_these])


def unrelated_verb(rng: Random, verb: str) -> str:
    """A verb that is neither the verb nor its opposite."""
    return other(rng, lexicon.VERBS, verb, lexicon.OPPOSITE_VERB[verb])


def other_phrase(rng: Random, slot: str, phrase: Phrase) -> Phrase:
    """A phrase of the same kind with another head, fit for the slot; adjective and number stay."""
    if phrase.kind == "noun":
        choices = {"object": lexicon.OBJECTS, "place": lexicon.PLACES, "time": lexicon.TIMES}.get(slot)
        return phrase._replace(head=other(rng, choices or lexicon.PROFESSIONS, phrase.head))
    names = {"PER": lexicon.FIRST_NAMES, "ORG": lexicon.COMPANIES, "LOC": lexicon.CITIES}[phrase.kind]
    first, *rest = phrase.head.split()
    return phrase._replace(head=" ".join([other(rng, names, first), *rest]))


def given(event: Event) -> list[str]:
    """The optional slots that an event fills."""
    return [slot for slot in OPTIONAL if event.phrase(slot)]


def ask(event: Event, slot: str) -> Event:
    """The question for one slot: agent, verb and object identify the event, the asked slot holds its wh-word."""
    return Event(event.agent, event.verb, event.object).put(slot, Phrase(WH[slot], "wh"))


def relation(premise: Event, hypothesis: Event) -> Relation:
    """What the premise says of the hypothesis (the truth table of this module)."""
    if _another_event(premise, hypothesis):
        return "neutral"
    if _conflict(premise, hypothesis):
        return "contradiction"
    return "neutral" if _added(premise, hypothesis) else "entailment"


def _another_event(premise: Event, hypothesis: Event) -> bool:
    verbs = (premise.verb, lexicon.OPPOSITE_VERB[premise.verb])
    thing = hypothesis.object
    same_number = not thing.number or thing.number == premise.object.number
    return not (
        hypothesis.verb in verbs
        and _covers(hypothesis.agent, premise.agent, "person")
        and _covers(thing, premise.object, "thing")
        and same_number
    )


def _covers(phrase: Phrase, specific: Phrase, general: str) -> bool:
    return phrase.head == specific.head or (phrase.head == general and specific.kind != "ORG")


def _conflict(premise: Event, hypothesis: Event) -> bool:
    return (
        hypothesis.verb != premise.verb
        or any(_opposite(getattr(premise, s).adjective, getattr(hypothesis, s).adjective) for s in ("agent", "object"))
        or any(_elsewhere(premise.phrase(slot), hypothesis.phrase(slot)) for slot in ("place", "time"))
    )


def _opposite(adjective: str, claimed: str) -> bool:
    return bool(adjective) and lexicon.OPPOSITE_ADJECTIVE[adjective] == claimed


def _elsewhere(phrase: Phrase | None, claimed: Phrase | None) -> bool:
    return bool(phrase and claimed and phrase.kind == claimed.kind and phrase.head != claimed.head)


def _added(premise: Event, hypothesis: Event) -> bool:
    slots = ("agent", "object", *OPTIONAL)
    pairs = [(premise.phrase(slot), hypothesis.phrase(slot)) for slot in slots]
    new_head = any(claim and (fact is None or claim.head != fact.head) for fact, claim in pairs[2:])
    new_adjective = any(claim and claim.adjective not in ("", fact.adjective if fact else "") for fact, claim in pairs)
    return new_head or new_adjective
