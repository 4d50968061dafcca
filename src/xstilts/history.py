"""What earlier runs left: the records beside finished results, and which older code the user accepted as today's.

Nothing here writes; nothing here knows the config.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xstilts import digest
from xstilts.errors import DataError

Record = Mapping[str, Any]
Code = dict[str, str]

ACCEPTED = "accepted.json"


def coded(parts: Mapping[str, Mapping[str, Any]], code: Mapping[str, Code]) -> dict[str, Any]:
    """Parts with the digest of the code that each reaches, and each such code once (parts share it)."""
    named = {name: digest.of(code[name]) for name in parts}
    return {
        "parts": {name: {**part, "code": named[name]} for name, part in parts.items()},
        "codes": {named[name]: code[name] for name in parts},
    }


def read(directory: Path) -> Record | None:
    """The record in a folder of results; None where there is none that can be read."""
    try:
        record = json.loads((directory / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "digest" in record else None


def listed(directory: Path) -> dict[str, int]:
    """Bytes of the files that a finished step left in its folder, by name, where its record tells."""
    return dict((read(directory) or {}).get("files", {}))


def records(folder: Path) -> list[Record]:
    """The records of all configurations of one step, newest first."""
    try:
        places = sorted(place for place in folder.iterdir() if place.is_dir())
    except OSError:
        return []
    found = [record for place in places if (record := read(place)) is not None]
    return sorted(found, key=lambda record: str(record.get("started", "")), reverse=True)


def part_codes(record: Record) -> dict[str, Code]:
    """Part: the code that made it; empty where the step has no parts or the record is older than parts."""
    detail = record.get("detail") or {}
    codes = detail.get("codes", {})
    return {name: codes[part["code"]] for name, part in detail.get("parts", {}).items() if part["code"] in codes}


def acceptances(root: Path) -> list[dict[str, Any]]:
    """Every acceptance of the study, oldest first: step, time, user, modules, results, new (digest), old (code).

    Raises:
        DataError: the file is there and cannot be read; results that it names would silently be computed again.
    """
    path = root / ACCEPTED
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["acceptances"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(path, "cannot be read as a list of acceptances", "restore or delete it") from None
    return found


def accepted_code(root: Path) -> dict[tuple[str, str], Code]:
    """(Step kind, digest of today's code): the older code that it counts as."""
    return {(entry["step"], entry["new"]): entry["old"] for entry in acceptances(root)}


def user() -> str:
    """Who runs this, for the records."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
