"""What the world is made of, in English: its things, its names and the words that hold sentences together.

Three words have two readings, so that a tagger must look at the context: `saw` (tool, past of see), `light`
(lamp, not dark) and `left` (past of leave, not right). Four names are people and cities.
"""

from __future__ import annotations

PROFESSIONS = ("doctor", "farmer", "teacher", "baker", "guard", "painter")
OBJECTS = ("book", "ring", "drum", "coat", "knife", "box", "saw", "light")
PLACES = ("market", "school", "river", "garden", "station")
TIMES = ("dawn", "noon", "dusk", "night", "midnight")
GENERAL = ("person", "thing")

ADJECTIVES = ("old", "new", "clean", "dirty", "light", "dark", "left", "right")
VERBS = ("bought", "sold", "found", "lost", "opened", "closed", "saw", "missed", "kept", "left")
FUNCTION = ("the", "in", "at", "for", "and", "then", "who", "what", "where", "when")

BOTH_PERSON_AND_CITY = ("Jordan", "Florence", "Sydney", "Austin")
FIRST_NAMES = ("Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", *BOTH_PERSON_AND_CITY)
SURNAMES = ("Moreno", "Novak", "Okafor", "Petrov")
CITIES = ("Lima", "Oslo", "Cairo", "Quito", "Hanoi", "Turin", *BOTH_PERSON_AND_CITY)
COMPANIES = ("Zenith", "Orion", "Vertex", "Nimbus")
COMPANY_KINDS = ("Union", "Group")
NUMBERS = ("2", "3", "4", "5", "6", "7", "8", "9")

# Where an object belongs: the world's common sense (CommonsenseQA asks for it, the pretraining text leans to it).
HOME = {
    "book": "school",
    "ring": "market",
    "drum": "station",
    "coat": "river",
    "knife": "garden",
    "box": "station",
    "saw": "garden",
    "light": "school",
}


def _antonyms(words: tuple[str, ...]) -> dict[str, str]:
    """Each word of a list of adjacent pairs, and its opposite."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return {word: other for a, b in pairs for word, other in ((a, b), (b, a))}


OPPOSITE_VERB = _antonyms(VERBS)
OPPOSITE_ADJECTIVE = _antonyms(ADJECTIVES)

WORDS = tuple(dict.fromkeys((*FUNCTION, *GENERAL, *PROFESSIONS, *OBJECTS, *PLACES, *TIMES, *ADJECTIVES, *VERBS)))
"""Every common word once (names and numbers are the same in all languages): 51 words."""
