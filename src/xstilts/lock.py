"""Records which commit of every hub repository a study uses: `python -m xstilts.lock --configfile my.yaml`.

The lock stands beside the config (`my.lock.yaml`), is committed with it, and is enforced from then on. Run it before
the first job: a locked revision is part of what defines a result, `unpinned` is another one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from xstilts import config, files, revisions
from xstilts.errors import UserError
from xstilts.revisions import RepositoryKind, Revisions
from xstilts.schema.data import UNPINNED, is_commit
from xstilts.study import Plan

_HEADER = """\
# Commits of the hub repositories that the study uses, by the revision that its config gives. Written by
# `python -m xstilts.lock`; commit it with the config. `--update` moves it to today's commits, which are other inputs.
"""
_REPO_TYPES: dict[RepositoryKind, str] = {"datasets": "dataset", "models": "model"}


class Hub(Protocol):
    """The one question asked of the hub (`huggingface_hub.HfApi` answers it)."""

    def repo_info(self, repo_id: str, *, revision: str | None, repo_type: str) -> Any:
        """What has an attribute `sha`, the commit of a revision (None: of the main branch)."""


def lock(configfile: Path, hub: Hub, *, update: bool = False) -> Revisions:
    """Record what is not recorded yet, and write the lock.

    Args:
        update: forget what is recorded and look everything up again.

    Raises:
        UserError: a wrong config, one that contradicts the lock, or a repository or revision that the hub lacks.
    """
    path = revisions.path_of(configfile)
    known = revisions.read(path)
    # The plan is made without the lock: it is asked which revisions the config gives, not what they are locked to.
    used = Plan(config.load(_mapping(configfile)), scope="all").repositories()
    locked: dict[RepositoryKind, dict[str, dict[str, str]]] = {"datasets": {}, "models": {}}
    for kind in locked:
        kept = {} if update else getattr(known, kind)
        locked[kind] = {name: dict(entry) for name, entry in kept.items()}
    for kind, repository, revision in sorted(used):
        entry = locked[kind].setdefault(repository, {})
        if revision not in entry:
            wanted = revision if update else known.commit(kind, repository, revision, f"{kind}.{repository}")
            entry[revision] = _commit(hub, kind, repository, wanted)
    files.write_text(path, _HEADER + yaml.safe_dump(dict(locked), sort_keys=True))
    return revisions.read(path)


def _mapping(configfile: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(configfile.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{configfile}: cannot be read ({str(error).splitlines()[0]}); name a config file") from None
    if not isinstance(raw, dict):
        raise UserError(f"{configfile}: not a mapping of keys; name a config file")
    return raw


def _commit(hub: Hub, kind: RepositoryKind, repository: str, revision: str) -> str:
    wanted = None if revision == UNPINNED else revision
    try:
        commit = hub.repo_info(repository, revision=wanted, repo_type=_REPO_TYPES[kind]).sha
    except OSError as error:  # every error of the hub's client is one: no such repository or revision, no network
        reason = str(error).strip().partition("\n")[0]
        remedy = "check id, revision and network, or take files (data.source: files; `path` of a backbone)"
        raise UserError(f"{repository} (revision {revision}): the hub gives no commit: {reason}; {remedy}") from None
    if not is_commit(str(commit)):
        raise UserError(f"{repository} (revision {revision}): the hub answers {commit!r}, no commit; try again")
    return str(commit)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m xstilts.lock", description=__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("config/config.yaml"), help="the study's config")
    parser.add_argument("--update", action="store_true", help="move recorded revisions to today's commits")
    given = parser.parse_args(arguments)
    from huggingface_hub import HfApi

    try:
        found = lock(given.configfile, HfApi(), update=given.update)
    except UserError as error:
        print(f"xstilts: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(f"{found.path}: {len(found.datasets)} datasets, {len(found.models)} models; commit it with the config")


if __name__ == "__main__":
    main()
