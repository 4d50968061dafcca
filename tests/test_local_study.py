"""The study over a directory of real files: `config/local.yaml` as it is, its trainings and tests cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workspace import ROOT, Workspace

from xstilts.config import deep_merge

pytestmark = pytest.mark.slow


def _short(realdata: Path) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((ROOT / "config" / "local.yaml").read_text(encoding="utf-8"))
    tested = ("xnli", "pawsx", "udpos", "panx", "xquad", "mlqa", "tydiqa", "tatoeba")
    recipe = raw["recipes"]["local"]
    changes = {
        "data": {"root": str(realdata), "datasets": {name: {"limit": {"test": 12, "dev": 12}} for name in tested}},
        "backbones": {"tiny": {"train": {"steps": 20, "vocabulary": 3000, "hidden": 32, "intermediate": 64}}},
        "recipes": {
            "local": {
                "defaults": {"steps": 3},
                **{phase: {task: {"epochs": None} for task in recipe[phase]} for phase in ("intermediate", "finetune")},
            }
        },
    }
    short = deep_merge(raw, changes)
    short["intermediates"] = {name: raw["intermediates"][name] for name in ("none", "sick")}
    return short


def test_every_target_and_language_of_the_real_files_gets_its_scores(realdata: Path, tmp_path: Path) -> None:
    config = _short(realdata)
    workspace = Workspace(tmp_path, config)
    workspace.run("all_matrix")
    found = {
        (row["intermediate"], row["target"], row["language"]) for row in workspace.cells() if row["split"] == "test"
    }
    assert found == {
        (row, target, code)
        for row in config["intermediates"]
        for target, block in config["targets"].items()
        for code in (*block["languages"], "avg")
    }
    assert workspace.planned() == {}


def test_missing_files_are_named_at_once_before_anything_runs(tmp_path: Path) -> None:
    root = tmp_path / "elsewhere"
    root.mkdir()
    (tmp_path / "work").mkdir()
    workspace = Workspace(tmp_path / "work", _short(root))
    done = workspace.run("all_matrix", check=False)
    assert done.returncode != 0
    for name in ("SICK_train.txt", "xquad.zh.json", "tatoeba.cmn-eng.cmn", "pretrain/en.txt"):
        assert name in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(workspace.results.glob("*/**/record.json"))
