"""Readers of the formats in which datasets are published, one module each, looked up by the `format` of a file group.

A reader is `read(paths, group, part)`: it yields the rows of one part in the order of the files, counts in
`part.counts` what upstream convention drops or it repairs, and raises a `DataError` at anything else that is malformed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Row

Reader = Callable[[Sequence[Path], FileGroup, Part], Iterator[Row]]


def reader(name: str) -> Reader:
    """The reader of a format; imports its module only, so that a part's code digest covers no other format."""
    read: Reader = importlib.import_module(f"{__name__}.{name}").read
    return read
