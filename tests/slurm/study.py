"""A small study whose trainings run on two CPU ranks under ZeRO, run locally and through `--profile slurm`."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.slurm.cluster import Cluster
from tests.workspace import ROOT, SMALL, Workspace

from xstilts.config import deep_merge

TOO_LITTLE = 850  # MiB: a training of two ranks takes 1,100
_ENOUGH = {"mem_mb": 2000, "runtime": 10}
_PHASES = ("prepare", "backbone", "tokenize", "intermediate", "finetune", "predict", "score", "tabulate")
# Only how soon Snakemake looks differs from a real cluster.
_SOON = {"latency-wait": 10, "slurm-init-seconds-before-status-checks": 2, "seconds-between-status-checks": 2}


def study(**changes: Any) -> dict[str, Any]:
    """The study's config: two rows and a column, three trainings."""
    own: dict[str, Any] = {
        "recipes": {"small": {"defaults": {"steps": 60}}},
        "compute": {
            "ranks": 2,
            "micro_batch": 4,
            "deepspeed": {"zero_stage": 2},
            "state_minutes": 0,
            "resources": dict.fromkeys(_PHASES, _ENOUGH),
        },
    }
    config = deep_merge(copy.deepcopy(SMALL), own)
    config["targets"] = {"pawsx": {"languages": ["en", "qaa"]}}
    return deep_merge(config, changes)


class SlurmStudy(Workspace):
    """The study in a directory of its own, run as the README says."""

    def __init__(self, directory: Path, cluster: Cluster, config: dict[str, Any]) -> None:
        super().__init__(directory, config)
        self.cluster = cluster
        (directory / "slurm").symlink_to(ROOT / "profiles" / "slurm")
        (directory / "site.yaml").write_text("all: {slurm_account: lab}\n", encoding="utf-8")
        self.output = directory / "snakemake.log"

    def slurm_command(self, *arguments: str) -> list[str]:
        """The command line that the README gives, but for how soon Snakemake looks."""
        soon = [text for name, value in _SOON.items() for text in (f"--{name}", str(value))]
        profile = [sys.executable, "-m", "snakemake", "--profile", "slurm"]
        return [*profile, *arguments, "--configfile", "study.yaml", *soon]

    def submit(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `snakemake --profile slurm` in a process group of its own; its output goes to a file."""
        with self.output.open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                self.slurm_command(*arguments),
                cwd=self.directory,
                env={**self.cluster.environment, "PYTHONPATH": str(ROOT / "src")},
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def processes(self, job: str) -> tuple[list[int], list[int]]:
        """Launchers and ranks of a training in a SLURM job."""
        launchers, ranks = [], []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode().split("\0")
                own = f"SLURM_JOB_ID={job}".encode() in (entry / "environ").read_bytes().split(b"\0")
                if own and "python" in Path(line[0]).name and any("workflow/scripts" in part for part in line):
                    (launchers if "xstilts.training.launch" in line else ranks).append(int(entry.name))
        return launchers, ranks

    def slurm_job(self, rule: str) -> str:
        """The newest SLURM job of a rule that is queued or running; empty if there is none."""
        lines = self.cluster.call("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%A %k").splitlines()
        return max((line.split()[0] for line in lines if rule in line), key=int, default="")

    def job_with_state(self, rule: str) -> str:
        """The SLURM job of a training that has saved a state; empty if there is none."""
        states = list(self.results.glob(f"work/{rule}/*/state-*/complete.json"))
        return self.slurm_job(f"rule_{rule}") if states else ""

    def jobs(self, rule: str, *fields: str) -> list[dict[str, str]]:
        """What sacct knows of a rule's jobs in this directory, in the order of their submission."""
        found = self.cluster.jobs("Comment", "WorkDir", *fields)
        return [j for j in found if j["WorkDir"] == str(self.directory) and f"rule_{rule}" in j["Comment"]]

    def told(self) -> str:
        """What the user's terminal shows."""
        return self.output.read_text(encoding="utf-8")


def results(workspace: Workspace) -> dict[str, str]:
    """Digest of every table, prediction and checkpoint by its path."""
    names = ("tables/cells.csv", "tables/matrix.csv", "predictions/**/*.parquet", "*/mini/**/*.safetensors")
    files = [path for name in names for path in workspace.results.glob(name)]
    return {str(path.relative_to(workspace.results)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
