"""The check before anything runs: every file that the study needs is named at once if it is missing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from xstilts import provenance
from xstilts.errors import UserError
from xstilts.files import RECORD, write_json
from xstilts.schema.data import Dataset
from xstilts.tasks import sources


def preflight(job: dict[str, Any]) -> None:
    """Check that all files are there and write the record.

    Raises:
        UserError: names every missing file, by dataset.
    """
    started = time.time()
    missing = [line for name, wanted in job["datasets"].items() for line in _missing(name, wanted)]
    missing += [f"backbones: {path}" for path in job["files"] if not Path(path).is_file()]
    if missing:
        shown = "\n  ".join(missing)
        raise UserError(f"{len(missing)} files are missing; put them there or change `data`:\n  {shown}")
    write_json(Path(job["output"]) / RECORD, provenance.record(job, started, datasets=len(job["datasets"])))


def _missing(name: str, wanted: dict[str, Any]) -> list[str]:
    source = Dataset.model_validate(wanted["source"])
    root = Path(wanted["source"]["root"])
    paths = {path for split, lang in wanted["parts"] for path in sources.missing_files(source, root, split, lang)}
    return [f"{name}: {path}" for path in sorted(paths)]
