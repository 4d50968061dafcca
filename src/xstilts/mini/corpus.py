"""Text for a masked language model: lines of one language, and English with its translation.

A tab separates two segments of one line. Of a language's lines, 15 % (none of English) mix in English words;
75 % of the others are related pairs, the rest one sentence or two. Half of the related pairs are a
passage with a question and its answer, a quarter restatements, a quarter altered events. Common places lean to where an
object belongs, so that the model can know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from xstilts.mini import events, pairs, reading
from xstilts.mini.events import Density, Event
from xstilts.mini.grammar import Clause, Speller, question, sentence, tell, text
from xstilts.mini.pairs import told
from xstilts.mini.seeds import stream
from xstilts.mini.tongues import ENGLISH, Tongue, Vocabulary

_TEXT = Density(number=0.1, beneficiary=0.2, at_home=0.5)
_MIXED, _RELATED, _ENGLISH_WORDS = 0.15, 0.75, 0.4


@dataclass(frozen=True)
class Mixture:
    """Spells in one language, with English words here and there."""

    own: Vocabulary
    english: Vocabulary
    rng: Random

    @property
    def tongue(self) -> Tongue:
        """The language whose grammar holds."""
        return self.own.tongue

    @property
    def words(self) -> dict[str, str]:
        """The language's own dictionary."""
        return self.own.words

    def spell(self, word: str, slot: str) -> str:
        """The form of a word, in English with the probability of the mixture."""
        return (self.english if self.rng.random() < _ENGLISH_WORDS else self.own).spell(word, slot)


def lines(seed: int, language: Vocabulary, english: Vocabulary, count: int) -> Iterator[str]:
    """The lines of `pretrain/<language>.txt`."""
    code = language.tongue.code
    rng = stream(seed, "pretrain", code)
    mixture = Mixture(language, english, stream(seed, "pretrain", code, "mixture"))
    for _ in range(count):
        if code != ENGLISH and rng.random() < _MIXED:
            yield _passage(rng, mixture)
        elif rng.random() < _RELATED:
            yield rng.choice((_restated, _altered, _asked, _asked))(rng, language)
        else:
            yield _passage(rng, language)


def plain_lines(seed: int, language: Vocabulary, count: int) -> Iterator[str]:
    """The lines of `mlm/<language>.txt`: one sentence or two, other events than those of `pretrain/`."""
    rng = stream(seed, "mlm", language.tongue.code)
    for _ in range(count):
        yield _passage(rng, language)


def parallel(seed: int, language: Vocabulary, english: Vocabulary, count: int) -> Iterator[tuple[str, str]]:
    """The pairs of `pretrain/parallel.en-<language>.tsv`: English and its translation."""
    rng = stream(seed, "parallel", language.tongue.code)
    for _ in range(count):
        clauses = _clauses(rng, rng.choice((1, 1, 1, 2)))
        yield _sentences(english, clauses), _sentences(language, clauses)


def _clauses(rng: Random, count: int) -> list[Clause]:
    return [told(rng, _event(rng)) for _ in range(count)]


def _event(rng: Random) -> Event:
    return events.draw(rng, "text", _TEXT)


def _sentences(speller: Speller, clauses: list[Clause]) -> str:
    return " ".join(tell(speller, *clause) for clause in clauses)


def _passage(rng: Random, speller: Speller) -> str:
    clauses = _clauses(rng, rng.choice((1, 2)))
    if len(clauses) == 2 and rng.random() < 0.3:
        return text(sentence(speller, *clauses))
    return _sentences(speller, clauses)


def _restated(rng: Random, speller: Speller) -> str:
    event = _event(rng)
    return f"{tell(speller, *told(rng, event))}\t{tell(speller, *told(rng, event))}"


def _altered(rng: Random, speller: Speller) -> str:
    event = _event(rng)
    change = rng.choice((pairs.contradicted, pairs.another, pairs.swapped))
    changed = change(rng, event) or pairs.another(rng, event)
    return f"{tell(speller, *told(rng, event))}\t{tell(speller, *told(rng, changed))}"


def _asked(rng: Random, speller: Speller) -> str:
    item = reading.passage(rng, "text", questions=1)
    words, [found] = reading.read(speller, item)
    return f"{words}\t{question(speller, item.queries[0].asked)} {found.answer}"
