"""A token and its tag a line, a blank line between sentences: PAN-X, XTREME's POS files, CCG, Masakha, WikiNEuRal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from xstilts.errors import ConfigError
from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place, tagging
from xstilts.tasks.formats.text import Line, blocks, fields
from xstilts.tasks.rows import TaggingRow


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[TaggingRow]:
    """Sentences in file order; `columns` say where token (default 0) and tag (default 1) stand.

    Every line of a file has as many columns as its first. Where a file's first token begins with the language's code
    and a colon (PAN-X: `en:token`), that prefix is taken off its tokens. White space around tokens goes.

    Raises:
        ConfigError: a column that is not given by position.
        DataError: another number of columns, an unknown tag, an empty token.
    """
    token, tag = _position(group, "token", 0), _position(group, "tag", 1)
    prefix = group.codes.get(part.language, part.language) + ":"
    for path in paths:
        width: int | None = None
        prefixed = False
        for block in blocks(path):
            if width is None:
                width = _width(path, block[0], group, max(token, tag))
                prefixed = _fields(path, block[0], group, width)[token].startswith(prefix)
            rows = [_fields(path, line, group, width) for line in block]
            tokens = [row[token].removeprefix(prefix if prefixed else "").strip() for row in rows]
            yield tagging(part, Place(path, block[0][0]), tokens, [row[tag].strip() for row in rows])


def _position(group: FileGroup, field: str, default: int) -> int:
    position = group.columns.get(field, default)
    if not isinstance(position, int) or position < 0:
        problem = f"{field} is at {position!r}"
        raise ConfigError("data.datasets.*.files.columns", problem, "give its 0-based position")
    return position


def _fields(path: Path, line: Line, group: FileGroup, width: int | None) -> list[str]:
    return fields(Place(path, line[0]), line[1], group.delimiter, width)


def _width(path: Path, line: Line, group: FileGroup, last: int) -> int:
    """Number of columns, from a file's first line."""
    width = len(_fields(path, line, group, None))
    if width <= last:
        problem = f"{width} columns separated by {group.delimiter}, expected {last + 1} or more"
        raise Place(path, line[0]).error(problem, "correct the dataset's `delimiter:` or `columns:`")
    return width
