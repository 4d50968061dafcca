"""Kills a two-rank ZeRO-2 study at random moments, runs it again, and compares every result with an undisturbed run's.

    python -m tests.campaigns.kills [--kills 20] [--seed 0] [--directory DIR]

Prints a table: which training was killed, how, when, at which step it went on, and whether the result is the same to
the bit. Exits with 1 if one is not. Another way to run the study (a cluster), and other ways to kill it, are a subclass
of `Campaign` with a `command` and `KINDS` of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tests.workspace import SMALL, Workspace

_COMPARED = ("model.safetensors", "head.safetensors", "log.jsonl")
_BEST = {"checkpoint": "best", "every_steps": 20, "patience": None, "examples": 40}
_PATIENCE = 300.0
_BEGUN = 0.8  # share of kills after the first step; the others hit imports and loading, too

CONFIG: dict[str, Any] = {
    **SMALL,
    "study": "kills",
    "intermediates": {"mnli": {"tasks": ["mnli"]}},
    "targets": {"pawsx": {"languages": ["en", "qaa"]}},
    "recipes": {
        "small": {
            **SMALL["recipes"]["small"],
            "defaults": {**SMALL["recipes"]["small"]["defaults"], "steps": 100, "selection": _BEST},
        }
    },
    "compute": {
        **SMALL["compute"],
        "warm": False,
        "ranks": 2,
        "micro_batch": 4,
        "deepspeed": {"zero_stage": 2},
        "state_minutes": 0.01,
    },
}


@dataclass
class Running:
    """A started study, and the training that it is in."""

    study: subprocess.Popen[str]
    launcher: int
    ranks: list[int] = field(default_factory=list)


def kill_rank(running: Running) -> None:
    """One worker."""
    os.kill(running.ranks[-1], signal.SIGKILL)


def kill_launcher(running: Running) -> None:
    """torchrun, which takes its ranks with it."""
    os.kill(running.launcher, signal.SIGKILL)


def kill_job(running: Running) -> None:
    """Every process of the job."""
    for process in (running.launcher, *running.ranks):
        os.kill(process, signal.SIGKILL)


def terminate_job(running: Running) -> None:
    """SIGTERM, as at a time limit or a preemption."""
    os.kill(running.launcher, signal.SIGTERM)


def kill_study(running: Running) -> None:
    """Snakemake itself; the job is left an orphan."""
    running.study.kill()


class Campaign:
    """The study of a campaign in a directory."""

    KINDS: ClassVar[dict[str, Callable[[Running], None]]] = {
        "worker": kill_rank,
        "launcher": kill_launcher,
        "whole job": kill_job,
        "SIGTERM": terminate_job,
        "Snakemake": kill_study,
    }

    LEAVE_LOCKED = ("Snakemake",)

    def __init__(self, directory: Path) -> None:
        self.workspace = Workspace(directory, CONFIG)

    def command(self, target: Path) -> list[str]:
        """How the study is run up to a file."""
        return self.workspace.command(str(target.relative_to(self.workspace.directory)))

    def undisturbed(self) -> dict[str, Path]:
        """Run it; returns the directory of each training."""
        self.workspace.run("all_matrix", "--until", "finetune")
        found = {
            phase: list(self.workspace.results.glob(f"{phase}/**/record.json"))
            for phase in ("intermediate", "finetune")
        }
        return {phase: record.parent for phase, (record,) in found.items()}

    def start(self, made: Path) -> subprocess.Popen[str]:
        """Start it up to a training's record, in a process group of its own."""
        with (self.workspace.directory / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                self.command(made / "record.json"),
                cwd=self.workspace.directory,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def training(self, study: subprocess.Popen[str]) -> Running:
        """The study, once its training's ranks run."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for launcher in _descendants(study.pid):
                ranks = list(_children(launcher))
                if "xstilts.training.launch" in _command_line(launcher) and len(ranks) >= CONFIG["compute"]["ranks"]:
                    return Running(study, launcher, ranks)
            time.sleep(0.05)
        raise TimeoutError("no training started")

    def finish(self, made: Path) -> None:
        """Run the study again; an orphan that is still saving may cost it a turn."""
        for _ in range(3):
            if self.start(made).wait() == 0:
                return
            self.workspace.run("all_matrix", "--unlock")
        raise RuntimeError(f"the study does not end, see {self.workspace.directory}/snakemake.log")

    def _wait_for_training(self, made: Path, running: Running) -> None:
        """Wait until data and model are loaded."""
        begun = self.workspace.results / "work" / made.relative_to(self.workspace.results).parts[0] / made.name
        while not (begun / "attempts.json").exists() and running.study.poll() is None:
            time.sleep(0.05)

    def kill(self, made: Path, kind: str, moment: float, begun: bool) -> dict[str, Any]:
        """Make a training again, kill it, finish it; returns a row of the table.

        Args:
            moment: seconds to wait from the start of its ranks or, with `begun`, of its first step.
        """
        wanted = _digests(made)
        shutil.rmtree(made)
        running = self.training(self.start(made))
        if begun:
            self._wait_for_training(made, running)
        time.sleep(moment)
        with_state = _newest(self.workspace.results, made.name)
        ended = running.study.poll() is not None or (made / "record.json").exists()
        if not ended:
            self.KINDS[kind](running)
        running.study.wait()
        if kind in self.LEAVE_LOCKED:
            self.workspace.run("all_matrix", "--unlock")
        self.finish(made)
        attempts = _record(made)["attempts"]
        return {
            "kill": "came too late" if ended else kind,
            "after": f"{moment:.1f} s of {'training' if begun else 'its start'}",
            "saved": "-" if with_state is None else with_state,
            "went on from": attempts[-1]["from_step"],
            "attempts": len(attempts),
            "same": _digests(made) == wanted,
        }


def _record(made: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((made / "record.json").read_text(encoding="utf-8"))
    return told


def _digests(made: Path) -> dict[str, Any]:
    """What must not differ."""
    told = _record(made)
    contents = {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in _COMPARED}
    return {**contents, **{key: told[key] for key in ("steps", "tokens", "selected_step", "dev")}}


def _newest(results: Path, digest: str) -> int | None:
    """The last step that was saved."""
    return max((int(path.name.split("-")[1]) for path in results.glob(f"work/*/{digest}/state-*")), default=None)


def _children(process: int) -> Iterator[int]:
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            yield from map(int, task.read_text().split())
        except OSError:
            continue


def _descendants(process: int) -> Iterator[int]:
    for child in _children(process):
        yield child
        yield from _descendants(child)


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def run(campaign: Campaign, kills: int, seed: int) -> bool:
    """Kill so often, each kind of each training in turn; returns whether every result was the same."""
    made = campaign.undisturbed()
    seconds = {phase: _record(folder)["wall_seconds"] for phase, folder in made.items()}
    chance = random.Random(seed)
    cases = [(phase, kind) for kind in campaign.KINDS for phase in made]
    rows = []
    for number in range(kills):
        phase, kind = cases[number % len(cases)]
        begun = chance.random() < _BEGUN
        moment = chance.uniform(0, (0.8 if begun else 1.0) * seconds[phase])
        rows.append({"training": phase, **campaign.kill(made[phase], kind, moment, begun)})
        print(" | ".join(str(value) for value in rows[-1].values()), flush=True)
    same = sum(row["same"] for row in rows)
    print(f"{same} of {len(rows)} results are the same as the undisturbed run's")
    return same == len(rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="kill trainings at random moments and compare their results")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="an empty directory (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = given.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        print("training | kill | after | last saved step | went on from | attempts | same")
        sys.exit(not run(Campaign(directory), given.kills, given.seed))


if __name__ == "__main__":
    main()
