"""Files that are either whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

RECORD = "record.json"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same directory, on the disk and then renamed to `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the file's bytes on the disk: a node that fails after the rename must not leave an empty file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sizes(directory: Path) -> dict[str, int]:
    """Bytes of every file below a directory, by its place in it."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.stat().st_size for path in found}


def packaged(name: str) -> Any:
    """A YAML file of `xstilts/data`, by PyYAML's parser in C where it has it: a tenth of the time."""
    import yaml  # few jobs need it

    path = Path(__file__).parent / "data" / name
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def discard(spent: Iterable[Mapping[str, Any]]) -> None:
    """Delete `files` of each entry, if everything that it names under `once` is there."""
    for entry in spent:
        if all(Path(path).exists() for path in entry["once"]):
            for path in entry["files"]:
                Path(path).unlink(missing_ok=True)


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A fresh directory whose files move to `directory` when the block ends well, `record.json` last.

    A reader that finds the record finds everything, and two writers of one result never mix halves of a file.
    """
    staging = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        yield staging
        _move(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _move(staging: Path, directory: Path) -> None:
    files = sorted((p for p in staging.rglob("*") if p.is_file()), key=lambda p: (p.name == RECORD, str(p)))
    for file in files:
        place = directory / file.relative_to(staging)
        file.chmod(0o666 & ~_umask())  # safetensors are written for their owner alone, results are for the group
        flush(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
