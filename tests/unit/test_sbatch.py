"""What the jobs of every rule ask SLURM for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.dryruns import DryRuns
from tests.workspace import ROOT, SMALL, Workspace

PROFILE = ROOT / "profiles" / "slurm" / "profile.yaml"
LOCAL = {"all_matrix", "preflight", "tabulate", "figures"}
RESOURCES = {
    "prepare": {"mem_mb": 1000, "runtime": 10},
    "backbone": {"mem_mb": 2000, "runtime": 20},
    "tokenize": {"mem_mb": 2500, "runtime": 25},
    "intermediate": {"mem_mb": 3000, "runtime": 30},
    "finetune": {"mem_mb": 4000, "runtime": 40},
    "predict": {"mem_mb": 5000, "runtime": 50},
    "score": {"mem_mb": 6000, "runtime": 60},
    "tabulate": {"mem_mb": 7000, "runtime": 70},
}


class Lines:
    """The options of sbatch for the small study, on other sites and devices."""

    def __init__(self, directory: Path, runs: DryRuns) -> None:
        self._directory, self._runs = directory, runs

    def __call__(self, attempt: int, site: str = "", config: dict[str, Any] = SMALL, **compute: Any) -> dict[str, str]:
        """Rule: options, those of predictions and of datasets once."""
        workspace = Workspace(self._directory)
        workspace.configure(config, compute={"resources": RESOURCES, "threads": 4, **compute})
        (self._directory / "site.yaml").write_text(site, encoding="utf-8")
        found = self._runs.sbatch(self._directory, attempt)
        merged = {
            rule.split("_")[0] if rule.startswith(("predict_", "prepare_")) else rule: line
            for rule, line in found.items()
        }
        return {rule: line for rule, line in merged.items() if rule not in LOCAL}


@pytest.fixture
def lines(tmp_path: Path, dry_runs: DryRuns) -> Lines:
    return Lines(tmp_path, dry_runs)


def asked(partition: str, minutes: int, mib: int, cpus: str, gpus: str = "") -> str:
    return f"-A lab -p {partition} -t {minutes} --mem {mib} --nodes=1 --requeue {cpus}{gpus}"


def test_every_rule_asks_for_gpus_by_rank_on_one_node_and_for_memory_and_time(lines: Lines) -> None:
    site = "all: {slurm_account: lab}\ngpu: {slurm_partition: big}\ncpu: {slurm_partition: small}"
    one, two, alone = (f"--ntasks=1 --cpus-per-task={cpus}" for cpus in (1, 2, 4))
    training = "--cpus-per-task=16"
    assert lines(1, site, device="cuda", ranks=4) == {
        "world": asked("small", 10, 1000, two),
        "prepare": asked("small", 10, 1000, one),
        "backbone": asked("small", 20, 2000, alone),
        "tokenize": asked("small", 25, 2500, alone),
        "intermediate": asked("big", 30, 3000, training, " --gpus=4"),
        "finetune": asked("big", 40, 4000, training, " --gpus=4"),
        "predict": asked("big", 50, 5000, "--cpus-per-task=4", " --gpus=1"),
        "score": asked("small", 60, 6000, one),
        "overlap": asked("small", 70, 7000, one),
    }


def test_a_backbone_may_have_threads_of_its_own(lines: Lines) -> None:
    train = {**SMALL["backbones"]["mini"]["train"], "threads": 3}
    config = {**SMALL, "backbones": {"mini": {**SMALL["backbones"]["mini"], "train": train}}}
    assert "--cpus-per-task=3" in lines(1, config=config)["backbone"]


def test_a_retry_asks_for_more_memory_and_more_time_unless_it_resumes(lines: Lines) -> None:
    found = lines(2, device="cuda")
    assert {rule: line.split(" --nodes")[0].split("-t ")[1] for rule, line in found.items()} == {
        "world": "20 --mem 1500",
        "prepare": "20 --mem 1500",
        "backbone": "20 --mem 3000",
        "tokenize": "50 --mem 3750",
        "intermediate": "30 --mem 4500",
        "finetune": "40 --mem 6000",
        "predict": "100 --mem 7500",
        "score": "120 --mem 9000",
        "overlap": "140 --mem 10500",
    }


@pytest.mark.parametrize(
    ("site", "options"),
    [
        ("gpu: {gres: 'gpu:a100'}", "--cpus-per-task=8 --gres=gpu:a100:2"),
        *(
            pytest.param(site, options, marks=pytest.mark.slow)
            for site, options in {
                "gpu: {gpu_model: a100}": "--cpus-per-task=8 --gpus=a100:2",
                "gpu: {constraint: 'a100|h100', qos: long}": "-C 'a100|h100' --qos=long --mem 3000 --nodes=1",
                "gpu: {slurm_extra: '--exclude=n7'}": "--cpus-per-task=8 --exclude=n7 --gpus=2",
            }.items()
        ),
    ],
)
def test_gpus_as_the_site_wants_them(lines: Lines, site: str, options: str) -> None:
    line = lines(1, site, device="cuda", ranks=2)["intermediate"]
    assert options in line
    assert line.count("--g") == 1
    assert "tasks=" not in line.replace("cpus-per-task", "")


def test_a_study_on_cpus_asks_for_no_gpu(lines: Lines) -> None:
    assert not [line for line in lines(1, ranks=2).values() if "--g" in line]


def test_only_one_of_slurm_and_snakemake_runs_a_job_again() -> None:
    """SLURM alone what lost its node or was preempted; Snakemake alone the rest, which the plugin reports as failed."""
    profile = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    assert profile["slurm-requeue"] is True
    assert profile["retries"] > 0
    assert "slurm-array-jobs" not in profile
    assert "default-resources" not in profile


def part(shown: str, rule: str) -> str:
    """The first job of a rule in a dry run."""
    return next(text for text in shown.split("\nrule ") if text.startswith(rule))


def test_the_profile_is_found_by_its_name_and_the_command_line_wins(tmp_path: Path, dry_runs: DryRuns) -> None:
    Workspace(tmp_path).configure(SMALL, compute={"device": "cuda", "ranks": 4})
    (tmp_path / "slurm").symlink_to(PROFILE.parent)
    (tmp_path / "site.yaml").write_text("all: {slurm_account: lab, qos: normal}", encoding="utf-8")
    profile = ("--profile", "slurm", "--default-resources", "slurm_account=mine")
    code, shown = dry_runs.run(tmp_path, "all_matrix", "-p", *profile)
    assert code == 0, shown
    assert "slurm_account=mine" in part(shown, "finetune")
    assert "qos=normal" in part(shown, "finetune")
    lease, launch = "-m xstilts.lease 4 ", "-m xstilts.training.launch 4 workflow/scripts/finetune.py"
    assert part(shown, "finetune").index(lease) < part(shown, "finetune").index(launch)
    assert "-m xstilts.lease 1 " in part(shown, "predict_")
    first = [_priority(shown, rule) for rule in ("backbone", "intermediate", "finetune", "predict_", "score")]
    assert first == sorted(first, reverse=True)
    assert len(set(first)) == len(first)


@pytest.mark.slow
def test_beside_a_site_s_profile_of_the_same_name_ours_wins_key_by_key(tmp_path: Path) -> None:
    Workspace(tmp_path)
    theirs = tmp_path / "home" / "snakemake" / "slurm"
    theirs.mkdir(parents=True)
    profile = {"executor": "local", "default-resources": ["slurm_partition=theirs"]}
    (theirs / "config.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    profiles = ("--profile", "slurm", "--workflow-profile", str(PROFILE.parent))
    command = [sys.executable, "-m", "snakemake", "-n", "all_matrix", "--configfile", "study.yaml", *profiles]
    own = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CONFIG_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "slurm_partition=theirs" in part(done.stdout, "finetune")
    assert "mem_mb=64000" in part(done.stdout, "finetune")  # the rule's own


def _priority(shown: str, rule: str) -> int:
    """The highest priority of a rule's jobs."""
    texts = [text for text in shown.split("\nrule ") if text.startswith(rule)]
    return max(int(found[1]) if (found := re.search(r"priority: (\d+)", text)) else 0 for text in texts)
