"""Plain text: one text a line, UTF-8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, texts
from xstilts.tasks.formats.text import lines
from xstilts.tasks.rows import TextRow


def read(paths: Sequence[Path], _group: FileGroup, part: Part) -> Iterator[TextRow]:
    """Every line that is not blank, in the order of the files.

    Raises:
        DataError: a file is not UTF-8.
    """
    return texts(part, (line for path in paths for _, line in lines(path)))
