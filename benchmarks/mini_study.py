"""Where the time of a finished study goes: by phase, start-up, and the share outside training and prediction.

    make demo; python benchmarks/mini_study.py [--study results/mini]

Read from what one run left: the jobs' records (seconds inside a job's function), Snakemake's benchmark files (seconds
from a job's shell to its end; the difference is start-up), and Snakemake's log (wall clock, cores). Only jobs that ran
within that log count. The share outside is one less the seconds inside training and prediction, times the threads that
they hold, over wall clock times cores. The result goes to benchmarks/results/mini_study-<study>.json.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import measured
from xstilts.files import RECORD

WORK = ("backbone", "intermediate", "finetune", "predict")
ROW = ("jobs", "inside", "held", "timed_jobs", "start_up")


class Run(NamedTuple):
    """One run of Snakemake, by its log."""

    began: datetime
    seconds: float
    cores: int

    def covers(self, record: dict[str, Any]) -> bool:
        """Did the job start in this run?"""
        return self.began <= moment(record) <= self.began + timedelta(seconds=self.seconds)


def moment(record: dict[str, Any]) -> datetime:
    """When a job started, whole seconds."""
    return datetime.strptime(record["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def run_of(log: Path) -> Run:
    """What a log says; times in it are local."""
    text = log.read_text(encoding="utf-8")
    found = [re.search(p, text) for p in (r"Date: (\S+ \S+)", r"Elapsed time: (?:(\d+) days?, )?(\d+):(\d+):([\d.]+)")]
    cores = re.search(r"Provided cores: (\d+)", text)
    if not (found[0] and found[1] and cores):
        raise SystemExit(f"{log}: not the log of a run that came to its end; name one with --log")
    days, hours, minutes, seconds = (float(x or 0) for x in found[1].groups())
    began = datetime.strptime(found[0][1], "%Y-%m-%d %H:%M:%S").astimezone(UTC)
    return Run(began, ((24 * days + hours) * 60 + minutes) * 60 + seconds, int(cores[1]))


def newest(study: Path) -> Path:
    """The last log of a run that made something of this study."""
    logs = sorted(Path(".snakemake/log").glob("*.log"), reverse=True)
    for log in logs:
        text = log.read_text(encoding="utf-8")
        if "Finished jobid" in text and (f"{study}/" in text or f"config/{study.name}.yaml" in text):
            return log
    raise SystemExit(f".snakemake/log: no log of a run of {study}; run the study here, or name its log with --log")


def jobs(study: Path, run: Run) -> Iterator[dict[str, Any]]:
    """Records of the run's jobs, each with its seconds from shell to end (None where no rule measures them)."""
    whole = {path.stem: path for path in (study / "benchmarks").rglob("*.jsonl")}
    for path in study.rglob(RECORD):
        record = json.loads(path.read_text(encoding="utf-8"))
        if run.covers(record):
            told = whole.get(record["digest"])
            lines = told.read_text(encoding="utf-8").splitlines() if told else []
            yield {**record, "whole": float(json.loads(lines[-1])["s"]) if lines else None}


def threads(record: dict[str, Any]) -> int:
    """Cores that a job computes on."""
    compute = record.get("compute") or {}
    return int(compute.get("threads", 1)) * int(compute.get("ranks", 1))


def by_phase(records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Jobs, seconds inside, and of the cores that they held, and start-up: of jobs whose whole seconds are known."""
    phases: dict[str, dict[str, float]] = {}
    for record in records:
        row = phases.setdefault(record["step"], dict.fromkeys(ROW, 0.0))
        row["jobs"] += 1
        row["inside"] += record["wall_seconds"]
        row["held"] += record["wall_seconds"] * threads(record)
        if record["whole"] is not None:
            row["timed_jobs"] += 1
            row["start_up"] += record["whole"] - record["wall_seconds"]
    return phases


def show(phases: dict[str, dict[str, float]], found: dict[str, float]) -> None:
    """Print the tables."""
    print(f"{'phase':14} jobs   inside  start-up  (s a job)")
    for phase, row in sorted(phases.items(), key=lambda item: -item[1]["inside"]):
        each = f"{row['start_up'] / row['timed_jobs']:8.2f}" if row["timed_jobs"] else "not timed"
        print(f"{phase:14} {row['jobs']:4.0f} {row['inside']:8.1f} {row['start_up']:9.1f}  {each}")
    print("\n".join(f"{name.replace('_', ' ')}: {value:.2f}" for name, value in found.items()))


def main() -> None:
    """Read, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("results/mini"), help="folder of a finished study")
    parser.add_argument("--log", type=Path, help="Snakemake's log of the run; default: the study's newest here")
    given = parser.parse_args()
    run = run_of(given.log or newest(given.study))
    records = list(jobs(given.study, run))
    if not records:
        raise SystemExit(f"{given.study}: no job of it started within the run of the log; name its log with --log")
    phases = by_phase(records)
    held = sum(row["held"] for phase, row in phases.items() if phase in WORK)
    found = {
        "wall_seconds": run.seconds,
        "cores": run.cores,
        "seconds_before_the_first_job": (min(map(moment, records)) - run.began).total_seconds(),
        "share_outside_training_and_prediction": 1 - held / (run.seconds * run.cores),
    }
    show(phases, found)
    measured.keep(f"mini_study-{given.study.name}", given, **found, phases=phases)


if __name__ == "__main__":
    main()
