"""What `why` says of every kind of output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from tests.unit.finished import SMALL, edited, finish, plan
from tests.workspace import ROOT

from xstilts import accept, command
from xstilts.errors import ConfigError, UserError
from xstilts.study import Plan
from xstilts.study.step import Scope
from xstilts.why import why


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    finish(plan(tmp_path).steps())
    return tmp_path


KINDS = [
    ("small/world/*/record.json", "world"),
    ("small/data/pawsx/*/record.json", "prepare/pawsx"),
    ("small/backbone/mini/*/model.safetensors", "backbone/mini"),
    ("small/intermediate/mini/mnli/seed-1/*/config.json", "intermediate/mini/mnli/seed-1"),
    ("small/finetune/mini/mnli/pawsx/seed-1/*/model.safetensors", "finetune/mini/mnli/pawsx/seed-1"),
    ("small/finetune/mini/mnli/pawsx/seed-1/*", "finetune/mini/mnli/pawsx/seed-1"),
    ("small/predictions/mini/none/squad_v1/seed-1/*/xquad/qaa.parquet", "predict/mini/none/squad_v1/seed-1"),
    ("small/scores/mini/none/tatoeba/*/*/scores.json", "score/mini/none/tatoeba/seedless"),
    ("small/tables/cells.csv", "tabulate"),
    ("small/figures/deltas-dev.svg", "figures"),
]


@pytest.mark.parametrize(("pattern", "name"), KINDS, ids=[kind[0] for kind in KINDS])
def test_every_kind_of_output_is_traced(finished: Path, pattern: str, name: str) -> None:
    (path,) = finished.glob(pattern)
    lines = list(why([plan(finished)], str(path)))
    assert lines[0].startswith(f"made by   {name} (")
    assert lines[1] == "when      2026-01-01T00:00:00Z, 1.5 s"
    assert lines[2] == "where     host node-7, device cpu (test)"
    assert lines[-1] == "today     the same: this is what today's config, data and code make"
    assert any(line.startswith("versions  python=") for line in lines)


def test_a_training_tells_its_settings_inputs_and_code(finished: Path) -> None:
    step = plan(finished).step("finetune", ("mini", "mnli", "pawsx", "seed-1"))
    lines = [line[10:] for line in why([plan(finished)], step.name)]
    assert "hyper.learning_rate: 1e-3" in lines
    assert f"checkpoint: {step.inputs['checkpoint']}" in lines
    assert f"intermediate/mini/mnli/seed-1/{step.inputs['checkpoint']}" in lines
    assert f"training/trainer.py: {step.code['xstilts.training.trainer']}" in lines


def test_tokenization_is_traced_before_and_after_a_change(tmp_path: Path) -> None:
    cuda = {"compute": {"device": "cuda"}}
    made = plan(tmp_path, cuda)
    step = next(step for step in made.steps() if step.phase == "tokenize")
    finish(made.steps())
    assert next(iter(why([plan(tmp_path, cuda)], step.name))).startswith(f"made by   {step.name} (")
    longer = plan(tmp_path, cuda, {"recipes": {"small": {"defaults": {"max_length": 40}}}})
    assert "why       max length of finetune/mnli: 64 → 40" in list(why([longer], step.name))


def test_a_mistake_in_other_rows_leaves_the_matrix_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    real = command.plan_of

    def plan_of(configfile: Path, changes: Sequence[str], scope: Scope) -> Plan:
        if scope != "matrix":
            raise ConfigError("intermediates.x", "a mistake", "mend it")
        return real(configfile, changes, scope)

    monkeypatch.setattr(command, "plan_of", plan_of)
    (matrix,) = command.plans_of(Path("study.yaml"))
    assert matrix.scope == "matrix"
    told = capsys.readouterr().err
    assert "xstilts: without the rows of all: config: intermediates.x: a mistake; mend it\n" in told


def test_logs_and_stored_predictions_are_traced_too(finished: Path) -> None:
    made = plan(finished)
    step = made.step("predict", ("mini", "none", "pawsx", "seed-1"))
    log = finished / "small" / "logs" / "predict" / "mini" / "none" / "pawsx" / "seed-1" / f"{step.digest}.log"
    stored = finished / "small" / "predictions" / "store" / f"{step.inputs['pawsx/qaa']}.parquet"
    for path in (log, stored):
        assert next(why([made], str(path))).startswith(f"made by   {step.name} (")


def test_a_result_of_another_configuration_says_what_differs(finished: Path) -> None:
    change = {"recipes": {"small": {"finetune": {"pawsx": {"learning_rate": 5.0e-4}}}}}
    (path,) = finished.glob("small/scores/mini/none/pawsx/*/*/scores.json")
    lines = list(why([plan(finished, change)], str(path)))
    assert lines[-2].startswith("today     another: ")
    assert lines[-1] == "          learning rate of finetune/pawsx: 1e-3 → 5e-4"
    tables = list(why([plan(finished, change)], str(finished / "small/tables/cells.csv")))
    assert tables[-1] == "          learning rate of finetune/pawsx: 1e-3 → 5e-4"


def test_what_is_not_made_says_why_not(finished: Path) -> None:
    change = {"recipes": {"small": {"finetune": {"pawsx": {"learning_rate": 5.0e-4}}}}}
    lines = list(why([plan(finished, change)], "finetune/mini/none/pawsx/seed-1"))
    assert lines[0].startswith("not made  finetune/mini/none/pawsx/seed-1 (")
    assert lines[1:] == ["why       learning rate of finetune/pawsx: 1e-3 → 5e-4"]


def test_what_left_the_study_is_said(finished: Path) -> None:
    small = {**SMALL, "intermediates": {"none": {"tasks": []}}}
    (path,) = finished.glob("small/intermediate/mini/mnli/seed-1/*/config.json")
    from xstilts.config import load
    from xstilts.study import Plan

    lines = list(why([Plan(load(small), finished)], str(path)))
    assert lines[-1] == "today     study 'small' has no intermediate/mini/mnli/seed-1"


def test_an_accepted_result_says_so(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(monkeypatch, "xstilts.evaluation.score")
    done = accept.accept([plan(finished)], "score")
    (path,) = finished.glob("small/scores/mini/none/tatoeba/*/*/scores.json")
    assert list(why([plan(finished)], str(path)))[-1] == (
        f"accepted  {done['time']} by {done['user']}: changed evaluation/score.py counts as this code"
    )


def test_a_file_that_nobody_made_is_refused(finished: Path) -> None:
    with pytest.raises(UserError, match="no record in nowhere says what made it"):
        list(why([plan(finished)], "nowhere"))


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False), encoding="utf-8")
    finish(plan(tmp_path / "results").steps())
    command = [sys.executable, "-m", "xstilts.why", "results/small/tables/cells.csv", "--configfile", "study.yaml"]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.startswith("made by   tabulate"), run.stderr
    assert "today     the same" in run.stdout
