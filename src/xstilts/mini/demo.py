"""`make demo`: the mini study from wherever an earlier run of it stopped, to the printed matrix."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_COMMAND = (sys.executable, "-m", "snakemake", "all_matrix", "--configfile", "config/mini.yaml")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock that dies with this process, so that Snakemake's own, which a killed run leaves, may be lifted."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("xstilts: another `make demo` runs here; wait for it to end")
        yield


def main(cores: str) -> int:
    """Run the mini study on so many cores; returns Snakemake's exit code."""
    with _alone(Path("results/mini/.demo.lock")):
        if any(Path(".snakemake/locks").glob("*.lock")):
            subprocess.run([*_COMMAND, "--unlock"], capture_output=True, check=False)
        run = [*_COMMAND, "--cores", cores, "--scheduler", "greedy", "--quiet", "rules"]
        return subprocess.run(run, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) > 1 else "2"))
