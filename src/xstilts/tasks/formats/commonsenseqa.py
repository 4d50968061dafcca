"""CommonsenseQA: a question and five choices, JSON lines, nested as upstream or flat as on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place, choice, value
from xstilts.tasks.formats.text import records
from xstilts.tasks.rows import ChoiceRow


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[ChoiceRow]:
    """Rows in file order; the question is the row's context, for there is no other.

    Raises:
        DataError: a malformed line, an id given twice, or an answer key that no choice has (the published test has
            none).
    """
    for path in paths:
        for place, record in records(path):
            nested = isinstance(record.get("question"), dict)
            stem, keys, texts = (_nested if nested else _flat)(record, place)
            answer = value(record, "answerKey", str, place)
            if answer not in keys:
                raise place.error(f"answerKey {answer!r} is none of {', '.join(keys)}", "correct the key")
            name = value(record, "id", str, place)
            yield choice(part, place, (stem, ""), texts, keys.index(answer), name)


def _nested(record: dict[str, Any], place: Place) -> tuple[str, list[str], list[str]]:
    question = value(record, "question", dict, place)
    inner = place.at("question")
    choices = [c if isinstance(c, dict) else {} for c in value(question, "choices", list, inner)]
    keys = [value(c, "label", str, inner) for c in choices]
    return value(question, "stem", str, inner), keys, [value(c, "text", str, inner) for c in choices]


def _flat(record: dict[str, Any], place: Place) -> tuple[str, list[str], list[str]]:
    choices = value(record, "choices", dict, place)
    inner = place.at("choices")
    keys, texts = value(choices, "label", list, inner), value(choices, "text", list, inner)
    if len(keys) != len(texts):
        raise inner.error(f"{len(keys)} labels and {len(texts)} texts", "give every choice both")
    return value(record, "question", str, place), list(map(str, keys)), list(map(str, texts))
