"""Pairs as JSON lines: MultiNLI, SNLI, ANLI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, pair, value
from xstilts.tasks.formats.text import records
from xstilts.tasks.rows import PairRow

MULTINLI_FIELDS = {"text_a": "sentence1", "text_b": "sentence2", "label": "gold_label"}
"""Keys for which the dataset names none: as MultiNLI and SNLI have them."""


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[PairRow]:
    """Rows in file order; `columns` name the keys of text_a, text_b, label and, where there is one, id.

    Raises:
        DataError: a malformed line or an unknown label.
    """
    keys = {field: str(key) for field, key in {**MULTINLI_FIELDS, **group.columns}.items()}
    for path in paths:
        for place, record in records(path):
            found = {field: value(record, key, str, place) for field, key in keys.items()}
            row = pair(part, place, (found["text_a"], found["text_b"]), found["label"], found.get("id"))
            if row is not None:
                yield row
