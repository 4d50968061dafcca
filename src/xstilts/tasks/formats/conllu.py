"""Universal Dependencies treebanks, converted to tokens and tags as XTREME converts them.

XTREME's `scripts/download_data.sh` runs conllu_to_conll.py (of ud-conversion-tools) on every treebank file whose name
begins with the language's code, then `udpos_preprocess` of its utils_preprocess.py; what they do is restated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place, tagging
from xstilts.tasks.formats.text import Line, blocks, fields
from xstilts.tasks.rows import TaggingRow

PRECEDENCE = {
    "es": ("VERB", "AUX", "PRON", "ADP", "DET"),
    "fr": ("VERB", "AUX", "PRON", "NOUN", "ADJ", "ADV", "ADP", "DET", "PART", "SCONJ", "CONJ"),
    "it": ("VERB", "AUX", "ADV", "PRON", "ADP", "DET", "INTJ"),
}
"""Which tag a fused token takes, by language: the lists of conllu_to_conll.py."""
DEFAULT_PRECEDENCE = (
    *("VERB", "NOUN", "PROPN", "PRON", "ADJ", "NUM", "ADV", "INTJ"),
    *("AUX", "ADP", "DET", "PART", "CCONJ", "SCONJ", "X", "PUNCT"),
)
_COLUMNS = 10
_WITHHELD = "_"
_ZERO_WIDTH_NON_JOINER = "\u200c"


@dataclass(frozen=True)
class Word:
    """A syntactic word and its heads, those of the enhanced dependencies included; 0 is the root."""

    form: str
    tag: str
    heads: frozenset[int]


@dataclass(frozen=True)
class Sentence:
    """Words by number, and fused tokens (surface form, last word) by the number of their first word."""

    words: dict[int, Word]
    fused: dict[int, tuple[str, int]]


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[TaggingRow]:
    """Sentences of all treebanks, by file name; sentences whose text is withheld are left out and counted.

    Withheld means: at least one form is `_`, and so are all others but at most one (French-FTB and the like). Empty
    nodes are no tokens. ZERO WIDTH NON-JOINER and spaces inside a form go.

    Raises:
        DataError: a malformed line, words that are not numbered 1, 2, 3, …, an unknown tag, a sentence without tokens.
    """
    precedence = PRECEDENCE.get(part.language, DEFAULT_PRECEDENCE)
    for path in sorted(paths, key=lambda path: path.name):
        for block in blocks(path):
            place = Place(path, block[0][0])
            tokens, tags = surface(_sentence(path, block), precedence)
            blank = tokens.count(_WITHHELD)
            if blank and blank >= len(tokens) - 1:
                part.counts["dropped: text withheld"] += 1
                continue
            yield tagging(part, place, [_clean(token) for token in tokens], tags)


def _clean(form: str) -> str:
    return form.strip().replace(_ZERO_WIDTH_NON_JOINER, "").replace(" ", "")


def surface(sentence: Sentence, precedence: Sequence[str]) -> tuple[list[str], list[str]]:
    """Surface tokens and their tags: a fused token stands in place of its words.

    It has the tag of the one word that stands highest in the tree; if several stand equally high, of the one whose tag
    comes first in `precedence` (a tag that is not listed comes last; XTREME's script would stop), then of the first.
    """
    tokens, tags = [], []
    number = 1
    while number <= len(sentence.words):
        word = sentence.words[number]
        form, last = sentence.fused.get(number, (word.form, number))
        tokens.append(form)
        tags.append(_tag(sentence.words, range(number, last + 1), precedence))
        number = last + 1
    return tokens, tags


def _tag(words: Mapping[int, Word], span: range, precedence: Sequence[str]) -> str:
    if len(span) == 1:
        return words[span.start].tag
    depths = {number: _depth(words, number) for number in span}
    highest = [words[number].tag for number in span if depths[number] == min(depths.values())]
    return min(highest, key=lambda tag: precedence.index(tag) if tag in precedence else len(precedence))


def _depth(words: Mapping[int, Word], number: int) -> int:
    """How many words, the root included, stand above a word."""
    above: set[int] = set()
    queue = [number]
    while queue:
        word = words.get(queue.pop())
        found = (word.heads if word else frozenset()) - above
        above |= found
        queue.extend(found)
    return len(above - {number})


def _sentence(path: Path, block: list[Line]) -> Sentence:
    words: dict[int, Word] = {}
    fused: dict[int, tuple[str, int]] = {}
    for number, line in block:
        if line.startswith("#"):
            continue
        place = Place(path, number)
        columns = fields(place, line, "tab", _COLUMNS)
        first, hyphen, last = columns[0].partition("-")
        if hyphen:
            fused[_number(place, first)] = (columns[1], _number(place, last))
        elif "." not in first:
            _expect(place, _number(place, first), len(words) + 1)
            words[len(words) + 1] = Word(columns[1], columns[3], _heads(place, columns[6], columns[8]))
    _check_fused(Place(path, block[0][0]), words, fused)
    return Sentence(words, fused)


def _number(place: Place, text: str) -> int:
    if not text.isdecimal():
        raise place.error(f"id {text!r} is no word number", "expected 1, 2, … or a range such as 1-2")
    return int(text)


def _expect(place: Place, found: int, expected: int) -> None:
    if found != expected:
        raise place.error(f"word {found}, expected {expected}", "number the words of a sentence 1, 2, 3, …")


def _heads(place: Place, basic: str, enhanced: str) -> frozenset[int]:
    """Heads of a word; the root where there is none or it is an empty node, as XTREME's script has it."""
    head = 0 if basic == "_" or "." in basic else _number(place, basic)
    others = (dependency.partition(":")[0] for dependency in enhanced.split("|"))
    return frozenset([head, *(int(other) for other in others if other.isdecimal())])


def _check_fused(place: Place, words: Mapping[int, Word], fused: Mapping[int, tuple[str, int]]) -> None:
    covered = 0
    for first, (form, last) in sorted(fused.items()):
        if not covered < first <= last <= len(words):
            problem = f"fused token {form!r} ({first}-{last}) does not stand for words of its own"
            raise place.error(problem, f"the sentence has {len(words)} words; correct the range")
        covered = last
