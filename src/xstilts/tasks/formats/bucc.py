"""BUCC 2018: two monolingual corpora of `id TAB sentence`, and the pairs of ids that are translations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place
from xstilts.tasks.formats.text import exactly, fields, lines
from xstilts.tasks.rows import RetrievalRow


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[RetrievalRow]:
    """Every foreign sentence (first file) with the ids of its translations, then every English one (second file).

    The third file is the gold standard, `foreign id TAB English id`; a pair that it repeats is left out and counted.

    Raises:
        DataError: another number of columns, an id given twice in a corpus, an empty sentence, a gold id in no corpus.
    """
    foreign_path, english_path, gold_path = exactly(paths, ("foreign", "English", "gold"), "bucc")
    foreign, english = _corpus(foreign_path), _corpus(english_path)
    gold = _gold(gold_path, foreign, english, part)
    for name, text in foreign.items():
        yield RetrievalRow(side="foreign", id=name, text=text, gold=gold.get(name, []))
    for name, text in english.items():
        yield RetrievalRow(side="english", id=name, text=text, gold=[])


def _corpus(path: Path) -> dict[str, str]:
    corpus: dict[str, str] = {}
    for number, line in lines(path):
        place = Place(path, number)
        name, _, text = (piece.strip() for piece in line.partition("\t"))
        if not name or not text:
            raise place.error(f"{line!r:.60} is no id and sentence", "expected `id TAB sentence`")
        if name in corpus:
            raise place.error(f"id {name!r} is given twice", "give every sentence an id of its own")
        corpus[name] = text
    return corpus


def _gold(path: Path, foreign: Mapping[str, str], english: Mapping[str, str], part: Part) -> dict[str, list[str]]:
    gold: dict[str, list[str]] = {}
    for number, line in lines(path):
        place = Place(path, number)
        left, right = (name.strip() for name in fields(place, line, "tab", 2))
        for name, corpus in ((left, foreign), (right, english)):
            if name not in corpus:
                raise place.error(f"id {name!r} stands in no corpus", "expected `foreign id TAB English id`")
        translations = gold.setdefault(left, [])
        if right in translations:
            part.counts["dropped: repeated gold pair"] += 1
        else:
            translations.append(right)
    return gold
