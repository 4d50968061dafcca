"""Text files, line by line: UTF-8, nothing but a line feed ends a line, every failure says where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import ConfigError, DataError
from xstilts.tasks.formats.part import Place

DELIMITERS = {"tab": "\t", "space": " ", "comma": ","}
Line = tuple[int, str]


def lines(path: Path) -> Iterator[Line]:
    """Number (from 1) and text of each line, without its end (`\\n` or `\\r\\n`).

    Other Unicode line separators stay inside the text: they occur in web text and end nothing. A byte order mark goes.

    Raises:
        DataError: the file is missing, empty, or not UTF-8.
    """
    if not path.is_file():
        raise DataError(path, "no such file", "put it there, or say where it is under `data`")
    if path.stat().st_size == 0:
        raise DataError(path, "the file is empty, expected rows", "fetch it again")
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            line = _decoded(path, number, raw.removesuffix(b"\n").removesuffix(b"\r"))
            yield number, line.removeprefix("\ufeff") if number == 1 else line


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        problem = f"byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8"
        raise DataError(path, problem, "convert the file to UTF-8", number) from None


def blocks(path: Path) -> Iterator[list[Line]]:
    """Runs of lines between blank ones (sentences); several blank lines are one boundary, for they hold no data."""
    block: list[Line] = []
    for number, line in lines(path):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def records(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The objects of a JSON-lines file.

    Raises:
        DataError: as `lines`, or a line is no JSON object.
    """
    for number, line in lines(path):
        place = Place(path, number)
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise place.error(f"not JSON ({_reason(error)})", "expected one JSON object a line") from None
        if not isinstance(record, dict):
            raise place.error(f"{line!r:.60} is no object", "expected one JSON object a line")
        yield place, record


def document(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: as `lines`, or it is not JSON.
    """
    try:
        return json.loads("\n".join(line for _, line in lines(path)))
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise DataError(path, f"not JSON ({_reason(error)})", "fetch the file again", line) from None


def _reason(error: ValueError | RecursionError) -> str:
    """What Python's reader found: bad syntax, brackets nested too deep for it, or a number too long for it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error).partition(";")[0]


def fields(place: Place, line: str, delimiter: str, width: int | None) -> list[str]:
    """The columns of a line, `width` of them (any number if None).

    Raises:
        DataError: another number of columns.
    """
    found = line.split(DELIMITERS[delimiter])
    if width is not None and len(found) != width:
        problem = f"{len(found)} columns separated by {delimiter}, expected {width}"
        raise place.error(problem, "correct the line, or the dataset's `delimiter:`")
    return found


def exactly(paths: Sequence[Path], names: Sequence[str], form: str) -> Sequence[Path]:
    """The files of a part that is made of several, in the order of its patterns.

    Raises:
        ConfigError: another number of files.
    """
    if len(paths) != len(names):
        problem = f"{len(paths)} files for a part in the format {form}"
        raise ConfigError("data.datasets", problem, f"give {len(names)} patterns: {', '.join(names)}")
    return paths
