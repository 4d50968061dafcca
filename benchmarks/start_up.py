"""What a job costs before it computes: a training of one step, the prediction of one language, the scoring of one cell.

    python benchmarks/start_up.py --configfile config/mini.yaml [--repeats 5]

Of a finished study: the workflow's own scripts, from the start of a process to its end, without warm servers; so
reading weights and data, the step itself and what is written are in it. In turns with them, the imports with which a
script of the Hugging Face Trainer begins (torch, transformers' Trainer and AutoModel, datasets), and nothing else; and
`import torch` alone. The result goes to benchmarks/results/start_up-<study>.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import measured
from xstilts import command
from xstilts.study import Plan

ENVIRONMENT = {"PYTHONSAFEPATH": "1", "PYTHONPATH": "src"}  # as the rules set it
TRAINER = "import torch, datasets; from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer"
FOLDERS = ("output", "work", "store")

Job = dict[str, Any]


def job_of(plan: Plan, phase: str) -> Job:
    """The first job of a phase of which all that it reads is there."""
    for step in plan.steps():
        if step.phase == phase and all(Path(path).exists() for _, path in plan.reads(step)):
            job: Job = json.loads(step.job())
            return job
    raise SystemExit(f"{plan.root}: no {phase} with what it reads; run the study first")


def small(plan: Plan) -> dict[str, Job]:
    """By script: a job with the least to compute."""
    training, prediction = job_of(plan, "finetune"), job_of(plan, "predict")
    hyper = {**training["hyper"], "steps": 1, "epochs": None}
    return {
        "finetune": {**training, "hyper": hyper, "compute": _cold(training)},
        "predict": {**prediction, "parts": prediction["parts"][:1], "compute": _cold(prediction), "spent": []},
        "score": job_of(plan, "score"),
    }


def _cold(job: Job) -> Job:
    return {**job["compute"], "warm": False}


def seconds(script: str, job: Job, processor: bool) -> float:
    """Of a whole process, which writes to a folder of its own."""
    with tempfile.TemporaryDirectory() as work:
        path, own = Path(work, "job.json"), {name: f"{work}/{name}" for name in FOLDERS if name in job}
        path.write_text(json.dumps({**job, **own}), encoding="utf-8")
        run = [sys.executable, f"workflow/scripts/{script}.py", str(path)]
        return measured.child(run, environment=ENVIRONMENT, processor=processor)["seconds"]


def imports(code: str, processor: bool) -> float:
    """Of a process that imports and ends."""
    return measured.child([sys.executable, "-c", code], processor=processor)["seconds"]


def main() -> None:
    """Measure, print and keep."""
    parser = measured.parser(__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config/mini.yaml"))
    given = parser.parse_args()
    plan = command.plan_of(given.configfile)
    peers = {"a Trainer's imports": TRAINER, "import torch": "import torch"}
    systems: dict[str, Callable[[], float]] = {
        script: partial(seconds, script, job, given.processor) for script, job in small(plan).items()
    }
    systems |= {name: partial(imports, code, given.processor) for name, code in peers.items()}
    found = measured.in_turns(systems, given.repeats)
    for name, own in found.items():
        print(f"{name}: {measured.told(measured.spread(own))} s")
    measured.keep(f"start_up-{plan.study.study}", given, seconds=found)


if __name__ == "__main__":
    command.run(main)
