"""Do the rows of translated training files that a user gives stand for those of the original?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xstilts import parquet, provenance
from xstilts.errors import DataError
from xstilts.files import RECORD, write_json

_REMEDY = "row i must translate row i of the original; translate all of it, in its order, with its labels"


def match(job: dict[str, Any]) -> None:
    """Hold a translated part against its original, row by row, and write the record.

    Args:
        job: `originals` (English training parts, in order), `translated` (the part), `files` (what it was read from),
            `output`, and what every job has.

    Raises:
        DataError: other rows, or another label; names the file and the first row that differs (1-based, without those
            that `drop_labels` leaves out).
    """
    started = time.time()
    original, found = _labels(job["originals"]), _labels([job["translated"]])
    if len(original) != len(found):
        row, problem = min(len(original), len(found)) + 1, f"{len(found)} rows, the original has {len(original)}"
        raise DataError(", ".join(job["files"]), f"row {row}: {problem}", _REMEDY)
    for row, (wanted, given) in enumerate(zip(original, found, strict=True), 1):
        if wanted != given:
            problem = f"row {row}: label {given!r}, the original has {wanted!r}"
            raise DataError(", ".join(job["files"]), problem, _REMEDY)
    write_json(Path(job["output"]) / RECORD, provenance.record(job, started, rows=len(found)))


def _labels(paths: list[str]) -> list[Any]:
    """The label of every row, or as many Nones where the kind has no label that a translation keeps."""
    found: list[Any] = []
    for path in paths:
        held = pq.read_schema(path).names
        rows = pq.read_metadata(path).num_rows
        found += parquet.read(path, ["label"])["label"].to_pylist() if "label" in held else [None] * rows
    return found
