"""How near a budget is to what a study takes: runs one, then estimates it from a tenth of its own jobs.

    python benchmarks/budget_accuracy.py --configfile config/mini.yaml       # runs it with fresh results (minutes)
    python benchmarks/budget_accuracy.py --configfile config/local.yaml --finished results \
        --calibrate-by config/mini.yaml

The study runs as `budget-<its name>`. A seeded tenth of its jobs then calibrates the estimate of all of them, or all
finished jobs of another study on the same machine. Printed,
and written to benchmarks/results/budget_accuracy-<study>.json: seconds by phase, measured, estimated and calibrated,
and the makespan of the run beside the simulated one. On a machine that others use, the run measures them as well: `cpu`
holds the jobs' own processor seconds, which they disturb less.
"""

from __future__ import annotations

import argparse
import platform
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from xstilts import files, history
from xstilts.budget import calibration, devices
from xstilts.budget.calibration import Calibration, Seen
from xstilts.budget.devices import CPU
from xstilts.budget.estimate import Estimator
from xstilts.budget.plan import Budget
from xstilts.config import deep_merge, load
from xstilts.study import Plan, Step

_RESULTS = Path(__file__).parent / "results"


def run(study: dict[str, Any], cores: int) -> float:
    """Run the study; seconds from start to end, Snakemake's own start included."""
    config = Path("results") / f"{study['study']}.yaml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump(study), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "all_matrix", "--cores", str(cores), "--quiet", "all"]
    started = time.monotonic()
    subprocess.run([*command, "--configfile", str(config)], check=True)
    return time.monotonic() - started


def compare(plan: Plan) -> tuple[Estimator, dict[Step, Seen]]:
    """Every finished job beside its plain estimate."""
    estimator = Estimator(plan, devices.named(CPU))
    found = {step: calibration.from_records(estimator, [step]).seen for step in plan.steps()}
    return estimator, {step: seen[0] for step, seen in found.items() if seen}


def sample(seen: dict[Step, Seen], share: float, seed: int) -> Calibration:
    """The calibration by a share of the finished jobs."""
    return Calibration(random.Random(seed).sample(list(seen.values()), max(1, round(share * len(seen)))))


def by_phase(seen: dict[Step, Seen], learnt: Calibration) -> dict[str, dict[str, float]]:
    """Jobs, processor seconds, and seconds measured, estimated and calibrated: of each phase and of all."""
    phases: dict[str, dict[str, float]] = {}
    for step, one in seen.items():
        record = history.records(step.directory.parent)[0]
        calibrated = one.estimated * learnt.factor(one.phase, one.task)
        numbers = (1, float(record.get("cpu_seconds", 0.0)), one.measured, one.estimated, calibrated)
        for name in (one.phase, "all"):
            row = phases.setdefault(name, dict.fromkeys(("jobs", "cpu", "measured", "estimated", "calibrated"), 0.0))
            for key, number in zip(row, numbers, strict=True):
                row[key] += number
    return phases


def makespan(estimator: Estimator, learnt: Calibration, cores: int) -> float:
    """Seconds of the whole study by the simulator."""
    plan = estimator.plan
    costs = {step: learnt.corrected(step, estimator.cost(step, learnt.stop(step))) for step in plan.steps()}
    running = dict.fromkeys(plan.steps(), 0.0)
    return Budget(plan, estimator.device, running, costs, learnt, {}, cores).schedule(cores).makespan


def show(phases: dict[str, dict[str, float]], records: int, spans: dict[str, float]) -> None:
    """Print the table."""
    print(f"calibrated by {records} jobs\n{'phase':12} jobs      cpu measured estimated  error calibrated  error")
    for phase, row in phases.items():
        off, corrected = (row[key] / row["measured"] - 1 for key in ("estimated", "calibrated"))
        seconds = f"{row['cpu']:8.1f} {row['measured']:8.1f} {row['estimated']:9.1f}"
        print(f"{phase:12} {row['jobs']:4.0f} {seconds} {off:+6.0%} {row['calibrated']:10.1f} {corrected:+6.0%}")
    print("makespan: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spans.items()))


def main() -> None:
    """Measure what the command line names."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--configfile", type=Path, default=Path("config/mini.yaml"))
    arguments.add_argument(
        "--config", nargs="+", default=[], metavar="KEY=VALUE", help="changes, as Snakemake has them"
    )
    arguments.add_argument("--cores", type=int, default=2)
    arguments.add_argument("--share", type=float, default=0.1, help="share of the jobs that calibrate")
    arguments.add_argument("--seed", type=int, default=0, help="chooses them")
    arguments.add_argument("--calibrate-by", type=Path, help="config of a finished study, whose jobs calibrate instead")
    arguments.add_argument("--finished", type=Path, help="results that are there; nothing is run")
    given = arguments.parse_args()
    changes = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in given.config)}
    study = deep_merge(yaml.safe_load(given.configfile.read_text(encoding="utf-8")), changes)
    spans = {}
    if not given.finished:
        study |= {"study": f"budget-{study['study']}"}
        spans["run"] = run(study, given.cores)
    results = given.finished or Path("results")
    estimator, seen = compare(Plan(load(study), results))
    if given.calibrate_by:
        other = Plan(load(yaml.safe_load(given.calibrate_by.read_text(encoding="utf-8"))), results)
        learnt = Calibration(list(compare(other)[1].values()))
    else:
        learnt = sample(seen, given.share, given.seed)
    spans |= {
        "simulated": makespan(estimator, learnt, given.cores),
        "uncalibrated": makespan(estimator, Calibration([]), given.cores),
    }
    phases = by_phase(seen, learnt)
    show(phases, len(learnt.seen), spans)
    _RESULTS.mkdir(exist_ok=True)
    told = {
        "machine": platform.platform(),
        "cores": given.cores,
        "records": len(learnt.seen),
        "calibrated_by": str(given.calibrate_by or given.configfile),
        "seconds": phases,
        "makespan": spans,
    }
    files.write_json(_RESULTS / f"budget_accuracy-{study['study']}.json", told)


if __name__ == "__main__":
    main()
