"""A directory in which tests run the workflow as a user would: the repository's files, results of their own."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from xstilts.config import deep_merge

ROOT = Path(__file__).parents[1]
_PARTS = ("Snakefile", "workflow", "envs", "src", "config")

SMALL: dict[str, Any] = {
    "study": "small",
    "data": {
        "world": {"seed": 0, "sizes": {"dev": 60, "test": 60, "tatoeba": 60, "bucc_pairs": 40, "bucc_distractors": 40}}
    },
    "recipe": "small",
    "recipes": {
        "small": {
            "defaults": {
                "learning_rate": 1.0e-3,
                "batch": 16,
                "steps": 12,
                "max_length": 64,
                "doc_stride": 16,
                "max_query_length": 24,
                "max_answer_length": 8,
                "selection": {"checkpoint": "last"},
            },
            "intermediate": {"mnli": {}, "ccg": {}},
            "finetune": {name: {} for name in ("mnli", "pawsx", "udpos", "panx", "squad_v1", "tydiqa")},
            "retrieval": {"max_length": 64},
        }
    },
    "backbones": {
        "mini": {
            "pooling": "mean",
            "retrieval_layer": 1,
            "train": {"languages": ["en", "qaa"], "parallel": "pretrain/parallel.en-{lang}.tsv", "steps": 40},
        }
    },
    "intermediates": {"none": {"tasks": []}, "mnli": {"tasks": ["mnli"]}},
    "targets": {
        **{name: {"languages": ["en", "qaa"]} for name in ("xnli", "pawsx", "udpos", "xquad", "mlqa", "tydiqa")},
        **{name: {"languages": ["qaa"]} for name in ("bucc2018", "tatoeba")},
    },
    "seeds": {"intermediate": [1]},
    "compute": {"device": "cpu", "precision": "fp32", "threads": 1, "warm": True, "micro_batch": None},
}
"""A study of two rows and seven columns whose trainings are only long enough to run."""


class Workspace:
    """One working directory with one config.

    Args:
        directory: an existing directory.
        config: the study's config, as a mapping.
    """

    def __init__(self, directory: Path, config: dict[str, Any] = SMALL) -> None:
        self.directory = directory
        for part in _PARTS:
            if not (directory / part).exists():
                (directory / part).symlink_to(ROOT / part)
        self.configure(config)

    def configure(self, config: dict[str, Any], **changes: Any) -> None:
        """Write the config file, with changes laid over it."""
        self.config = deep_merge(config, changes)
        (self.directory / "study.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")

    @property
    def results(self) -> Path:
        """The study's results."""
        return self.directory / "results" / str(self.config["study"])

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        """The Snakemake command line of these arguments (targets first)."""
        module = [sys.executable, "-m", "snakemake", *arguments]
        return [*module, "--configfile", "study.yaml", "--cores", str(cores)]

    def run(self, *arguments: str, cores: int = 2, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; both streams together are in `stdout`."""
        done = subprocess.run(
            self.command(*arguments, cores=cores),
            cwd=self.directory,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout[-6000:]
        return done

    def start(self, *arguments: str, cores: int = 2) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments, cores=cores),
            cwd=self.directory,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            # A shell that runs the tests in the background has them ignore SIGINT, which children inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.directory / "src")}

    def planned(self, target: str = "all_matrix", *options: str) -> dict[str, int]:
        """Rule: number of jobs that a dry run would run."""
        text = self.run(target, *options, "--dry-run", "--quiet", "rules").stdout
        jobs = re.findall(r"^(\w+) +(\d+)$", text.split("Job stats:")[-1], flags=re.M) if "Job stats:" in text else []
        return {rule: int(count) for rule, count in jobs if rule not in ("total", "all_matrix")}

    def cells(self) -> list[dict[str, str]]:
        """The rows of cells.csv."""
        with (self.results / "tables" / "cells.csv").open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))

    def cells_text(self) -> str:
        """cells.csv as it stands."""
        return (self.results / "tables" / "cells.csv").read_text(encoding="utf-8")


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Signal a whole process group and wait for its leader."""
    os.killpg(process.pid, number)
    process.wait()


def wait_for(
    what: str, reached: Callable[[], Any], process: subprocess.Popen[str] | None = None, seconds: float = 900
) -> Any:
    """What `reached` gives as soon as it gives something, while the process lives."""
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert process is None or process.poll() is None, f"Snakemake ended before {what}"
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s"
        time.sleep(0.05)
    return found
