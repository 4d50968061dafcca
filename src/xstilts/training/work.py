"""The work directory of a training: one writer at a time, and states that are whole or absent.

    results/<study>/work/<phase>/<digest>/
        owner, lock          who writes here
        attempts.json        every attempt so far
        out_of_memory.json   micro-batches that the device had no room for
        state-<step>-<token>/  what an interrupted training goes on from; complete.json is written last
        scratch-<token>/     what one attempt is writing; never read by another

The newest attempt owns the directory: it writes its token into `owner`, and the one before, which looks there at every
step, saves its state and ends. The lock, which the kernel frees with its holder, makes the newcomer wait for that.
Where a lock does not hold (another node, some network file systems), the token alone does: who is not the owner
publishes nothing and removes nothing, and a state that it still saves is whole and has a name of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from xstilts import files
from xstilts.errors import StoppedError

_COMPLETE = "complete.json"
_PATIENCE = 300.0  # seconds: longer than a step or a look at dev takes


@dataclass(frozen=True)
class State:
    """A whole state: its directory, its optimizer step, and what was told of it when it was saved."""

    path: Path
    step: int
    facts: dict[str, Any]


class Work:
    """One attempt's hold on a work directory.

    Args:
        directory: the same for every attempt of a step's digest.
        token: names the attempt; ranks that were launched together share it. None: a fresh one.

    Attributes:
        scratch: a directory for this attempt alone.
    """

    def __init__(self, directory: Path, token: str | None = None) -> None:
        self.directory, self.token = directory, token or uuid.uuid4().hex
        self.scratch = directory / f"scratch-{self.token}"
        self._lock: IO[str] | None = None

    # --- one writer

    @contextmanager
    def held(self) -> Iterator[None]:
        """Own the directory for a while, as `take` does."""
        self.take()
        try:
            yield
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
            if self._lock is not None:
                self._lock.close()

    def take(self) -> None:
        """Become the owner, once the attempt before has handed over or has ended.

        Raises:
            StoppedError: a still newer attempt has taken over.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        files.write_text(self._owner, self.token)
        self._wait_for_lock()
        if not self._owner.exists():  # the one before has published and cleaned up
            self.take()
        elif not self.owned():
            raise StoppedError(f"a newer attempt took over {self.directory}")
        for left in self.directory.glob("scratch-*"):
            shutil.rmtree(left, ignore_errors=True)
        self.scratch.mkdir(exist_ok=True)

    def owned(self) -> bool:
        """Is this still the newest attempt?"""
        try:
            return self._owner.read_text(encoding="utf-8") == self.token
        except OSError:
            return False

    @property
    def _owner(self) -> Path:
        return self.directory / "owner"

    def _wait_for_lock(self) -> None:
        """Take the lock; a holder that does not answer is left behind, for it is no longer the owner."""
        self._lock = (self.directory / "lock").open("a", encoding="utf-8")
        deadline = time.monotonic() + _PATIENCE
        told = False
        while not self._locked() and time.monotonic() < deadline:
            if not told:
                told = True
                print(f"waiting for an earlier attempt to hand over {self.directory}", file=sys.stderr, flush=True)
            time.sleep(0.1)

    def _locked(self) -> bool:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks on this file system: the token alone decides
            return True
        return True

    # --- states

    def newest(self) -> State | None:
        """The furthest whole state; one that is truncated or was never finished is passed over."""
        found = [state for path in self.directory.glob("state-*") if (state := _read(path))]
        return max(found, key=lambda state: state.step, default=None)

    def commit(self, folder: Path, step: int, facts: dict[str, Any]) -> None:
        """Make a folder of the scratch directory a state, then remove the older ones."""
        for path in _contents(folder):
            files.flush(path)
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in _contents(folder)}
        files.write_json(folder / _COMPLETE, {"step": step, "facts": facts, "sizes": sizes})
        files.flush(folder / _COMPLETE)
        state = self.directory / f"state-{step}-{self.token}"
        folder.rename(state)
        if self.owned():
            for older in self.directory.glob("state-*"):
                if older != state:
                    shutil.rmtree(older, ignore_errors=True)

    # --- attempts

    def began(self, **facts: Any) -> None:
        """Note this attempt."""
        attempt = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": socket.gethostname(),
            **facts,
        }
        files.write_json(self.directory / "attempts.json", [*self.attempts(), attempt])

    def attempts(self) -> list[dict[str, Any]]:
        """Every attempt so far, this one last."""
        return _list(self.directory / "attempts.json")

    def too_large(self, device: dict[str, Any]) -> list[int]:
        """Micro-batches that such a device had no room for, in the order in which they were tried."""
        return [told["micro_batch"] for told in _list(self._out_of_memory) if told["device"] == device]

    def note_too_large(self, micro_batch: int, device: dict[str, Any]) -> None:
        """Remember that such a device has no room for this micro-batch; several ranks may say so at once."""
        known, told = _list(self._out_of_memory), {"micro_batch": micro_batch, "device": device}
        files.write_json(self._out_of_memory, known if told in known else [*known, told])

    @property
    def _out_of_memory(self) -> Path:
        return self.directory / "out_of_memory.json"

    def remove(self) -> None:
        """The training is published: nothing of this is needed any more."""
        shutil.rmtree(self.directory, ignore_errors=True)


def keep(path: Path, folder: Path) -> None:
    """Put a file into another directory of the same file system: a link, so that no bytes move where links exist."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic(folder / path.name) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def _read(path: Path) -> State | None:
    try:
        told = json.loads((path / _COMPLETE).read_text(encoding="utf-8"))
        sizes = {str(p.relative_to(path)): p.stat().st_size for p in _contents(path) if p.name != _COMPLETE}
    except (OSError, ValueError):
        return None
    return State(path, told["step"], told["facts"]) if sizes == told["sizes"] else None


def _contents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _list(path: Path) -> list[Any]:
    try:
        found: list[Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found
