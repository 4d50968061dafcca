"""`python -m xstilts.budget.calibrate`: short trainings on the device at hand, for a budget of measured rates.

Of every kind of task one training of the study is run twice, for few steps and for more: the difference is free of what
a start takes. Their records stay below `results/<study>/calibration/`, where every budget of the study finds them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xstilts import command, digest, files
from xstilts.budget.calibration import CALIBRATION
from xstilts.budget.estimate import TRAININGS
from xstilts.errors import UserError
from xstilts.study import Plan, Step

_STEPS = (10, 40)


def main() -> None:
    """The command line."""
    arguments = command.parser("budget.calibrate", "Run short trainings that calibrate the budget.")
    arguments.add_argument("--steps", type=int, nargs=2, default=_STEPS, help="optimizer steps of the two runs")
    given = arguments.parse_args()
    plan = command.plan_of(given.configfile, given.config)
    chosen = list(candidates(plan))
    if not chosen:
        raise UserError("no training has data and backbone yet; run `snakemake all_data` and `--until backbone` first")
    for step in chosen:
        for steps in given.steps:
            print(f"xstilts: {step.name}, {steps} steps", file=sys.stderr)
            measure(plan, step, steps)


def candidates(plan: Plan) -> Iterator[Step]:
    """One training of each kind whose inputs are all there."""
    kinds = set()
    for step in plan.steps():
        alone = step.phase in TRAININGS and "train" in step.payload and "kind" in step.slice
        if alone and step.slice["kind"] not in kinds and _ready(step):
            kinds.add(step.slice["kind"])
            yield step


def _ready(step: Step) -> bool:
    return all(Path(path).exists() for path in (f"{step.payload['checkpoint']}/config.json", *step.payload["train"]))


def place(plan: Plan, step: Step) -> Path:
    """Where the records of a step's short runs stand, one folder for each number of steps."""
    return plan.root.joinpath(CALIBRATION, step.phase, *step.folders)


def measure(plan: Plan, step: Step, steps: int) -> None:
    """Train for some steps, as the rule would, and keep the record alone.

    Raises:
        UserError: the training failed; its own lines say why.
    """
    output = place(plan, step) / f"steps-{steps}"
    shutil.rmtree(output, ignore_errors=True)
    job = short_job(step, steps, output)
    path = output.with_suffix(".json")
    files.write_json(path, job)
    ranks = plan.study.compute.ranks
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    script = f"workflow/scripts/{step.phase}.py"
    # As in the rules: else workflow/scripts/tabulate.py stands before the package of that name, which torch imports.
    safe = {**os.environ, "PYTHONSAFEPATH": "1"}
    if subprocess.run([sys.executable, *several, script, str(path)], env=safe, check=False).returncode:
        raise UserError(f"{step.name}: the short training failed; correct what it says above")
    record = (output / files.RECORD).read_text(encoding="utf-8")
    shutil.rmtree(output)
    files.write_text(output / files.RECORD, record)


def short_job(step: Step, steps: int, output: Path) -> dict[str, Any]:
    """The step's job, shorter and without looks at dev."""
    job: dict[str, Any] = json.loads(step.job())
    hyper = {**job["hyper"], "steps": steps, "epochs": None, "selection": {"checkpoint": "last"}}
    settings = {"hyper": hyper, "criterion": None}
    job |= {**settings, "dev": [], "target_dev": {}, "output": str(output), "work": f"{output}-work"}
    job["digest"] = digest.of([step.digest, settings])
    job["plan"]["slice"] |= settings
    return job


if __name__ == "__main__":
    command.run(main)
