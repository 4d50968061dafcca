"""Kills a study on a real SLURM at random moments, and compares what comes out with an undisturbed run.

    python -m tests.slurm.campaign [--kills 14] [--seed 1]

Needs root and tests/slurm/unpack.sh; a kill takes about a minute. Prints a row for each; 1 if a result differs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.slurm import cluster as slurm
from tests.slurm.cluster import Cluster
from tests.slurm.study import SlurmStudy, results, study, wait_for
from tests.workspace import Workspace

RULES = ("intermediate", "finetune")
_UNDISTURBED = ("world", "data", "backbone")
_LONGEST_WAIT = 15.0  # seconds from a job's start to its kill, at most


@dataclass(frozen=True)
class Victim:
    """A running training: its study, its SLURM job and the node that it runs on."""

    study: SlurmStudy
    process: subprocess.Popen[str]
    job: str
    node: str

    @property
    def cluster(self) -> Cluster:
        return self.study.cluster

    def processes(self, sort: str) -> list[int]:
        """Process ids of its `launch`er, or of its ranks (`scripts/`)."""
        return [pid for pid, line in _processes(self.study.directory, self.job) if sort in line]


def _processes(directory: Path, job: str) -> Iterator[tuple[int, str]]:
    """Processes of a SLURM job in a directory that run a training, with their command lines."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            own = f"SLURM_JOB_ID={job}".encode() in (entry / "environ").read_bytes().split(b"\0")
            python = Path(line.split(" ")[0]).name.startswith("python")
            if own and python and (entry / "cwd").resolve() == directory and "workflow/scripts" in line:
                yield int(entry.name), "launch" if "training.launch" in line else "scripts/"


def cancel(victim: Victim) -> None:
    victim.cluster.call("scancel", victim.job)


def kill_rank(victim: Victim) -> None:
    os.kill(random.choice(victim.processes("scripts/")), signal.SIGKILL)


def kill_launcher(victim: Victim) -> None:
    os.kill(victim.processes("launch")[0], signal.SIGKILL)


def kill_slurmd(victim: Victim) -> None:
    """The node's daemon dies, its jobs' processes live on; SLURM notices, requeues, and the daemon is started again."""
    victim.cluster.kill_node(victim.node)
    wait_for("a node that is down", lambda: "down" in " ".join(victim.cluster.states()), victim.process)
    victim.cluster.start_node(victim.node)


def set_node_down(victim: Victim) -> None:
    for state in ("down", "resume"):
        victim.cluster.call("scontrol", "update", f"nodename={victim.node}", f"state={state}", "reason=campaign")


def kill_snakemake(victim: Victim) -> None:
    """Its SLURM jobs run on, and meet those of the next Snakemake."""
    os.killpg(victim.process.pid, signal.SIGKILL)
    victim.process.wait()


def reach_time_limit(victim: Victim) -> None:
    """Stand still until the limit of a minute is over."""
    for pid in victim.processes("scripts/"):
        os.kill(pid, signal.SIGSTOP)
    state = lambda: victim.cluster.call("sacct", "-X", "-n", "-j", victim.job, "-o", "state").strip()  # noqa: E731
    wait_for("a job over its time", lambda: state() == "TIMEOUT", victim.process)


KINDS: dict[str, Callable[[Victim], None]] = {
    "scancel": cancel,
    "rank killed": kill_rank,
    "launcher killed": kill_launcher,
    "slurmd killed": kill_slurmd,
    "node set down": set_node_down,
    "Snakemake killed": kill_snakemake,
    "time limit": reach_time_limit,
}


class Campaign:
    """Kills until there are enough, over as many rounds of the study as that takes."""

    def __init__(self, cluster: Cluster, base: Path, kills: int) -> None:
        self.cluster, self.base, self.left = cluster, base, kills
        self._kinds = itertools.cycle(KINDS)
        self._rules = itertools.cycle(RULES)
        # Only trainings have the limit of a minute: what is killed must be able to resume.
        limits = {rule: {"mem_mb": 2000, "runtime": 1} for rule in RULES}
        self.config = study(compute={"resources": limits}, recipes={"small": {"defaults": {"steps": 200}}})
        self.reference = Workspace(_fresh(base / "reference"), self.config)

    def run(self) -> bool:
        """Do it all; True if every result is the undisturbed one."""
        self.reference.run("all_matrix", "--until", "tabulate")
        expected, same = results(self.reference), True
        for number in itertools.count(1):
            if self.left <= 0:
                return same
            workspace = self._round(number)
            differing = [path for path, value in expected.items() if results(workspace).get(path) != value]
            print(f"round {number}: {len(expected) - len(differing)} of {len(expected)} results identical", flush=True)
            same &= not differing
        return same

    def _round(self, number: int) -> SlurmStudy:
        """One run of the study, killed and started again until it ends well."""
        workspace = SlurmStudy(_fresh(self.base / f"round-{number}"), self.cluster, self.config)
        for folder in _UNDISTURBED:
            shutil.copytree(self.reference.results / folder, workspace.results / folder)
        process = workspace.submit("all_matrix", "--until", "tabulate")
        while process.poll() is None or process.returncode != 0:
            if process.poll() is not None:
                workspace.run("--unlock")
                process = workspace.submit("all_matrix", "--until", "tabulate")
            elif self.left > 0 and (victim := self._victim(workspace, process)):
                self._kill(victim)
            time.sleep(0.5)
        return workspace

    def _victim(self, workspace: SlurmStudy, process: subprocess.Popen[str]) -> Victim | None:
        """A training of the rule whose turn it is, a random while after it began to compute."""
        rule = next(self._rules)
        job = workspace.slurm_job(f"rule_{rule}")
        node = self.cluster.call("squeue", "-h", "-t", "RUNNING", "-j", job, "-o", "%N").strip() if job else ""
        victim = Victim(workspace, process, job, node)
        if not node or not victim.processes("scripts/"):
            return None
        time.sleep(random.uniform(0, _LONGEST_WAIT))
        return victim if len(victim.processes("scripts/")) > 1 else None

    def _kill(self, victim: Victim) -> None:
        kind = next(self._kinds)
        command = self.cluster.call("squeue", "-h", "-j", victim.job, "-o", "%k").strip()
        steps = [int(path.name.split("-")[1]) for path in victim.study.results.glob("work/*/*/state-*")]
        try:
            KINDS[kind](victim)
        except (OSError, IndexError):  # it ended by itself meanwhile
            return
        self.left -= 1
        name = command.removeprefix("rule_").split("_wildcards_")[0]
        print(f"{kind:17} {name:13} job {victim.job:4} newest states at steps {steps or '-'}", flush=True)


def _fresh(directory: Path) -> Path:
    directory.mkdir()
    return directory


def main() -> int:
    """Run the campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    with slurm.running() as cluster, tempfile.TemporaryDirectory(prefix="campaign-") as base:
        return 0 if Campaign(cluster, Path(base).resolve(), options.kills).run() else 1


if __name__ == "__main__":
    raise SystemExit(main())
