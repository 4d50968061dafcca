"""Starts a training's ranks on this node with torchrun, and again at once where they ask for it.

python -m xstilts.training.launch RANKS SCRIPT JOB LOG
"""

from __future__ import annotations

import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from xstilts.job import START_AGAIN

_GRACE = 120  # seconds for the ranks to save their state; whoever sends the signal has a limit of its own


def main(ranks: str, *script: str) -> int:
    """Run the script on so many ranks; returns the exit code."""
    arguments = ["--standalone", f"--nproc-per-node={ranks}", f"--shutdown-timeout={_GRACE}", *script]
    while True:
        try:
            run.run(run.parse_args(arguments))  # type: ignore[no-untyped-call]
            return 0
        except ChildFailedError as error:
            if error.get_first_failure()[1].exitcode != START_AGAIN:
                return 1  # the ranks have said why
        except SignalException as stop:
            return 128 + int(stop.sigval)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
