"""Weights are deleted by the policy, when nothing waits for them, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.unit.finished import SMALL, finish, plan
from tests.workspace import ROOT

from xstilts import files
from xstilts.prune import begun, spent
from xstilts.study import Plan


def weights(root: Path) -> dict[str, int]:
    """Phase: directories that hold weights."""
    found = {path.parent for path in root.rglob("*.safetensors")}
    phases = [path.relative_to(root).parts[1] for path in found]
    return {phase: phases.count(phase) for phase in phases}


def unfinished(made: Plan) -> set[str]:
    return {step.phase for step in made.steps() if not step.done}


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("all", {"backbone": 1, "intermediate": 1, "finetune": 8}),
        ("intermediates", {"backbone": 1, "intermediate": 1}),
        ("none", {"backbone": 1}),
    ],
)
def test_a_finished_study_keeps_what_the_policy_says(tmp_path: Path, policy: str, kept: dict[str, int]) -> None:
    finish(plan(tmp_path).steps())
    made = plan(tmp_path, {"keep_weights": policy})
    files.discard(spent(made, made.study.keep_weights))
    assert weights(tmp_path) == kept
    assert all(step.recorded for step in made.steps())
    assert unfinished(plan(tmp_path)) == {"intermediate", "finetune"} - set(kept)


def test_weights_that_other_rows_wait_for_stay_once_these_were_begun(tmp_path: Path) -> None:
    rows = {"intermediates": {"mnli-otherwise": {"like": "mnli", "finetune": {"length": 2}}}}
    plans = [plan(tmp_path, rows, scope=scope) for scope in ("matrix", "all")]
    finish(plans[0].steps())
    assert begun(plans) is plans[0]
    assert any("intermediate" in path for entry in spent(plans[0], "none") for path in entry["files"])
    finish([plans[1].step("finetune", ("mini", "mnli-otherwise", "pawsx", "seed-1"))])
    assert begun(plans) is plans[1]
    waiting = [entry for entry in spent(plans[1], "none") if not all(Path(path).exists() for path in entry["once"])]
    assert any("/intermediate/" in path for entry in waiting for path in entry["files"])


def test_the_last_prediction_takes_the_intermediate_s_weights_with_it(tmp_path: Path) -> None:
    made = plan(tmp_path, {"keep_weights": "none"})
    finish(step for step in made.steps() if step.phase != "predict")
    predictions = [step for step in made.steps() if step.phase == "predict" and step.folders[1] == "mnli"]
    for number, step in enumerate(predictions, start=1):
        assert weights(tmp_path).get("intermediate") == 1
        finish([step])
        files.discard(spent(made, "none", step))
        assert weights(tmp_path)["finetune"] == 8 - min(number, 4)  # the encoder's predictions have no fine-tune
    assert "intermediate" not in weights(tmp_path)


def test_weights_that_a_deleted_prediction_waits_for_stay(tmp_path: Path) -> None:
    made = plan(tmp_path, {"keep_weights": "none"})
    finish(made.steps())
    lost = next(step for step in made.steps() if step.name == "predict/mini/mnli/udpos/seed-1")
    Path(lost.outputs[-1]).unlink()
    files.discard(spent(made, "none"))
    assert weights(tmp_path) == {"backbone": 1, "intermediate": 1, "finetune": 1}


def test_the_policy_is_in_no_digest(tmp_path: Path) -> None:
    kept, pruned = plan(tmp_path), plan(tmp_path, {"keep_weights": "none"})
    assert [step.digest for step in kept.steps()] == [step.digest for step in pruned.steps()]


@pytest.mark.slow
def test_the_command_says_what_it_freed(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False), encoding="utf-8")
    finish(plan(tmp_path / "results").steps())
    command = [sys.executable, "-m", "xstilts.prune", "--keep", "intermediates", "--configfile", "study.yaml"]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("xstilts: keeping intermediates: 0.000 GB of weights deleted\n", "")
    assert weights(tmp_path / "results") == {"backbone": 1, "intermediate": 1}
