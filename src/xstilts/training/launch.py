"""Starts a training's ranks on this node with torchrun, and again at once where they ask for it.

python -m xstilts.training.launch RANKS SCRIPT JOB LOG
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from xstilts.job import START_AGAIN

_GRACE = 120  # seconds for the ranks to save their state; whoever sends the signal has a limit of its own


def main(ranks: str, *script: str) -> int:
    """Run the script on so many ranks; returns the exit code."""
    threading.Thread(target=_end_as_orphan, args=(os.getppid(),), daemon=True).start()
    arguments = ["--standalone", f"--nproc-per-node={ranks}", f"--shutdown-timeout={_GRACE}", *script]
    while True:
        try:
            # torchrun's own entry points, which PyTorch does not type.
            run.run(run.parse_args(arguments))  # type: ignore[no-untyped-call]
            return 0
        except ChildFailedError as error:
            if error.get_first_failure()[1].exitcode != START_AGAIN:
                return 1  # the ranks have said why
        except SignalException as stop:
            return 128 + int(stop.sigval)


def _end_as_orphan(parent: int) -> None:
    """Have the ranks stop when the Snakemake that waits for them is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
