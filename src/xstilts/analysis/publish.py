"""Tables and figures stand where users look for them; a receipt says of which configuration they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xstilts.files import RECORD

Job = dict[str, Any]


def publish(write: Callable[[Job], None], job: Job, place: Path) -> None:
    """Have `write` fill `place`, then move its record to the job's output directory as the receipt.

    The paths in `place` hold one configuration at a time, so the receipts of others go before anything is written.
    """
    receipt = Path(job["output"])
    forget_others(receipt)
    write({**job, "output": str(place)})
    receipt.mkdir(parents=True)
    (place / RECORD).replace(receipt / RECORD)


def forget_others(receipt: Path) -> None:
    """Remove the receipts of other configurations, whose files are about to be written over."""
    for other in receipt.parent.glob("*"):
        shutil.rmtree(other)
