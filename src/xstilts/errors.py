"""Errors that are a user's to mend: each is one line that says what, where, and what to do."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake in what the user gave; scripts print it as one line, without a traceback."""

    def __reduce__(self) -> tuple[type[UserError], tuple[str]]:
        """As its line, whatever it was made of: so it reaches the user from a process of a pool."""
        return UserError, (str(self),)


class ConfigError(UserError):
    """A wrong key or value in the study's config."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"config: {key}: {problem}; {remedy}")


class DataError(UserError):
    """A malformed or missing data file.

    Args:
        path: the file (or directory) at fault.
        problem: what was found and what was expected.
        remedy: what to do about it.
        line: 1-based line (or record) number, where there is one.
    """

    def __init__(self, path: Path | str, problem: str, remedy: str, line: int | None = None) -> None:
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {problem}; {remedy}")


class StoppedError(Exception):
    """The job was stopped before its end; what it saved is there for the next attempt. One line, no traceback."""


class StartAgainError(Exception):
    """The job noted what must be otherwise and wants to be started again at once. One line, no traceback."""
