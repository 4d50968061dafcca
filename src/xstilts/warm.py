"""One process that has the heavy libraries loaded, from which short jobs are forked instead of importing for seconds.

A mini study runs some 150 jobs that each compute for a few seconds and would import for as long. With `compute.warm`
the first job starts a server on this machine, which imports third-party libraries only, never project code, so that
an edit needs no restart. Every job is a child of it with its own files, environment, directory and import path, ends
when the script that asked for it ends, and computes the same bits. Not for GPUs: a forked process cannot use CUDA.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xstilts.errors import UserError

_PRELOADED = (
    "torch",
    "transformers.trainer",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
    "pyarrow.parquet",
    "pandas",
)
_IDLE_SECONDS = 60.0
_START_SECONDS = 120.0
_LENGTH_BYTES = 4


def run(arguments: list[str]) -> int:
    """Have the server run `xstilts.job` with these arguments; returns the job's exit code (1 if it was killed)."""
    here = {"directory": str(Path.cwd()), "environment": dict(os.environ), "path": sys.path}
    message = json.dumps({"arguments": arguments, **here}).encode()
    with _connected() as connection:
        socket.send_fds(connection, [len(message).to_bytes(_LENGTH_BYTES, "big")], [0, 1, 2])
        connection.sendall(message)
        answer = connection.recv(1)
    return answer[0] if answer else 1


def _connected() -> socket.socket:
    """A connection to the server, which is started if there is none."""
    place = _place()
    deadline = time.monotonic() + _START_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(place / "socket"))
            return connection
        except OSError:
            connection.close()
        if time.monotonic() > deadline:
            raise UserError(f"no warm server answers at {place} (its log stands there); set compute.warm to false")
        _start(place)
        time.sleep(0.1)


def _place() -> Path:
    """The server's private directory: one per user, environment and number of threads."""
    key = hashlib.sha256(f"{sys.prefix} {os.environ.get('OMP_NUM_THREADS')}".encode()).hexdigest()[:12]
    place = Path(tempfile.gettempdir()) / f"xstilts-{os.getuid()}-{key}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise UserError(f"{place} belongs to somebody else; set compute.warm to false")
    return place


def _start(place: Path) -> None:
    """Start a server, unless one is starting or running: it holds the lock for as long as it lives."""
    with (place / "lock").open("w") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (place / "socket").unlink(missing_ok=True)
        subprocess.Popen(
            [sys.executable, "-P", "-m", "xstilts.warm", str(place)],
            pass_fds=(lock.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=(place / "log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )


def serve(place: Path, preloaded: tuple[str, ...] = _PRELOADED) -> None:
    """Fork a child for every connection until none came for a minute and none is at work."""
    gc.disable()
    for name in preloaded:
        importlib.import_module(name)
    gc.freeze()  # what all children share they neither look through for garbage nor copy
    gc.enable()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
        server.listen(64)
        server.settimeout(_IDLE_SECONDS)
        while _accept(server) or _children():
            pass
        (place / "socket").unlink(missing_ok=True)


def _accept(server: socket.socket) -> bool:
    """Serve the next connection; False if none came in time."""
    try:
        connection, _ = server.accept()
    except TimeoutError:
        return False
    with connection:
        if os.fork() == 0:
            server.close()
            _child(connection)
    _children()
    return True


def _children() -> bool:
    """Collect the children that have ended; True while others are at work."""
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    return False


def _child(connection: socket.socket) -> None:
    """The forked job: takes over the script's files, environment and directory, and answers with the exit code."""
    code = 1
    try:
        connection.settimeout(None)
        length, descriptors, _, _ = socket.recv_fds(connection, _LENGTH_BYTES, 3)
        request = json.loads(_received(connection, int.from_bytes(length, "big")))
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[:] = request["path"]
        for name in [name for name in sys.modules if name.split(".")[0] == "xstilts"]:
            del sys.modules[name]
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        code = _exit_code(lambda: importlib.import_module("xstilts.job").run(request["arguments"]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(OSError):
            connection.sendall(bytes([code]))
        os._exit(code)


def _received(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = connection.recv(length)
        if not part:
            raise ConnectionError("the script ended before its job was read")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _end_with(connection: socket.socket) -> None:
    """End at once when the script that asked for the job is gone: nobody waits for the result any more."""
    connection.recv(1)
    os._exit(1)


def _exit_code(job: Callable[[], Any]) -> int:
    try:
        job()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
