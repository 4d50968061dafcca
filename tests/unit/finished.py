"""Finished studies that nothing had to train: every output is there, every record says what its step is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest
from tests import workspace

from xstilts import digest
from xstilts.config import deep_merge, load
from xstilts.provenance import versions
from xstilts.study import Plan, Step
from xstilts.study.step import Scope

SMALL: dict[str, Any] = {
    **workspace.SMALL,
    "targets": {name: block for name, block in workspace.SMALL["targets"].items() if name != "tydiqa"},
}
"""A study of two rows and seven columns; what tests count follows from it."""


def plan(root: Path, *changes: dict[str, Any], base: dict[str, Any] = SMALL, scope: Scope = "matrix") -> Plan:
    """The plan of the small study with changes laid over it, its results below `root`."""
    config = base
    for change in changes:
        config = deep_merge(config, change)
    made = Plan(load(config), root, scope=scope)
    made.steps()
    return made


def study(directory: Path, config: dict[str, Any]) -> workspace.Workspace:
    """A directory that has `data`, with the results of all rows of a study."""
    made = workspace.Workspace(directory, config)
    with contextlib.chdir(directory):
        for scope in get_args(Scope):
            finish(Plan(load(config), scope=scope).every_step())
    return made


def finish(steps: Iterable[Step], started: str = "2026-01-01T00:00:00Z", **more: Any) -> None:
    """Write what a run would leave for the steps that are not done."""
    for step in steps:
        if all(Path(path).exists() for path in step.outputs):
            continue
        stored = [f"{step.payload['store']}/{part['digest']}.parquet" for part in _predicted(step)]
        for path in map(Path, (*step.outputs, *stored)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        job = json.loads(step.job())
        seen = {
            "versions": versions(),
            "device": "cpu (test)",
            "host": "node-7",
            "started": started,
            "wall_seconds": 1.5,
        }
        record = {**job["plan"], "name": step.name, "digest": step.digest, **seen, **more}
        step.directory.mkdir(parents=True, exist_ok=True)
        (step.directory / "record.json").write_text(json.dumps(record), encoding="utf-8")


def _predicted(step: Step) -> list[dict[str, Any]]:
    return step.payload["parts"] if step.phase == "predict" else []


def edited(patch: pytest.MonkeyPatch, *modules: str) -> None:
    """Let modules read as if their code had been changed."""
    real = digest.code

    def code(entries: Iterable[str]) -> dict[str, str]:
        return {name: "edited" if name in modules else known for name, known in real(entries).items()}

    patch.setattr(digest, "code", code)
