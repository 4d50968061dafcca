"""Does a rerun after an edit give the cells of a study computed from scratch with that edit?

    PYTHONPATH=src:. python tests/campaigns/reruns.py DIRECTORY > reruns.md

makes every edit of `EXECUTED` in tests/unit/test_invalidation.py to a finished reduced study, runs it, computes the
edited study from scratch, and prints a row for each: jobs of both runs, cells that the edit changed, whether all cells
agree. The suite does the same once, for several edits together.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.reduced import Copy, finished, from_scratch
from tests.unit.test_invalidation import EDITS, EXECUTED, apply
from tests.workspace import Workspace


def jobs(workspace: Workspace) -> int:
    """Jobs that a run of all would run; the target itself is none."""
    return sum(workspace.planned().values())


def row(name: str, study: Workspace, place: Path) -> str:
    """One edit, rerun and from scratch."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    copy = Copy(place / "rerun", study, code=EDITS[name].code)
    before = set(study.cells_text().splitlines())
    apply(EDITS[name], copy)
    rerun = jobs(copy)
    copy.run("all_matrix")
    fresh = from_scratch(copy, place / "scratch")
    cells = copy.cells_text().splitlines()
    total = len(list((fresh.results / "jobs").rglob("*.json")))
    verdict = "equal" if copy.cells_text() == fresh.cells_text() else "**different**"
    left = sum(copy.planned().values())
    return f"| {name} | {rerun} | {total} | {len(set(cells) - before)} of {len(cells) - 1} | {verdict} | {left} |"


def main() -> None:
    """The campaign."""
    place = Path(sys.argv[1]).resolve()
    place.mkdir(parents=True, exist_ok=True)
    study = finished(place)
    print("| edit | jobs of the rerun | from scratch | cells it changed | cells.csv | left to do |")
    print("|---|---|---|---|---|---|")
    for name in sys.argv[2:] or EXECUTED:
        print(row(name, study, place / name.replace(" ", "-").replace(":", "")), flush=True)


if __name__ == "__main__":
    main()
