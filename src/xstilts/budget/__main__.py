"""`python -m xstilts.budget`: what a study would cost, what a change of it would cost, and both as files."""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from xstilts import command, files
from xstilts.budget.missing import Missing
from xstilts.budget.plan import Budget, budget, prioritised
from xstilts.budget.report import difference, lines, plain
from xstilts.errors import UserError
from xstilts.study.step import Scope

_EPILOG = """With --config, prints what the changed study costs more than the one that stands in the file:

    python -m xstilts.budget --config 'seeds={intermediate: [1, 2, 3, 4, 5]}' --gpus 32
"""


def main() -> None:
    """The command line."""
    described = "What the matrix of a study would cost."
    arguments = command.parser("budget", described)
    arguments.epilog, arguments.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    arguments.add_argument("--scope", choices=get_args(Scope), default="matrix", help="rows: default matrix")
    arguments.add_argument("--gpus", type=int, help="GPUs (on a study that runs on CPUs: cores) at once")
    arguments.add_argument("--output", type=Path, help="folder for budget.json, budget.csv and budget.svg")
    given = arguments.parse_args()
    before = _budget(given, [])
    after = _budget(given, given.config) if given.config else before
    print("\n".join(lines(after)) or "xstilts: nothing would run")
    if given.config:
        print(f"xstilts: {' '.join(given.config)}: {difference(before, after)}")
    if given.output:
        write(after, given.output)


def _budget(given: argparse.Namespace, changes: list[str]) -> Budget:
    plan = command.plan_of(given.configfile, changes, given.scope)
    try:
        return budget(plan, prioritised(plan), given.gpus)
    except Missing as reason:
        raise UserError(str(reason)) from None


def write(made: Budget, folder: Path) -> None:
    """Write budget.json, budget.csv (its rows) and budget.svg (schedule and hours) into a folder."""
    from xstilts.budget.figure import draw

    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "budget.json", plain(made))
    rows = [asdict(row) for row in made.rows]
    with files.atomic(folder / "budget.csv") as path, path.open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, list(rows[0]) if rows else ["phase"])
        table.writeheader()
        table.writerows(rows)
    with files.atomic(folder / "budget.svg") as path:
        draw(made, path)


if __name__ == "__main__":
    command.run(main)
