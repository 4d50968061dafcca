"""Dry runs by the hundred: one process loads Snakemake, and each dry run is a fork of it that imports xstilts afresh.

As a script it is that process: it reads one JSON request a line and answers with the exit code. Likewise for the
options that SLURM's plugin would give to sbatch (tests/sbatch.py).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_PRELOADED = (
    "snakemake.cli",
    "snakemake.workflow",
    "snakemake.dag",
    "snakemake.scheduling.job_scheduler",
    "snakemake_executor_plugin_slurm",
    "pyarrow",
)


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

    def run(self, directory: Path, *arguments: str) -> tuple[int, str]:
        """Exit code and all output of a dry run in a directory that holds `study.yaml`."""
        return self._asked("dry run", directory, *(arguments or ("all_matrix",)))

    def sbatch(self, directory: Path, attempt: int) -> dict[str, str]:
        """The options of sbatch for one job of every rule of the study in a directory, at this attempt."""
        code, text = self._asked("sbatch", directory, str(attempt))
        assert code == 0, text[-3000:]
        options: dict[str, str] = json.loads(text.splitlines()[-1])
        return options

    def _asked(self, work: str, directory: Path, *arguments: str) -> tuple[int, str]:
        output = directory / "dry-run.txt"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([work, str(directory), str(output), arguments]) + "\n")
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
    gc.freeze()
    for line in sys.stdin:
        work, directory, output, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            _in(directory, output, partial(_WORK[work], *arguments))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _in(directory: str, output: str, work: Callable[[], None]) -> None:
    """Work in a directory, with its code, all that is said in the output; never returns."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(directory)
    others = (place for place in sys.path if not place.endswith("/src"))
    sys.path[:] = [f"{directory}/src", *others, str(_ROOT)]
    code: Any = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # where a dry run says why and at what cost
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def _dry_run(*arguments: str) -> None:
    """What `snakemake --dry-run` does, and then the store's answer; the Snakefile reads the command line too."""
    from snakemake.cli import main

    sys.argv[1:] = [*arguments, "--dry-run", "--configfile", "study.yaml", "--cores", "1"]
    try:
        main(sys.argv[1:])
    except SystemExit as end:
        if end.code:
            raise
    _print_stored("all" if "all" in arguments else "matrix")


def _sbatch(attempt: str) -> None:
    from tests.sbatch import main

    main("study.yaml", attempt)


def _print_stored(scope: Any) -> None:
    """Name the prediction tables that a job would find in its store: those it links and does not compute."""
    from xstilts.command import plan_of

    for step in plan_of(Path("study.yaml"), scope=scope).steps():
        if step.phase == "predict":
            for part in step.payload["parts"]:
                if Path(step.payload["store"], f"{part['digest']}.parquet").exists():
                    print("stored:", f"{step.directory}/{part['task']}/{part['language']}.parquet")


_WORK: dict[str, Callable[..., None]] = {"dry run": _dry_run, "sbatch": _sbatch}


if __name__ == "__main__":
    _serve()
