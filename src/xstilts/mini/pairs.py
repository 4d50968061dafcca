"""Sentence pairs: inference (MNLI, SNLI, ANLI, XNLI), paraphrase (PAWS-X) and question duplicates (QQP).

Items are events, not text, so that one item can be written in every language. Chance: inference 33.3 %
(labels in turn), paraphrase and duplicates 50 %.

Inference hypotheses leave things out of the premise. Besides, contradictions turn the verb or an adjective into its
opposite or change the time; neutral ones name another agent or object, or add a beneficiary or a place. So it is
what kind of word is new, not whether one is, that tells the two apart.

PAWS-X pairs are the same words in two orders; both sentences put another phrase first. 1: the same event.
0: agent and beneficiary, or the adjectives of agent and object, have changed places.

QQP questions ask one event's slot. 1: the same question with a phrase first. 0: another slot is asked, or
the verb is the opposite, or another agent or object.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from xstilts.mini import events, lexicon
from xstilts.mini.events import Density, Event, Part, Phrase, Relation
from xstilts.mini.grammar import Clause

_LEFT_OUT = 0.25


class Inference(NamedTuple):
    """Premise (one or two clauses, told as sentences) and hypothesis with the truth between them."""

    premise: tuple[Clause, ...]
    hypothesis: Clause
    label: Relation


class Paraphrase(NamedTuple):
    """Two clauses and whether they mean the same."""

    first: Clause
    second: Clause
    same: bool


def inference(rng: Random, part: Part, label: Relation, density: Density = events.PLAIN) -> Inference:
    """An inference item of a wanted label, its premise one event."""
    while True:
        premise = events.draw(rng, part, density)
        hypothesis = _CLAIM[label](rng, _shorter(rng, premise))
        if hypothesis != premise and events.relation(premise, hypothesis) == label:
            return Inference((told(rng, premise),), told(rng, hypothesis), label)


def inference_in_context(rng: Random, part: Part, label: Relation, density: Density = events.PLAIN) -> Inference:
    """An inference item whose premise tells a second event too, which the hypothesis does not speak of (ANLI)."""
    while True:
        item = inference(rng, part, label, density)
        second = events.draw(rng, part, density)
        if events.relation(second, item.hypothesis.event) == "neutral":
            clauses = [*item.premise, told(rng, second)]
            rng.shuffle(clauses)
            return item._replace(premise=tuple(clauses))


def told(rng: Random, event: Event) -> Clause:
    """The event, one time in four with its place or time first."""
    choices = [slot for slot in ("place", "time") if event.phrase(slot)]
    return Clause(event, rng.choice(choices) if choices and rng.random() < 0.25 else "")


def _shorter(rng: Random, event: Event) -> Event:
    for slot in events.given(event):
        if rng.random() < _LEFT_OUT:
            event = event.put(slot, None)
    for slot in ("agent", "object"):
        phrase = getattr(event, slot)
        if rng.random() < _LEFT_OUT:
            event = event.put(slot, phrase._replace(adjective="", number=""))
    return event


def _entailed(rng: Random, event: Event) -> Event:
    if rng.random() < 0.15:
        return event.put("object", Phrase("thing", "noun"))
    if rng.random() < 0.15 and event.agent.kind != "ORG":
        return event.put("agent", Phrase("person", "noun"))
    return event


def contradicted(rng: Random, event: Event) -> Event:
    """The event with its verb or an adjective turned into the opposite, or at another time."""
    slots = [slot for slot in ("agent", "object") if getattr(event, slot).adjective]
    slot = rng.choice(["verb", *slots, *(["time"] if event.time else [])])
    if slot == "verb":
        return event.put("verb", lexicon.OPPOSITE_VERB[event.verb])
    phrase: Phrase = getattr(event, slot)
    if slot == "time":
        return event.put(slot, events.other_phrase(rng, slot, phrase))
    return event.put(slot, phrase._replace(adjective=lexicon.OPPOSITE_ADJECTIVE[phrase.adjective]))


def _neutral(rng: Random, event: Event) -> Event:
    return another(rng, event) if rng.random() < 0.5 else _with_more(rng, event)


def another(rng: Random, event: Event) -> Event:
    """The event with another agent or object."""
    slot = rng.choice(("agent", "object"))
    return event.put(slot, events.other_phrase(rng, slot, getattr(event, slot)))


def _with_more(rng: Random, event: Event) -> Event:
    if rng.random() < 0.5:
        return event.put("beneficiary", events.draw_person(rng))
    return event.put("place", events.draw_place(rng, event.object.head))


_CLAIM = {"entailment": _entailed, "contradiction": contradicted, "neutral": _neutral}
_SWAPPABLE = Density(adjective=0.6, beneficiary=1.0, place=0.7, time=0.7)


def paraphrase(rng: Random, part: Part, same: bool) -> Paraphrase:
    """A paraphrase item of a wanted label."""
    while True:
        event = events.draw(rng, part, _SWAPPABLE)
        fronts = ["", *(slot for slot in ("place", "time") if event.phrase(slot))]
        changed = event if same else swapped(rng, event)
        if len(fronts) > 1 and changed and (changed == event) == same:
            first, second = rng.sample(fronts, 2)
            return Paraphrase(Clause(event, first), Clause(changed, second), same)


def swapped(rng: Random, event: Event) -> Event | None:
    """The event with agent and beneficiary, or agent's and object's adjectives, swapped; None if it has neither."""
    agent, thing, beneficiary = event.agent, event.object, event.beneficiary
    ways = []
    if beneficiary:
        ways.append(event._replace(agent=beneficiary, beneficiary=agent))
    if agent.adjective and thing.adjective and agent.adjective != thing.adjective:
        ways.append(
            event._replace(
                agent=agent._replace(adjective=thing.adjective), object=thing._replace(adjective=agent.adjective)
            )
        )
    return rng.choice(ways) if ways else None


def question_pair(rng: Random, part: Part, same: bool) -> Paraphrase:
    """A pair of questions of a wanted label."""
    while True:
        event = events.draw(rng, part, Density(place=0.8, time=0.8, beneficiary=0.0))
        slot = rng.choice(list(events.WH))
        asked = event.put(slot, Phrase(events.WH[slot], "wh"))
        fronts = [s for s in ("place", "time") if s != slot and event.phrase(s)]
        if fronts:
            second = asked if same else _other_question(rng, event, asked, slot)
            first, last = rng.sample((Clause(asked), Clause(second, rng.choice(fronts))), 2)
            return Paraphrase(first, last, same)


def _other_question(rng: Random, event: Event, asked: Event, slot: str) -> Event:
    kind = rng.choice(("slot", "verb", "phrase"))
    if kind == "verb":
        return asked.put("verb", lexicon.OPPOSITE_VERB[asked.verb])
    if kind == "slot":
        new = "agent" if slot == "object" else "object"
        return event.put(new, Phrase(events.WH[new], "wh"))
    new = "agent" if slot == "object" else "object"
    return asked.put(new, events.other_phrase(rng, new, getattr(asked, new)))
