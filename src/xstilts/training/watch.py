"""When a training saves its state, and when it stops."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xstilts.errors import StoppedError
from xstilts.training.work import Work

GO_ON, SAVE, STOP = 0, 1, 2
"""What to do after a step; the strongest wish of all ranks counts. Whoever stops saves first."""


class Watch:
    """One rank's view: it wants to stop on SIGTERM or SIGINT, and when nobody waits for it any more.

    That is when a newer attempt has taken over, or the process that started this one is gone (a Snakemake that was
    killed): an orphan would keep its GPU from its successor.

    Args:
        minutes: between two states; 0 saves after every step.
        first: the rank that looks at the clock and at the work directory.
    """

    def __init__(self, work: Work, minutes: float, first: bool = True) -> None:
        self._work, self._minutes, self._first = work, minutes, first
        self._heard: str | None = None
        self._parent = os.getppid()
        self.saved()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While this lasts, the signals do not end the process but the training, at its next step."""
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._heard = signal.Signals(number).name

    def wish(self) -> int:
        """What this rank wants after a step."""
        if not self._heard and self._first:
            self._heard = self._abandoned()
        if self._heard:
            return STOP
        return SAVE if self._first and time.monotonic() - self._since >= 60 * self._minutes else GO_ON

    def _abandoned(self) -> str | None:
        if os.getppid() != self._parent:
            return "the end of what started it"
        return None if self._work.owned() else "a newer attempt"

    def saved(self) -> None:
        """The clock starts again."""
        self._since = time.monotonic()

    def stopped(self, step: int) -> StoppedError:
        """What to raise once the state of a step is saved."""
        return StoppedError(
            f"stopped by {self._heard or 'another rank'} at step {step}, which is saved; run it again to go on"
        )
