"""Dry runs by the hundred: one process loads Snakemake, and each dry run is a fork of it that imports xstilts afresh.

As a script it is that process: it reads one JSON request a line and answers with the exit code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_PRELOADED = ("snakemake.cli", "snakemake.workflow", "snakemake.dag", "snakemake.scheduling.job_scheduler", "pyarrow")


class DryRuns:
    """The process, as tests see it; to be closed.

    Args:
        hash_seed: of the process's dictionaries and sets of texts.
    """

    def __init__(self, hash_seed: str = "random") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, directory: Path, *targets: str) -> tuple[int, str]:
        """Exit code and all output of a dry run in a directory that holds `study.yaml`."""
        output = directory / "dry-run.txt"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(directory), targets or ("all_matrix",), str(output)]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code, output.read_text(encoding="utf-8")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _serve() -> None:
    for name in _PRELOADED:
        __import__(name)
    for line in sys.stdin:
        directory, targets, output = json.loads(line)
        child = os.fork()
        if child == 0:
            _dry_run(directory, targets, output)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _dry_run(directory: str, targets: list[str], output: str) -> None:
    """What `snakemake --dry-run` does, in this process, and then the store's answer; never returns.

    The Snakefile reads the command line too.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(directory)
    sys.path[:] = [f"{directory}/src", *(place for place in sys.path if not place.endswith("/src"))]
    code: Any = 1
    try:
        from snakemake.cli import main

        arguments = [*targets, "--dry-run", "--configfile", "study.yaml", "--cores", "1"]
        sys.argv[1:] = arguments
        main(arguments)
    except SystemExit as end:
        code = end.code
        if code == 0:
            _print_stored("all" if "all" in targets else "matrix")
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def _print_stored(scope: Any) -> None:
    """Name the prediction tables that a job would find in its store: those it links and does not compute."""
    from xstilts.command import plan_of

    for step in plan_of(Path("study.yaml"), scope=scope).steps():
        if step.phase == "predict":
            for part in step.payload["parts"]:
                if Path(step.payload["store"], f"{part['digest']}.parquet").exists():
                    print("stored:", f"{step.directory}/{part['task']}/{part['language']}.parquet")


if __name__ == "__main__":
    _serve()
