"""The mini world as a step of the graph."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from xstilts import provenance
from xstilts.files import RECORD, sizes, staged, write_json
from xstilts.mini.world import write_world


def make(job: dict[str, Any]) -> None:
    """Write the world of `job` (seed, sizes, languages, processes) into its output directory, the record last."""
    started = time.time()
    with staged(Path(job["output"])) as directory:
        given = {key: job[key] for key in ("seed", "languages", "sizes", "processes")}
        write_world(directory, **given)
        write_json(directory / RECORD, provenance.record(job, started, files=sizes(directory)))
