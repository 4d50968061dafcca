"""After a refactor: finished results that differ in nothing but code are found again, and it is on record."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.finished import SMALL, edited, finish, plan
from tests.workspace import ROOT

from xstilts import accept, history
from xstilts.errors import UserError
from xstilts.explain import explain
from xstilts.study import Plan, Step

TRAINER = "xstilts.training.trainer"


def unfinished(made: Plan) -> set[str]:
    return {step.name for step in made.steps() if not step.done}


def of_phase(made: Plan, phase: str) -> list[Step]:
    return [step for step in made.steps() if step.phase == phase]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    finish(plan(tmp_path).steps())
    return tmp_path


def test_accepting_each_kind_in_turn_finishes_the_study_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(monkeypatch, TRAINER)
    assert {s.phase for s in plan(finished).steps() if not s.done} >= {"intermediate", "finetune", "predict"}
    done = accept.accept([plan(finished)], "intermediate")
    assert (done["step"], done["results"], done["modules"]) == ("intermediate", 1, ["training/trainer.py"])
    left = plan(finished)
    assert all(step.done for step in of_phase(left, "intermediate"))
    assert not any(step.done for step in of_phase(left, "finetune"))
    assert accept.accept([left], "finetune")["results"] == 8
    assert unfinished(plan(finished)) == set()


@pytest.mark.parametrize(
    ("module", "phase", "results"),
    [
        ("xstilts.evaluation.predict", "predict", 10),
        ("xstilts.evaluation.score", "score", 14),
        ("xstilts.tasks.formats.conllu", "prepare", 1),
        ("xstilts.mini.grammar", "world", 1),
        ("xstilts.training.pretrain", "backbone", 1),
        ("xstilts.analysis.tables", "tabulate", 1),
    ],
)
def test_every_kind_can_be_accepted(
    finished: Path, monkeypatch: pytest.MonkeyPatch, module: str, phase: str, results: int
) -> None:
    edited(monkeypatch, module)
    assert not all(step.done for step in of_phase(plan(finished), phase))
    assert accept.accept([plan(finished)], phase)["results"] == results
    assert all(step.done for step in of_phase(plan(finished), phase))


def test_only_the_accepted_kind_counts_as_old(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(monkeypatch, "xstilts.evaluation.score", "xstilts.evaluation.predict")
    accept.accept([plan(finished)], "predict")
    assert {step.phase for step in plan(finished).steps() if not step.done} == {"score", "tabulate", "figures"}


def test_what_differs_in_its_settings_too_stays_out(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change: dict[str, Any] = {"recipes": {"small": {"finetune": {"pawsx": {"learning_rate": 5.0e-4}}}}}
    edited(monkeypatch, TRAINER)
    accept.accept([plan(finished, change)], "intermediate")
    assert accept.accept([plan(finished, change)], "finetune")["results"] == 6
    left = {name for name in unfinished(plan(finished, change)) if name.startswith("finetune")}
    assert left == {"finetune/mini/none/pawsx/seed-1", "finetune/mini/mnli/pawsx/seed-1"}
    assert [line.split(", then")[0] for line in explain(plan(finished, change))] == [
        "learning rate of finetune/pawsx: 1e-3 → 5e-4 — 2 finetunes",
        "training code changed: training/trainer.py — 2 finetunes",
    ]


def test_nothing_to_accept_is_refused(finished: Path) -> None:
    change = {"recipes": {"small": {"finetune": {"pawsx": {"learning_rate": 5.0e-4}}}}}
    with pytest.raises(UserError, match="nothing to accept for 'finetune'"):
        accept.accept([plan(finished, change)], "finetune")
    with pytest.raises(UserError, match="nothing to accept"):
        accept.accept([plan(finished)], "score")
    assert not (finished / "small" / "accepted.json").exists()


def test_a_finetune_is_not_accepted_before_its_intermediate(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(monkeypatch, TRAINER)
    accept.accept([plan(finished)], "finetune")  # those of `none` start from the backbone
    rows = {name.split("/")[2] for name in unfinished(plan(finished)) if name.startswith("finetune")}
    assert rows == {"mnli"}


def test_a_later_change_is_stale_again_and_going_back_finds_the_results(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as first:
        edited(first, "xstilts.metrics.mlqa")
        accept.accept([plan(finished)], "score")
        assert unfinished(plan(finished)) == set()
    assert unfinished(plan(finished)) == set()
    edited(monkeypatch, "xstilts.metrics.mlqa", "xstilts.evaluation.score")
    assert {step.phase for step in plan(finished).steps() if not step.done} == {"score", "tabulate", "figures"}


def test_acceptances_are_listed_with_time_user_and_modules(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "user", lambda: "ada")
    edited(monkeypatch, "xstilts.evaluation.score")
    when = accept.accept([plan(finished)], "score")["time"]
    listed = list(accept.listed(finished / "small"))
    assert listed == [f"{when} ada accepted 14 score under changed evaluation/score.py"]


def test_a_broken_file_of_acceptances_is_refused(finished: Path) -> None:
    (finished / "small" / "accepted.json").write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match=r"accepted\.json: cannot be read as a list of acceptances"):
        plan(finished)


@pytest.mark.slow
def test_the_command_accepts_lists_and_flags_the_tables(tmp_path: Path) -> None:
    """The finished results are of another code, as after a refactor; the command makes them today's."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as before:
        edited(before, "xstilts.evaluation.score")
        finish(plan(tmp_path / "results").steps())
    command = [sys.executable, "-m", "xstilts.accept", "--step", "score", "--list", "--configfile", "study.yaml"]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "USER": "ada", "HOME": str(tmp_path)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("xstilts: accepted 14 score under changed evaluation/score.py\n")
    assert unfinished(plan(tmp_path / "results")) == set()
    assert json.loads((tmp_path / "results/small/accepted.json").read_text())["acceptances"][0]["step"] == "score"
    with (tmp_path / "results/small/tables/provenance.csv").open(encoding="utf-8") as table:
        assert [row["accepted"] for row in csv.DictReader(table)] == ["score"] * 14
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
