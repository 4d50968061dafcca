"""What made a result: its slice, code, versions, device, time, memory and tokens, kept beside it."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import socket
import sys
import time
from functools import cache
from typing import Any

LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "deepspeed", "accelerate", "numpy", "pyarrow")


def versions() -> dict[str, str]:
    """Versions of Python and of every library that can change a result."""
    return {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}


@cache
def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def device() -> str:
    """The accelerator's name as torch sees it, or the processor's; torch is asked only if it is loaded already."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu ({platform.machine()})"


def peak_memory_mib() -> dict[str, float]:
    """Largest resident memory of this process and, with a GPU, largest allocation on it, in MiB."""
    peak = {"host": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak["device"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak


def record(job: dict[str, Any], started: float, **measured: Any) -> dict[str, Any]:
    """The record of one finished job.

    Args:
        job: what the workflow handed to the script; its `plan` (step, slice, inputs, code) is copied.
        started: time.time() at the start.
        measured: what the step itself counted (tokens, steps, rows, …).

    Raises:
        TypeError: a measured value goes by a name of the plan's, which it would replace.
    """
    if taken := sorted(measured.keys() & job["plan"].keys()):
        raise TypeError(f"record: {', '.join(taken)} is the plan's; give what was measured another name")
    return {
        **job["plan"],
        "name": job["name"],
        "digest": job["digest"],
        "versions": versions(),
        "device": device(),
        "compute": job.get("compute"),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_seconds": round(time.time() - started, 3),
        "cpu_seconds": round(time.process_time(), 3),
        "peak_memory_mib": peak_memory_mib(),
        **measured,
    }
