"""LASER's Tatoeba: two files, line i of one is the translation of line i of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xstilts.errors import DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place, aligned
from xstilts.tasks.formats.text import exactly, lines
from xstilts.tasks.rows import RetrievalRow


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[RetrievalRow]:
    """Every foreign sentence (first file), then every English one (second file); ids are 0-based lines.

    Raises:
        DataError: the files differ in length, or a line is empty.
    """
    foreign_path, english_path = exactly(paths, ("foreign", "English"), "line_pairs")
    foreign, english = (list(lines(path)) for path in (foreign_path, english_path))
    if len(foreign) != len(english):
        problem = f"{len(foreign)} lines, but {english_path.name} has {len(english)}"
        raise DataError(foreign_path, problem, "line i of one must translate line i of the other")
    both = zip(foreign, english, strict=True)
    return aligned((Place(foreign_path, number), text, other) for (number, text), (_, other) in both)
