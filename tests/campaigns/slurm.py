"""The campaign of kills through `snakemake --profile slurm` on a real SLURM, with what kills jobs there.

    python -m tests.campaigns.slurm [--kills 14] [--seed 0] [--directory DIR]

Needs root and tests/slurm/unpack.sh.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.campaigns.kills import CONFIG, Campaign, Running, kill_launcher, kill_rank, kill_study, run
from tests.slurm.cluster import Cluster, running
from tests.slurm.study import SlurmStudy
from tests.workspace import wait_for

from xstilts.config import deep_merge

_LIMIT = {"mem_mb": 2000, "runtime": 3}


@dataclass(kw_only=True)
class OnSlurm(Running):
    """A training in a SLURM job."""

    cluster: Cluster
    job: str

    @property
    def node(self) -> str:
        return self.cluster.call("squeue", "-h", "-j", self.job, "-o", "%N").strip()


def cancel(training: OnSlurm) -> None:
    """scancel of the whole job."""
    training.cluster.call("scancel", training.job)


def cancel_hard(training: OnSlurm) -> None:
    """Every process of the job at once, as an impatient site does."""
    training.cluster.call("scancel", "--signal=KILL", "--full", training.job)


def kill_slurmd(training: OnSlurm) -> None:
    """The node's daemon; its jobs' processes live on. SLURM requeues the job; the daemon is started again."""
    node = training.node
    training.cluster.kill_node(node)
    wait_for("a node that is down", lambda: "down" in " ".join(training.cluster.states()))
    training.cluster.start_node(node)


def set_node_down(training: OnSlurm) -> None:
    """The node is set down, and returns by itself."""
    training.cluster.lose_node(training.job)


def reach_time_limit(training: OnSlurm) -> None:
    """The job stands still until its time is over."""
    for rank in training.ranks:
        os.kill(rank, signal.SIGSTOP)
    command = ("sacct", "-X", "-n", "-j", training.job, "-o", "state")
    wait_for("a job over its time", lambda: training.cluster.call(*command).strip() == "TIMEOUT")


class SlurmCampaign(Campaign):
    """The study of a campaign, each training in a SLURM job."""

    KINDS: ClassVar[dict[str, Callable[[Any], None]]] = {
        "scancel": cancel,
        "slurmd": kill_slurmd,
        "node down": set_node_down,
        "Snakemake": kill_study,
        "time limit": reach_time_limit,
        "scancel KILL": cancel_hard,
        "launcher": kill_launcher,
        "worker": kill_rank,
    }

    def __init__(self, directory: Path, cluster: Cluster) -> None:
        limits = {"compute": {"resources": {"intermediate": _LIMIT, "finetune": _LIMIT}}}
        self.workspace = self.study = SlurmStudy(directory, cluster, deep_merge(CONFIG, limits))

    def command(self, target: Path) -> list[str]:
        """How the study is run up to a file."""
        return self.study.slurm_command(str(target.relative_to(self.study.directory)))

    def training(self, study: subprocess.Popen[str]) -> OnSlurm:
        """The training, once a SLURM job runs its ranks."""

        def found() -> OnSlurm | None:
            job = self.study.slurm_job("rule_")
            launchers, ranks = self.study.processes(job) if job else ([], [])
            enough = len(ranks) >= CONFIG["compute"]["ranks"]
            return OnSlurm(study, launchers[0], ranks, cluster=self.study.cluster, job=job) if enough else None

        return wait_for("a training", found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="kill SLURM jobs at random moments and compare their results")
    parser.add_argument("--kills", type=int, default=2 * len(SlurmCampaign.KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="an empty directory (default: a temporary one)")
    given = parser.parse_args()
    with running() as cluster, tempfile.TemporaryDirectory() as temporary:
        os.environ.update(cluster.environment)
        directory = (given.directory or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        print("training | kill | after | last saved step | went on from | attempts | same")
        sys.exit(not run(SlurmCampaign(directory, cluster), given.kills, given.seed))


if __name__ == "__main__":
    main()
