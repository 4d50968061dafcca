"""provenance.csv: for each cell, which results it rests on, and with what they were made.

`mixed_libraries` names the libraries that made some result of the cell in another version than the newest result of the
study; `accepted` names the steps of the cell whose results are of older code that the user accepted as today's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xstilts import digest, files, history
from xstilts.history import Record

NAME = "provenance.csv"
_STEPS = ("backbone", "intermediate", "finetune", "predict", "score")
_CELL = ("study", "backbone", "intermediate", "target", "regime", "seed_intermediate", "seed_finetune")
COLUMNS = (*_CELL, "record", "made", "host", "device", "versions", "mixed_libraries", "accepted")


def write_origins(cells: Sequence[Mapping[str, Any]], root: Path, directory: Path) -> None:
    """Write provenance.csv.

    Args:
        cells: as in a tables job: `cell` and the path of its `scores`.
        root: the study's results.
        directory: where the table goes.
    """
    known: dict[Path, Record | None] = {}
    chains = [(entry, _chain(Path(entry["scores"]).parent, root, known)) for entry in cells]
    newest = _newest(record for _, chain in chains for record in chain)
    older = {(entry["step"], digest.of(entry["old"])): entry["time"] for entry in history.acceptances(root)}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(entry, chain, newest, older, root) for entry, chain in chains)
    files.write_text(directory / NAME, text.getvalue())


def _chain(place: Path, root: Path, known: dict[Path, Record | None]) -> list[Record]:
    """The records that a score rests on, itself first; data is in them by digest."""
    if place not in known:
        known[place] = history.read(place)
    record = known[place]
    if record is None or record["step"] not in _STEPS:
        return []
    return [record, *(r for need in record.get("needs", ()) for r in _chain(root / need, root, known))]


def _newest(records: Iterable[Record]) -> Mapping[str, str]:
    """Versions with which the newest result was made."""
    latest = max(records, key=lambda record: str(record.get("started", "")), default=None)
    versions: Mapping[str, str] = latest.get("versions", {}) if latest else {}
    return versions


def _row(
    entry: Mapping[str, Any],
    chain: list[Record],
    newest: Mapping[str, str],
    older: Mapping[tuple[str, str], str],
    root: Path,
) -> dict[str, Any]:
    versions = {(name, v) for record in chain for name, v in record.get("versions", {}).items()}
    cell = {key: "" if entry["cell"].get(key) is None else entry["cell"][key] for key in _CELL}
    return cell | {
        "record": str((Path(entry["scores"]).parent / files.RECORD).relative_to(root)),
        "made": max((str(record.get("started", "")) for record in chain), default=""),
        "host": _joined(record.get("host", "") for record in chain),
        "device": _joined(record.get("device", "") for record in chain),
        "versions": _joined(f"{name}={version}" for name, version in versions),
        "mixed_libraries": _joined(name for name, version in versions if newest.get(name, version) != version),
        "accepted": _joined(record["step"] for record in chain if _accepted(record, older)),
    }


def _joined(texts: Iterable[str]) -> str:
    return " ".join(sorted({text.replace(" ", "_") for text in texts if text}))


def _accepted(record: Record, older: Mapping[tuple[str, str], str]) -> bool:
    """Was the result there when its code was accepted?"""
    codes = [record["code"], *history.part_codes(record).values()]
    times = [older.get((record["step"], digest.of(code))) for code in codes]
    return any(time is not None and str(record.get("started", "")) <= time for time in times)


def read_origins(directory: Path) -> Iterator[dict[str, str]]:
    """The rows of a study's provenance.csv; none where there is no such table."""
    path = directory / NAME
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as handle:
            yield from csv.DictReader(handle)
