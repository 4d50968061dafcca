"""Cosmos QA: a passage, a question and four answers, CSV with a header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, choice
from xstilts.tasks.formats.tables import table
from xstilts.tasks.rows import ChoiceRow

_ANSWERS = ("answer0", "answer1", "answer2", "answer3")
_COLUMNS = {name: name for name in ("id", "context", "question", *_ANSWERS, "label")}


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[ChoiceRow]:
    """Rows in file order.

    Raises:
        DataError: malformed CSV, a missing column, an id given twice, or a label that is no index of the answers.
    """
    form = group.model_copy(update={"header": True, "delimiter": "comma"})
    for path in paths:
        for place, cells in table(path, form, _COLUMNS, part):
            answers = [cells[name] for name in _ANSWERS]
            texts = (cells["context"], cells["question"])
            yield choice(part, place, texts, answers, cells["label"], cells["id"])
