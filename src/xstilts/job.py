"""How a workflow script runs: one JSON job in, one library function called, all output in the rule's log."""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from xstilts import files, lean
from xstilts.errors import StartAgainError, StoppedError, UserError

START_AGAIN = 75
"""Exit code of a rank that wants its group to be started again."""

Job = dict[str, Any]

_terminal: TextIO | None = None


def terminal() -> TextIO | None:
    """The user's terminal, if the job runs in front of one (a progress bar goes there)."""
    return _terminal if _terminal is not None and _terminal.isatty() else None


def main(function: str, *alternatives: str) -> None:
    """A script's only call: run its function on the job of the command line.

    Args:
        function: `module:name`, imported only once threads are set.
        alternatives: `key=module:name`, taken instead if the job has the key.
    """
    arguments = [function, *alternatives, "--", *sys.argv[1:]]
    parsed = _parse(arguments)
    job = parsed.job
    _end_with_launcher()
    _set_environment(job)
    # A server outside of the SLURM job would escape its limits, one inside would die with it.
    if job.get("compute", {}).get("warm") and "SLURM_JOB_ID" not in os.environ:
        from xstilts import warm

        try:
            raise SystemExit(warm.run(arguments))
        except UserError as error:
            raise SystemExit(f"xstilts: {job['name']}: {error}") from None
    lean.begin(parsed.function)
    run(arguments)


def run(arguments: list[str]) -> None:
    """Run the function in this process.

    A user's mistake ends in one line, any other failure in a traceback in the log and its last line on the terminal;
    both exit with 1. Snakemake runs a failed job again whatever the failure was, but a user's mistake fails again: it
    is noted beside the job's file, and the attempts after it end at once with the same line.
    """
    function, path, job, log, attempt = _parse(arguments)
    _redirect(log)
    if job.get("compute", {}).get("device") == "cpu":
        keep_freed_memory()
    mistake = path.with_suffix(".mistake")
    try:
        _heed(mistake, attempt)
        module, name = function.split(":")
        getattr(_imported(module), name)(job)
        files.discard(job.get("spent", ()))
    except UserError as error:
        files.write_text(mistake, str(error))
        _say(f"{job['name']}: {error}")
        raise SystemExit(1) from None
    except StoppedError as error:
        _say(f"{job['name']}: {error}")
        raise SystemExit(1) from None
    except StartAgainError as error:
        _say(f"{job['name']}: {error}")
        _start_again()
    except Exception as error:
        traceback.print_exc()
        _say(f"{job['name']}: {type(error).__name__}: {error} (see {log})")
        raise SystemExit(1) from None


def keep_freed_memory() -> None:
    """Have the C library keep what this process frees, for what it asks for next.

    By default it gives blocks over 32 MiB back to the system at once: every step of a training on a CPU would get its
    largest tensors anew, to be filled with zeros page by page. GNU's library alone has the two settings.
    """
    trim_threshold, most_mapped = -1, -4  # of malloc.h
    with suppress(AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(most_mapped, 0)
        set_option(trim_threshold, -1)


def _imported(module: str) -> Any:
    """The module; what importing it makes stays, and to look through it for garbage takes a fifth of the time."""
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def _heed(mistake: Path, attempt: int) -> None:
    """Stop at a mistake that an earlier attempt found; the first attempt of a run looks afresh."""
    if attempt > 1 and mistake.exists():
        raise UserError(mistake.read_text(encoding="utf-8"))
    if os.environ.get("RANK", "0") == "0":
        mistake.unlink(missing_ok=True)


def _end_with_launcher() -> None:
    """A rank must not outlive the launcher that is killed: the kernel then kills it too."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent, set_death_signal = os.getppid(), 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _start_again() -> NoReturn:
    """Ranks ask their launcher, since all of them must; a lone process does it itself."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise SystemExit(START_AGAIN)
    if _terminal is not None:
        os.dup2(_terminal.fileno(), 2)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class _Arguments(NamedTuple):
    function: str
    path: Path
    job: Job
    log: Path | None
    attempt: int


def _parse(arguments: list[str]) -> _Arguments:
    functions, given = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=Path, help="file with the job, one JSON object")
    parser.add_argument("log", type=Path, nargs="?", help="file for all output")
    parser.add_argument("attempt", type=int, nargs="?", default=1, help="Snakemake's count of its tries, from 1")
    parsed = parser.parse_args(given)
    job: Job = json.loads(parsed.job.read_text(encoding="utf-8"))
    chosen = [f.split("=", 1)[1] for f in functions[1:] if f.split("=", 1)[0] in job]
    return _Arguments((chosen or functions)[0], parsed.job, job, parsed.log, parsed.attempt)


def _set_environment(job: Job) -> None:
    """Threads, and no network but for the steps that fetch: compute nodes often have none, and would wait for it."""
    threads = job.get("compute", {}).get("threads", 1)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if job.get("plan", {}).get("step") not in ("prepare", "translate", "backbone"):
        os.environ["HF_HUB_OFFLINE"] = "1"


def _redirect(log: Path | None) -> None:
    """Send everything that is printed to the log; keep hold of the terminal."""
    global _terminal
    if log is None:
        return
    _terminal = os.fdopen(os.dup(2), "w", buffering=1)
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


def _say(line: str) -> None:
    """Tell the log and, of several ranks only the first, the terminal."""
    print(line, file=sys.stderr)
    if _terminal is not None and os.environ.get("RANK", "0") == "0":
        print(f"xstilts: {line}", file=_terminal)
