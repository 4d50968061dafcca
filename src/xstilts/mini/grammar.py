"""From events to sentences: tokens with tags in any of the languages, text, and where an answer stands.

Words are separated by single spaces, full stops too, so that words and tokens are the same thing in all formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from xstilts.mini.events import Event, Phrase
from xstilts.mini.tongues import Tongue

_ADPOSITION = {"beneficiary": "for", "place": "in", "time": "at"}
_ADVERBIAL = "(S\\NP)\\(S\\NP)"
_WH_TAG = {"who": "PRON", "what": "PRON", "where": "ADV", "when": "ADV"}


class Token(NamedTuple):
    """One word of a sentence.

    Attributes:
        form: as written; lemma: the dictionary form; upos: universal part of speech; entity: BIO tag (PER, ORG, LOC).
        supertag: CCG category, right for English only.
        slot: the event slot it belongs to ("" for what joins clauses); core: whether an answer would include it.
    """

    form: str
    lemma: str
    upos: str
    entity: str
    supertag: str
    slot: str = ""
    core: bool = False


class Clause(NamedTuple):
    """An event told with one of its slots first ("" = in the plain order)."""

    event: Event
    front: str = ""


class Speller(Protocol):
    """What writes words: a vocabulary, or a mixture of two."""

    @property
    def tongue(self) -> Tongue:
        """Whose grammar holds."""

    @property
    def words(self) -> dict[str, str]:
        """English word to dictionary form."""

    def spell(self, word: str, slot: str) -> str:
        """The form of a common word as the head of a slot."""


def sentence(speller: Speller, *clauses: Clause, end: str = ".") -> list[Token]:
    """A sentence of one clause, or of several joined by `and then`, with its final mark ("" = none)."""
    tokens: list[Token] = []
    for i, clause in enumerate(clauses):
        if i:
            tokens += [_word(speller, "and", "CCONJ", "conj"), _word(speller, "then", "ADV", "S/S")]
        tokens += _clause(speller, clause)
    return [*tokens, Token(end, end, "PUNCT", "O", ".")] if end else tokens


def text(tokens: Iterable[Token]) -> str:
    """The words, separated by spaces."""
    return " ".join(token.form for token in tokens)


def tell(speller: Speller, event: Event, front: str = "") -> str:
    """The text of a sentence of one event."""
    return text(sentence(speller, Clause(event, front)))


def question(speller: Speller, event: Event, front: str = "") -> str:
    """The text of a question: the wh-word stands where the answer would."""
    return text(sentence(speller, Clause(event, front), end="?"))


def answer(tokens: Sequence[Token], slot: str) -> tuple[str, int]:
    """The core of the phrase in a slot and its first code point in `text(tokens)`; the tokens hold one such slot."""
    inside = [i for i, token in enumerate(tokens) if token.slot == slot and token.core]
    start = sum(len(token.form) + 1 for token in tokens[: inside[0]])
    return text(tokens[i] for i in inside), start


def _clause(speller: Speller, clause: Clause) -> Iterator[Token]:
    slots = sorted(speller.tongue.slots, key=lambda slot: slot != clause.front)
    for slot in slots:
        if slot == "verb":
            verb = clause.event.verb
            yield _word(speller, verb, "VERB", "(S\\NP)/NP", slot)
        elif phrase := clause.event.phrase(slot):
            yield from _phrase(speller, phrase, slot, fronted=slot == clause.front)


def _phrase(speller: Speller, phrase: Phrase, slot: str, fronted: bool) -> list[Token]:
    if phrase.kind == "wh":
        category = "NP" if _WH_TAG[phrase.head] == "PRON" else _ADVERBIAL
        return [_word(speller, phrase.head, _WH_TAG[phrase.head], category, slot)]
    inner = _noun_phrase(speller, phrase, slot) if phrase.kind == "noun" else _name(phrase, slot)
    if slot not in _ADPOSITION:
        return inner
    result = "S/S" if fronted else _ADVERBIAL
    adposition = _word(speller, _ADPOSITION[slot], "ADP", f"({result})/NP", slot)
    return [*inner, adposition] if speller.tongue.postpositions else [adposition, *inner]


def _noun_phrase(speller: Speller, phrase: Phrase, slot: str) -> list[Token]:
    bare = slot == "time"
    noun = [_word(speller, phrase.head, "NOUN", "NP" if bare else "N", slot, core=True)]
    if phrase.adjective:
        adjective = _word(speller, phrase.adjective, "ADJ", "N/N", slot, core=True, head=False)
        noun = [*noun, adjective] if speller.tongue.adjective_last else [adjective, *noun]
    if phrase.number:
        noun.append(Token(phrase.number, phrase.number, "NUM", "O", "N\\N", slot, core=True))
    return noun if bare else [_word(speller, "the", "DET", "NP/N", slot, head=False), *noun]


def _name(phrase: Phrase, slot: str) -> list[Token]:
    parts = phrase.head.split()
    entities = [f"B-{phrase.kind}"] + [f"I-{phrase.kind}"] * (len(parts) - 1)
    categories = ["NP/NP"] * (len(parts) - 1) + ["NP"]
    return [
        Token(part, part, "PROPN", entity, category, slot, core=True)
        for part, entity, category in zip(parts, entities, categories, strict=True)
    ]


def _word(
    speller: Speller, word: str, upos: str, supertag: str, slot: str = "", core: bool = False, head: bool = True
) -> Token:
    takes_ending = head and upos in ("NOUN", "VERB")
    form = speller.spell(word, slot if takes_ending else "")
    return Token(form, speller.words[word], upos, "O", supertag, slot, core)
