"""Tables of pairs: XNLI-1.0, GLUE's QQP, PAWS-X, SICK, XTREME's `sentence1 TAB sentence2 TAB label`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place, pair
from xstilts.tasks.formats.tables import Cells, table
from xstilts.tasks.rows import PairRow

XTREME_COLUMNS = {"text_a": 0, "text_b": 1, "label": 2}
"""Columns of a table for which none are named: as XTREME's download script writes them."""
_FIELDS = {"text_a", "text_b", "label", "id", "language"}


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[PairRow]:
    """Rows of the part's language; `columns` name text_a, text_b, label and, where there are such, id and language.

    Tab-separated files have no quoting: a quotation mark is a character like any other, as XTREME reads them. Columns
    that no field names may hold anything.

    Raises:
        ConfigError: `columns` does not say where a field stands.
        DataError: a malformed line, an unknown label, or no row of the language.
    """
    columns = _columns(group)
    code = group.codes.get(part.language, part.language)
    others: set[str] = set()
    for path in paths:
        found = False
        for place, cells in table(path, group, columns, part):
            if columns.get("language") is not None and cells["language"].strip() != code:
                others.add(cells["language"].strip())
                continue
            found = True
            row = _row(part, place, cells)
            if row is not None:
                yield row
        if not found:
            raise DataError(path, f"no row of language {code!r}", f"it has {', '.join(sorted(others)) or 'no rows'}")


def _columns(group: FileGroup) -> Mapping[str, str | int]:
    columns = group.columns or XTREME_COLUMNS
    if missing := {"text_a", "text_b", "label"} - set(columns):
        problem = f"no column given for {', '.join(sorted(missing))}"
        raise ConfigError("data.datasets.*.files.columns", problem, "name it")
    if unknown := set(columns) - _FIELDS:
        problem = f"unknown field {', '.join(sorted(unknown))}"
        raise ConfigError("data.datasets.*.files.columns", problem, f"fields are {', '.join(sorted(_FIELDS))}")
    return columns


def _row(part: Part, place: Place, cells: Cells) -> PairRow | None:
    texts = (cells["text_a"], cells["text_b"])
    name = cells["id"].strip() if "id" in cells else None
    return pair(part, place, texts, cells["label"].strip(), name)
