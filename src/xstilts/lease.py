"""Gives a command GPUs of its own among those of this machine, or of the allocation that it runs in.

    python -m xstilts.lease NUMBER COMMAND…

Snakemake counts GPUs (`--resources gpu=4`) but does not say which: without this every job would take the first. A GPU
is leased by a lock on a file, which the command inherits: the kernel frees it with the last process that holds it,
however that ends. What may be leased is CUDA_VISIBLE_DEVICES, where it is set (within a SLURM allocation these are the
GPUs that it was given), or every GPU of the machine. A job that was given just what it needs gets that at once.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from xstilts.errors import UserError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_TOLD_AFTER = 10.0


def pool() -> list[str]:
    """The devices that may be leased, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        UserError: there is none.
    """
    given = os.environ.get(_VISIBLE)
    names = given.split(",") if given is not None else _installed()
    found = [name.strip() for name in names if name.strip()]
    if not found:
        where = f"{_VISIBLE} is empty" if given is not None else "nvidia-smi names none"
        raise UserError(
            f"no GPU is visible to this job: {where}; ask the scheduler for one, or set compute.device: cpu"
        )
    return found


def _installed() -> list[str]:
    """The machine's GPUs by their unique names; none where there is no driver."""
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def take(number: int, devices: list[str], place: Path) -> list[str]:
    """Lease so many of the devices for the life of this process and of those that it starts; waits for them.

    Args:
        place: directory of the locks, the same for all who share the devices.

    Raises:
        UserError: there are not that many.
    """
    if number > len(devices):
        problem = f"{number} GPUs are wanted, but {len(devices)} visible ({','.join(devices)})"
        raise UserError(f"{problem}; ask the scheduler for {number}, or lower compute.ranks")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    began, told = time.monotonic(), False
    while (leased := _try(number, devices, place)) is None:
        if not told and time.monotonic() - began > _TOLD_AFTER:
            told = True
            print(f"xstilts: waiting for {number} of the GPUs {','.join(devices)}", file=sys.stderr, flush=True)
        time.sleep(0.2)
    return leased


def _try(number: int, devices: list[str], place: Path) -> list[str] | None:
    """So many free devices, all or none; one process at a time, or two that each find half would both go without."""
    with (place / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        free = {device: lock for device in devices if (lock := _locked(place / device.replace("/", "-"))) is not None}
        leased = list(free)[:number] if len(free) >= number else []
        for device, lock in free.items():
            if device in leased:
                os.set_inheritable(lock, True)
            else:
                os.close(lock)
    return leased or None


def _locked(path: Path) -> int | None:
    """Descriptor of the locked file; None if somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def locks() -> Path:
    """Where the locks are: local to the machine, one directory a user and allocation.

    SLURM may call the one GPU of every job 0; where it names none, their unique names hold on the whole machine.
    """
    allocation = os.environ.get("SLURM_JOB_ID", "machine") if _VISIBLE in os.environ else "machine"
    return Path(tempfile.gettempdir()) / f"xstilts-gpus-{os.getuid()}-{allocation}"


def main(number: str, *command: str) -> None:
    """Become the command, with its devices as the only ones visible."""
    try:
        os.environ[_VISIBLE] = ",".join(take(int(number), pool(), locks()))
    except UserError as error:
        sys.exit(f"xstilts: {error}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
