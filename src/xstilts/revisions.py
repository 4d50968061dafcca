"""The commits of hub repositories that a study is locked to: a file beside its config, written by `xstilts.lock`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from xstilts.errors import ConfigError, UserError
from xstilts.schema.data import is_commit

RepositoryKind = Literal["datasets", "models"]
Commits = Mapping[str, Mapping[str, str]]
_KINDS: tuple[RepositoryKind, ...] = ("datasets", "models")


def path_of(configfile: Path | str) -> Path:
    """The lock of a config file: `my.lock.yaml` beside `my.yaml`."""
    return Path(configfile).with_suffix(".lock.yaml")


@dataclass(frozen=True)
class Revisions:
    """Locked commits.

    Attributes:
        datasets, models: repository id: revision as the config gives it (`unpinned`, a branch, a commit): commit.
        path: the lock's file, for messages.
    """

    datasets: Commits = field(default_factory=dict)
    models: Commits = field(default_factory=dict)
    path: Path = Path("no lock")

    def commit(self, kind: RepositoryKind, repository: str, revision: str, key: str) -> str:
        """What to load: the locked commit of the revision; the revision itself where nothing is locked.

        Args:
            key: the config's key of the revision, for the error.

        Raises:
            ConfigError: the config names a commit that is not the locked one.
        """
        locked: Mapping[str, str] = getattr(self, kind).get(repository, {})
        if revision in locked:
            return locked[revision]
        if locked and is_commit(revision) and revision not in locked.values():
            problem = f"{revision} contradicts {self.path}, which has {', '.join(sorted(locked.values()))}"
            raise ConfigError(key, problem, f"remove the revision, or {repository} from the lock and lock again")
        return revision


def read(path: Path) -> Revisions:
    """The lock in that file; an empty one where there is no file.

    Raises:
        UserError: the file is not a lock.
    """
    if not path.is_file():
        return Revisions(path=path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return Revisions(**{kind: _commits(raw, kind) for kind in _KINDS}, path=path)
    except (yaml.YAMLError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a lock ({reason}); delete it and run `python -m xstilts.lock` again") from None


def _commits(raw: Mapping[str, Mapping[str, Mapping[str, str]]], kind: str) -> dict[str, dict[str, str]]:
    if unknown := set(raw) - set(_KINDS):
        raise ValueError(f"unknown key {min(unknown)!r}")
    found = {name: dict(entry.items()) for name, entry in raw.get(kind, {}).items()}
    for name, entry in found.items():
        for commit in entry.values():
            if not is_commit(str(commit)):
                raise ValueError(f"{kind}.{name}: {commit!r} is not a commit")
    return found
