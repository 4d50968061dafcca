"""Prediction for all languages of a target: by one of our jobs, and by one process per language.

    python benchmarks/prediction.py --configfile config/mini.yaml [--target xnli] [--repeats 5]

Of a finished study: each system runs the workflow's own script on the same checkpoint and data,
from the start of a process to its end, without warm servers and with tables of predictions and of tokens made afresh.
The peer's jobs have one language each, as XTREME's QA scripts run, and share their tokens. The result goes to
benchmarks/results/prediction-<study>-<target>.json.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import measured
from xstilts import command
from xstilts.study import Plan

ENVIRONMENT = {"PYTHONSAFEPATH": "1", "PYTHONPATH": "src"}  # as the rule sets it

Job = dict[str, Any]


def job_of(plan: Plan, target: str) -> Job:
    """The prediction job, with this target's parts alone, of the first checkpoint that is there."""
    for step in plan.steps():
        job = json.loads(step.job()) if step.phase == "predict" else {"parts": []}
        parts = [part for part in job["parts"] if part["task"] == target]
        if parts and all(Path(path).exists() for path in (f"{job['checkpoint']}/config.json", *_data(parts))):
            return {**job, "parts": parts, "compute": {**job["compute"], "warm": False}}
    raise SystemExit(f"{plan.root}: no checkpoint and data to predict {target}; run the study first")


def _data(parts: list[Job]) -> list[str]:
    return [path for part in parts for path in part["data"].values()]


def seconds(jobs: list[Job], processor: bool) -> float:
    """Of all jobs, one process after the other; nothing of an earlier run is there."""
    with tempfile.TemporaryDirectory() as work:
        total = 0.0
        for k, job in enumerate(jobs):
            path, folders = Path(work, f"{k}.json"), ("store", "output", "tokens")
            path.write_text(json.dumps({**job, **{name: f"{work}/{name}" for name in folders}}), encoding="utf-8")
            run = [sys.executable, "workflow/scripts/predict.py", str(path)]
            total += measured.child(run, environment=ENVIRONMENT, processor=processor)["seconds"]
            shutil.rmtree(Path(work, "output"))
        return total


def main() -> None:
    """Measure, print and keep."""
    parser = measured.parser(__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config/mini.yaml"))
    parser.add_argument("--target", default="xnli")
    given = parser.parse_args()
    plan = command.plan_of(given.configfile)
    whole = job_of(plan, given.target)
    single = [{**whole, "parts": [part]} for part in whole["parts"]]
    systems = {
        "ours": lambda: seconds([whole], given.processor),
        "one process per language": lambda: seconds(single, given.processor),
    }
    found = measured.in_turns(systems, given.repeats)
    ratio = measured.ratios(found["one process per language"], found["ours"])
    print(f"one process per language takes {measured.told(ratio)} times as long for {len(single)} languages")
    measured.keep(
        f"prediction-{plan.study.study}-{given.target}", given, languages=len(single), seconds=found, peer_to_ours=ratio
    )


if __name__ == "__main__":
    command.run(main)
