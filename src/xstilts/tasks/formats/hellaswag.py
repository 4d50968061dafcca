"""HellaSwag: a context and four endings, JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, choice, value
from xstilts.tasks.formats.text import records
from xstilts.tasks.rows import ChoiceRow


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[ChoiceRow]:
    """Rows in file order: `ctx` (which ends with the ending's first words, if any) and `endings`.

    Raises:
        DataError: a malformed line, or a label that is no index of the endings (the published test has none).
    """
    for path in paths:
        for place, record in records(path):
            context = value(record, "ctx", str, place)
            endings = value(record, "endings", list, place)
            yield choice(part, place, (context, ""), [str(e) for e in endings], record.get("label", ""))
