"""The languages of the mini world and how far each is from English: one table, `TONGUES`."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from xstilts.errors import ConfigError
from xstilts.mini.lexicon import WORDS
from xstilts.mini.seeds import stream

Order = Literal["SVO", "SOV", "VSO"]

ENGLISH = "en"
_ORDERS = {
    "SVO": ("agent", "verb", "object", "beneficiary", "place", "time"),
    "SOV": ("agent", "time", "place", "beneficiary", "object", "verb"),
    "VSO": ("verb", "agent", "object", "beneficiary", "place", "time"),
}
_VOWELS = "aeiou"
_OWN_SCRIPT = {letter: chr(0x10D0 + i) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


@dataclass(frozen=True)
class Tongue:
    """The properties of one language of the mini world.

    Attributes:
        code: `en` or a private-use ISO 639 code.
        shared: share of the common words (`lexicon.WORDS`) that are spelt as in English; names and numbers always are.
        order: of subject, verb and object. SOV has postpositions and its other phrases before the object; VSO has
            its adjectives after the noun.
        suffixes: whether objects and verbs take an ending.
        own_script: whether its own words are written in another alphabet (26 letters from U+10D0).
        consonants: of its own words, which are consonant-vowel-consonant-vowel-consonant.
    """

    code: str
    shared: float
    order: Order
    suffixes: bool
    own_script: bool
    consonants: str

    @property
    def slots(self) -> tuple[str, ...]:
        """The parts of a sentence in their plain order."""
        return _ORDERS[self.order]

    @property
    def postpositions(self) -> bool:
        """Whether `in the market` is `the market in`."""
        return self.order == "SOV"

    @property
    def adjective_last(self) -> bool:
        """Whether `the old book` is `the book old`."""
        return self.order == "VSO"


TONGUES = {
    tongue.code: tongue
    for tongue in (
        Tongue(ENGLISH, 1.0, "SVO", suffixes=False, own_script=False, consonants=""),
        Tongue("qaa", 0.6, "SVO", suffixes=False, own_script=False, consonants="bdglmnrstv"),
        Tongue("qab", 0.4, "SVO", suffixes=True, own_script=False, consonants="bfklmnprsz"),
        Tongue("qac", 0.2, "SOV", suffixes=True, own_script=False, consonants="dghjkmnrty"),
        Tongue("qad", 0.05, "VSO", suffixes=False, own_script=False, consonants="chklnpqtwx"),
        Tongue("qae", 0.0, "SOV", suffixes=False, own_script=True, consonants="bdgklmnrst"),
    )
}


def tongue(code: str) -> Tongue:
    """The language of a code.

    Raises:
        ConfigError: the mini world has no such language.
    """
    if code not in TONGUES:
        raise ConfigError("languages", f"the mini world has no {code!r}", f"use some of {', '.join(TONGUES)}")
    return TONGUES[code]


@dataclass(frozen=True)
class Vocabulary:
    """The common words of one language in one world.

    Attributes:
        tongue: the language.
        words: English word to its spelling here.
        endings: slot ("object", "verb") to the ending its head takes; empty without suffixes.
    """

    tongue: Tongue
    words: dict[str, str]
    endings: dict[str, str]

    def spell(self, word: str, slot: str) -> str:
        """The form of a common word as the head of a slot ("" elsewhere)."""
        return self.words[word] + self.endings.get(slot, "")


def vocabulary(seed: int, code: str) -> Vocabulary:
    """The vocabulary of a language: exactly its share of the words is English, the rest made up, no two alike."""
    language = tongue(code)
    rng = stream(seed, "vocabulary", code)
    shared = set(rng.sample(WORDS, round(language.shared * len(WORDS))))
    taken = set(WORDS)
    words = {word: word if word in shared else _new_word(rng, language, taken) for word in WORDS}
    endings = {slot: _ending(rng, language) for slot in ("object", "verb")} if language.suffixes else {}
    return Vocabulary(language, words, endings)


def _new_word(rng: Random, language: Tongue, taken: set[str]) -> str:
    while True:
        pattern = (language.consonants, _VOWELS, language.consonants, _VOWELS, language.consonants)
        word = _written("".join(rng.choice(letters) for letters in pattern), language)
        if word not in taken:
            taken.add(word)
            return word


def _ending(rng: Random, language: Tongue) -> str:
    return _written(rng.choice(_VOWELS) + rng.choice(language.consonants), language)


def _written(letters: str, language: Tongue) -> str:
    return "".join(_OWN_SCRIPT[letter] for letter in letters) if language.own_script else letters
