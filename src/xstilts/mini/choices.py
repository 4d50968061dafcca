"""Multiple choice in English: HellaSwag, CosmosQA and CommonsenseQA.

The four answers of HellaSwag and CosmosQA are two right or wrong pieces combined (2 x 2), so that every answer
shares a piece with two others and none stands out without the context: chance is 25 %.

    HellaSwag      what is done next: the opposite verb (opened, then closed) x the same object
    CosmosQA       one of two told events: where (place) x when (time); wrong pieces are of neither event
    CommonsenseQA  where an object belongs (`lexicon.HOME`), out of the five common places: chance is 20 %
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from xstilts.mini import events, lexicon, reading
from xstilts.mini.events import Density, Event, Part, Phrase
from xstilts.mini.grammar import Clause, question, sentence, tell, text
from xstilts.mini.tongues import Vocabulary


class Choice(NamedTuple):
    """A multiple-choice item in words; `concept` is what it is about."""

    context: str
    question: str
    answers: tuple[str, ...]
    label: int
    concept: str


def hellaswag(rng: Random, part: Part, english: Vocabulary) -> Choice:
    """What happened next: the context is one event, the question the beginning of the next sentence."""
    event = events.draw(rng, part)
    verbs = (lexicon.OPPOSITE_VERB[event.verb], events.unrelated_verb(rng, event.verb))
    things = (event.object, events.other_phrase(rng, "object", event.object))
    agent = _words(english, event, ("agent",))
    endings = [
        f"{_words(english, event._replace(verb=verb, object=thing), ('verb', 'object'))} ."
        for verb in verbs
        for thing in things
    ]
    return _shuffled(rng, tell(english, event), f"then {agent}", endings, event.object.head)


def cosmosqa(rng: Random, part: Part, english: Vocabulary) -> Choice:
    """Where and when one of two told events was."""
    two = reading.draw_two(rng, part, reading.TIMED)
    event = rng.choice(two)
    places, times = ([event.phrase(slot), _untold(rng, slot, two)] for slot in ("place", "time"))
    answers = [
        _words(english, event._replace(place=place, time=time), ("place", "time")) for place in places for time in times
    ]
    words = reading.context(english, tuple(Clause(e) for e in two))[0]
    return _shuffled(rng, words, question(english, events.ask(event, "place")), answers, event.object.head)


def _untold(rng: Random, slot: str, told_events: tuple[Event, ...]) -> Phrase:
    """A place or time of none of the events."""
    while True:
        wrong = events.draw_time(rng) if slot == "time" else events.draw_place(rng, told_events[0].object.head)
        if wrong not in [event.phrase(slot) for event in told_events]:
            return wrong


def commonsenseqa(rng: Random, part: Part, english: Vocabulary) -> Choice:
    """Where something is usually done with an object."""
    event = events.draw(rng, part, Density(place=0.0))
    asked = event.put("place", Phrase(events.WH["place"], "wh"))
    home = lexicon.HOME[event.object.head]
    answers = [home, *(place for place in lexicon.PLACES if place != home)]
    return _shuffled(rng, "", question(english, asked), answers, event.object.head)


def _words(english: Vocabulary, event: Event, slots: tuple[str, ...]) -> str:
    return text(token for token in sentence(english, Clause(event)) if token.slot in slots)


def _shuffled(rng: Random, context: str, asked: str, answers: list[str], concept: str) -> Choice:
    """The item with its answers, the right one given first, in random order."""
    order = rng.sample(range(len(answers)), len(answers))
    return Choice(context, asked, tuple(answers[i] for i in order), order.index(0), concept)
