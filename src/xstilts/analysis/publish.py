"""Tables and figures where users look for them, with a receipt that says of which configuration they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xstilts.files import RECORD

Job = dict[str, Any]


def tables(job: Job) -> None:
    """Write the study's tables into `job["tables"]`, then the receipt."""
    from xstilts.analysis.tables import write_tables

    _publish(write_tables, job, Path(job["tables"]))


def figures(job: Job) -> None:
    """Draw the study's figures into `job["figures"]`, then the receipt."""
    from xstilts.analysis.figures import write_figures

    _publish(write_figures, job, Path(job["figures"]))


def _publish(write: Callable[[Job], None], job: Job, place: Path) -> None:
    """The paths hold one configuration at a time, so the receipts of others go before anything is written."""
    receipt = Path(job["output"])
    for other in receipt.parent.glob("*"):
        shutil.rmtree(other)
    write({**job, "output": str(place)})
    receipt.mkdir(parents=True)
    (place / RECORD).replace(receipt / RECORD)
