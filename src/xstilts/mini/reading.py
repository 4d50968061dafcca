"""Questions over passages (SQuAD, XQuAD, MLQA, TyDiQA): two short sentences, and what one of them says.

The two events of a passage differ in agent, object and verb and both fill the asked slot, so the wh-word alone
leaves two candidates: who reads only it gets about half of the answers right. A question names the agent, verb
and object of its event, except what it asks. An impossible question (SQuAD v2, one in three) its agent (asked
for the agent: its object) changed to one that the passage does not speak of.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import NamedTuple

from xstilts.mini import events
from xstilts.mini.events import Density, Event, Part, Phrase
from xstilts.mini.grammar import Clause, Speller, Token, answer, question, sentence, text

# Plain sentences: with adjectives, or with places first, a tiny encoder does not learn to read in a few hundred steps.
TIMELESS = Density(adjective=0.0, beneficiary=0.0, place=1.0, time=0.0)
TIMED = replace(TIMELESS, time=1.0)
_TIMED_SHARE = 0.25
_IMPOSSIBLE = 1 / 3


class Query(NamedTuple):
    """A question about one clause of a passage: the asked slot, the question as an event, whether it is answered."""

    clause: int
    slot: str
    asked: Event
    possible: bool = True


class Passage(NamedTuple):
    """Two clauses, told as sentences, and questions about them."""

    clauses: tuple[Clause, Clause]
    queries: tuple[Query, ...]


class Reading(NamedTuple):
    """A question in words: the answer (the plausible one if there is none) and its first code point in the context."""

    question: str
    answer: str
    start: int
    possible: bool


def passage(rng: Random, part: Part, questions: int = 2, impossible: bool = False) -> Passage:
    """A passage with one question or two, one a sentence; `impossible` allows unanswerable ones."""
    first, second = draw_two(rng, part, TIMED if rng.random() < _TIMED_SHARE else TIMELESS)
    clauses = (Clause(first), Clause(second))
    order = rng.sample((0, 1), questions)
    return Passage(clauses, tuple(_query(rng, clauses, i, impossible) for i in order))


def draw_two(rng: Random, part: Part, density: Density) -> tuple[Event, Event]:
    """Two events that differ in agent, verb, object and place, and in their times if they have times."""
    first = events.draw(rng, part, density)
    while True:
        second = events.draw(rng, part, density)
        if first.verb != second.verb and all(_differ(first.phrase(s), second.phrase(s)) for s in events.WH):
            return first, second


def _differ(one: Phrase | None, two: Phrase | None) -> bool:
    """Whether two phrases (or gaps) could not be taken for each other: not even a surname is the same."""
    return one is None or two is None or set(one.head.split()).isdisjoint(two.head.split())


def _query(rng: Random, clauses: tuple[Clause, Clause], i: int, impossible: bool) -> Query:
    event = clauses[i].event
    slot = rng.choice([slot for slot in events.WH if event.phrase(slot)])
    asked = events.ask(event, slot)
    if not impossible or rng.random() >= _IMPOSSIBLE:
        return Query(i, slot, asked)
    return Query(i, slot, _unanswerable(rng, clauses, asked, "object" if slot == "agent" else "agent"), possible=False)


def _unanswerable(rng: Random, clauses: tuple[Clause, Clause], asked: Event, slot: str) -> Event:
    draw = events.draw_agent if slot == "agent" else events.draw_object
    while True:
        phrase = draw(rng)
        if all(_differ(phrase, clause.event.phrase(slot)) for clause in clauses):
            return asked.put(slot, phrase)


def context(speller: Speller, clauses: tuple[Clause, ...]) -> tuple[str, list[list[Token]]]:
    """The text of clauses told one sentence each, and the sentences' tokens."""
    sentences = [sentence(speller, clause) for clause in clauses]
    return " ".join(text(tokens) for tokens in sentences), sentences


def read(speller: Speller, item: Passage) -> tuple[str, list[Reading]]:
    """The context of a passage and its questions, answered, in one language."""
    words, sentences = context(speller, item.clauses)
    return words, [_reading(speller, sentences, query) for query in item.queries]


def _reading(speller: Speller, sentences: list[list[Token]], query: Query) -> Reading:
    found, start = answer(sentences[query.clause], query.slot)
    before = sum(len(text(tokens)) + 1 for tokens in sentences[: query.clause])
    return Reading(question(speller, query.asked), found, before + start, query.possible)
