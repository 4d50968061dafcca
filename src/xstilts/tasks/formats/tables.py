"""Delimited tables with or without a header, their columns known by name or position."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from xstilts.errors import DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place
from xstilts.tasks.formats.text import fields, lines

Cells = dict[str, str]


def table(path: Path, group: FileGroup, columns: Mapping[str, str | int], part: Part) -> Iterator[tuple[Place, Cells]]:
    """Place and cells (our field: text) of every row; a header, or else the first row, says how many columns there are.

    Raises:
        DataError: a column that is not there, or a row with more or fewer columns than the others.
    """
    width: int | None = None
    positions: dict[str, int] = {}
    for place, row in _rows(path, group):
        if width is None:
            width = len(row)
            positions = _positions(place, row, group, columns)
            if group.header:
                continue
        if len(row) < width and group.drop_short_rows:
            part.counts["dropped: too few columns"] += 1
            continue
        if len(row) != width:
            raise place.error(
                f"{len(row)} columns, expected {width}", "correct the line; no text may hold the delimiter"
            )
        yield place, {name: row[position] for name, position in positions.items()}


def _rows(path: Path, group: FileGroup) -> Iterator[tuple[Place, list[str]]]:
    if group.delimiter == "comma":
        yield from _quoted(path)
        return
    for number, line in lines(path):
        place = Place(path, number)
        yield place, fields(place, line, group.delimiter, None)


def _quoted(path: Path) -> Iterator[tuple[Place, list[str]]]:
    """Rows of a CSV file as RFC 4180 has it: quoted cells may hold commas, line ends and doubled quotation marks."""
    reader = csv.reader((f"{line}\n" for _, line in lines(path)), strict=True)
    try:
        for row in reader:
            yield Place(path, reader.line_num), row
    except csv.Error as error:
        raise DataError(path, f"not CSV ({error})", "correct the quoting", reader.line_num) from None


def _positions(place: Place, first: list[str], group: FileGroup, columns: Mapping[str, str | int]) -> dict[str, int]:
    return {field: _position(place, first, group, given) for field, given in columns.items()}


def _position(place: Place, first: list[str], group: FileGroup, given: str | int) -> int:
    """Position of a column given by name (in the header) or by position."""
    names = first if group.header else []
    if isinstance(given, str):
        if given not in names:
            shown = ", ".join(names) or "no header"
            raise place.error(
                f"no column {given!r} (there is {shown})", "correct the dataset's `columns:` or `header:`"
            )
        return names.index(given)
    if not 0 <= given < len(first):
        raise place.error(f"no column {given}: there are {len(first)}", "correct the dataset's `columns:`")
    return given
