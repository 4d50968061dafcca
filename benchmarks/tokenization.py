"""Token tables shared by the cells of a study against tokenising again in every cell.

    python benchmarks/tokenization.py --configfile config/mini.yaml [--cells 10] [--threads 2] [--repeats 5]

Of a study whose data and backbones are there: the training data of every fine-tuning of one backbone, opened by as many
cells as the matrix has rows (the baseline and nine intermediates). Both systems call the trainings' own function, which
writes a table and maps it: ours with one folder for all cells, the peer with an empty one for each. What a process does
once (imports, the tokenizer, digests of code) is done beforehand. Processor seconds are true of one thread only. The
result goes to benchmarks/results/tokenization-<study>.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import measured
from xstilts import command
from xstilts.models import checkpoint
from xstilts.schema.training import Hyperparameters
from xstilts.study import Plan
from xstilts.tasks.features import tokens
from xstilts.tasks.features.tokens import Recipe

Job = dict[str, Any]


def jobs_of(plan: Plan) -> list[Job]:
    """One fine-tuning of each train set, of the first backbone, whose data and backbone are there."""
    found: dict[str, Job] = {}
    for step in plan.steps():
        if step.phase == "finetune" and step.folders[0] == next(iter(plan.study.backbones)):
            job = json.loads(step.job())
            if all(Path(path).exists() for path in (f"{job['checkpoint']}/config.json", *job["train"])):
                found.setdefault(job["task"], job)
    if not found:
        raise SystemExit(f"{plan.root}: no fine-tuning has its data and backbone; run `snakemake all_data` first")
    return list(found.values())


def recipe(job: Job) -> Recipe:
    """What a training makes its inputs of."""
    hyper = Hyperparameters.model_validate(job["hyper"])
    tokenizer: Any = checkpoint.load_tokenizer(Path(job["checkpoint"]))
    return Recipe(job["kind"], tuple(map(Path, job["train"])), tokenizer, hyper, tuple(job["labels"]))


def seconds(recipes: list[Recipe], given: Any, shared: bool) -> float:
    """Until every cell has all its tables open."""
    now = measured.clock(given.processor)
    with tempfile.TemporaryDirectory() as work:
        started = now()
        for cell in range(given.cells):
            store = Path(work) if shared else Path(work, str(cell))
            for one in recipes:
                tokens.of(one, store, given.threads)
        return now() - started


def main() -> None:
    """Measure, print and keep."""
    parser = measured.parser(__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config/mini.yaml"))
    parser.add_argument("--cells", type=int, default=10, help="cells that read each table")
    parser.add_argument("--threads", type=int, default=1, help="processes that tokenise")
    given = parser.parse_args()
    plan = command.plan_of(given.configfile)
    jobs = jobs_of(plan)
    recipes = [recipe(job) for job in jobs]
    systems = {
        "ours": lambda: seconds(recipes, given, shared=True),
        "every cell": lambda: seconds(recipes, given, shared=False),
    }
    for warm_up in systems.values():
        warm_up()
    found = measured.in_turns(systems, given.repeats)
    ratio = measured.ratios(found["every cell"], found["ours"])
    print(f"tokenising in every one of {given.cells} cells takes {measured.told(ratio)} times as long")
    tables = [job["task"] for job in jobs]
    measured.keep(f"tokenization-{plan.study.study}", given, tables=tables, seconds=found, every_cell_to_ours=ratio)


if __name__ == "__main__":
    command.run(main)
