"""What a dry run says of each edit: root causes only, in the study's words, with what they make run."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.dryruns import DryRuns
from tests.unit.finished import SMALL, edited, finish, plan
from tests.workspace import ROOT, Workspace

from xstilts import provenance, wording
from xstilts.config import load
from xstilts.explain import explain, report
from xstilts.study import Plan

# The small study: 1 backbone, 1 intermediate, 2 rows; train sets mnli, pawsx, udpos (2 languages each), squad_v1 (two
# targets, 2 languages each) and none for bucc2018 and tatoeba (1 language each): 12 predictions and 7 scores a row.
ALL_AFTER_THE_BACKBONE = "1 intermediate, 8 finetunes, 24 predictions, 14 scores, tables, figures"
END = "2 scores, tables, figures"


def recipe(**sections: Any) -> dict[str, Any]:
    return {"recipes": {"small": sections}}


TURNED: dict[str, Any] = {"targets": "the other way round"}
CONFIG_EDITS: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "a finetune's learning rate",
        recipe(finetune={"pawsx": {"learning_rate": 5.0e-4}}),
        [f"learning rate of finetune/pawsx: 1e-3 → 5e-4 — 2 finetunes, then 4 predictions, {END}"],
    ),
    (
        "an intermediate's steps",
        recipe(intermediate={"mnli": {"steps": 15}}),
        [
            "steps of intermediate/mnli: 12 → 15 — 1 intermediate, "
            "then 4 finetunes, 12 predictions, 7 scores, tables, figures"
        ],
    ),
    (
        "a length that predictions use too",
        recipe(finetune={"squad_v1": {"max_length": 32}}),
        ["max length of finetune/squad_v1: 64 → 32 — 2 finetunes, 8 predictions, then 4 scores, tables, figures"],
    ),
    (
        "which checkpoint is kept",
        recipe(finetune={"udpos": {"selection": {"checkpoint": "best"}}}),
        [
            "selection checkpoint of finetune/udpos: last → best — "
            "2 finetunes, 2 scores, then 4 predictions, tables, figures"
        ],
    ),
    (
        "checkpoints kept besides",
        recipe(finetune={"udpos": {"selection": {"also": ["oracle"]}}}),
        [f"selection also of finetune/udpos: none → oracle — 2 finetunes, then 8 predictions, {END}"],
    ),
    (
        "added languages",
        {"targets": {"tatoeba": {"languages": ["qaa", "qab", "qac", "qad"]}}},
        [
            "3 languages added to tatoeba (qab, qac, qad) — "
            "1 dataset, 6 predictions, then mini world, 2 scores, tables, figures, text overlap"
        ],
    ),
    (
        "an added seed",
        {"seeds": {"intermediate": [1, 2]}},
        # `none` needs no second encoder predictions
        ["new seed: 2 — 1 intermediate, 8 finetunes, 22 predictions, 12 scores, then tables, figures"],
    ),
    (
        "an added intermediate",
        {"intermediates": {"ccg": {"tasks": ["ccg"]}}},
        [
            "new intermediate: ccg — 1 intermediate, 4 finetunes, 12 predictions, 7 scores, "
            "then 1 dataset, tables, figures, text overlap"
        ],
    ),
    (
        "an added target",
        {"targets": {"panx": {"languages": ["en", "qaa"]}}},
        ["new target: panx — 2 finetunes, 4 predictions, 2 scores, then 1 dataset, tables, figures, text overlap"],
    ),
    (
        "an added backbone",
        {"backbones": {"other": copy.deepcopy(SMALL["backbones"]["mini"])}},
        [
            "new backbone: other — 1 backbone, 1 intermediate, 8 finetunes, 24 predictions, 14 scores, "
            "then tables, figures"
        ],
    ),
    (
        "the backbone's training",
        {"backbones": {"mini": {"train": {"steps": 50}}}},
        [f"steps of backbone mini: 40 → 50 — 1 backbone, then {ALL_AFTER_THE_BACKBONE}"],
    ),
    (
        "the retrieval layer",
        {"backbones": {"mini": {"retrieval_layer": 2}}},
        ["retrieval layer of mini: 1 → 2 — 4 predictions, tables, then 4 scores, figures"],
    ),
    (
        "pooling",
        {"backbones": {"mini": {"pooling": "cls"}}},
        # Tagging and QA heads read every token; from `none` they start as before.
        [
            "pooling of backbone mini: mean → cls — 1 intermediate, 4 finetunes, "
            "then 2 finetunes, 16 predictions, 9 scores, tables, figures"
        ],
    ),
    (
        "precision",
        {"compute": {"precision": "bf16"}},
        ["precision: fp32 → bf16 — 1 intermediate, 8 finetunes, 24 predictions, then 14 scores, tables, figures"],
    ),
    (
        "the mini world",
        {"data": {"world": {"seed": 1}}},
        [
            f"seed of the mini world: 0 → 1 — mini world, then 9 datasets, 1 backbone, "
            f"{ALL_AFTER_THE_BACKBONE}, text overlap"
        ],
    ),
    (
        "sizes of the mini world",
        {"data": {"world": {"sizes": {"pawsx": 90, "udpos": 80}}}},
        [
            f"size in the mini world of {name}: none → {size} — mini world, "
            f"then 1 dataset, 2 finetunes, 4 predictions, {END}, text overlap"
            for name, size in (("pawsx", 90), ("udpos", 80))
        ],
    ),
    (
        "a row limit",
        {"data": {"datasets": {"pawsx": {"limit": {"train": 10}}}}},
        [f"row limit of train of pawsx: none → 10 — 1 dataset, then 2 finetunes, 4 predictions, {END}, text overlap"],
    ),
    (
        "another order of the columns",
        TURNED,
        ["order of the targets changed — tables, figures"],
    ),
    ("a figure's format", {"report": {"figure_formats": ["svg"]}}, ["figure formats: svg, png → svg — figures"]),
    ("what changes no result", {"compute": {"threads": 2}, "evaluation": {"batch_tokens": 512}}, []),
]


@pytest.mark.parametrize(("edit", "told"), [e[1:] for e in CONFIG_EDITS], ids=[e[0] for e in CONFIG_EDITS])
def test_each_edit_of_the_config_has_its_words(tmp_path: Path, edit: dict[str, Any], told: list[str]) -> None:
    finish(plan(tmp_path).steps())
    turned = {**SMALL, "targets": dict(reversed(SMALL["targets"].items()))}
    assert explain(plan(tmp_path, base=turned) if edit == TURNED else plan(tmp_path, edit)) == told


CODE_EDITS = [
    (
        ["xstilts.analysis.tables"],
        ["table code changed: analysis/tables.py — tables, figures"],
    ),
    (
        ["xstilts.training.run", "xstilts.training.trainer"],
        [
            "training code changed: training/run.py, training/trainer.py — 1 intermediate, 8 finetunes, "
            "then 22 predictions, 12 scores, tables, figures"
        ],
    ),
    (
        ["xstilts.evaluation.score"],
        ["evaluation code changed: evaluation/score.py — 14 scores, then tables, figures"],
    ),
    (
        ["xstilts.metrics.mlqa"],
        ["metric code changed: metrics/mlqa.py — 2 scores, then tables, figures"],
    ),
    (
        ["xstilts.tasks.pawsx"],
        [f"task code changed: tasks/pawsx.py — 2 finetunes, then 4 predictions, {END}"],
    ),
    (
        ["xstilts.tasks.features.retrieval"],
        ["task code changed: tasks/features/retrieval.py — 4 predictions, then 4 scores, tables, figures"],
    ),
    (
        ["xstilts.tasks.formats.conllu"],
        [
            "data reading code changed: tasks/formats/conllu.py — 1 dataset, "
            f"then 2 finetunes, 4 predictions, {END}, text overlap"
        ],
    ),
]


@pytest.mark.parametrize(("modules", "told"), CODE_EDITS, ids=[e[0][0] for e in CODE_EDITS])
def test_each_edit_of_code_has_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modules: list[str], told: list[str]
) -> None:
    finish(plan(tmp_path).steps())
    edited(monkeypatch, *modules)
    assert explain(plan(tmp_path)) == told


def test_a_first_run_is_one_line(tmp_path: Path) -> None:
    (line,) = explain(plan(tmp_path))
    assert line.startswith("not made yet — 1 backbone, 1 intermediate, 8 finetunes, 24 predictions")


def test_what_was_deleted_is_named(tmp_path: Path) -> None:
    finish(plan(tmp_path).steps())
    for path in tmp_path.glob("small/predictions/mini/none/squad_v1/*/*/xquad/qaa.parquet"):
        path.unlink()
    assert explain(plan(tmp_path)) == ["prediction deleted: xquad/qaa — 1 prediction"]
    (tmp_path / "small/tables/cells.csv").unlink()
    assert "file deleted: tables/cells.csv — tables" in explain(plan(tmp_path))


def test_deleted_weights_that_nothing_needs_are_not_told(tmp_path: Path) -> None:
    finish(plan(tmp_path).steps())
    for path in tmp_path.glob("small/finetune/**/model.safetensors"):
        path.unlink()
    made = plan(tmp_path)
    predict = made.step("predict", ("mini", "none", "pawsx", "seed-1"))
    finetune = made.step("finetune", ("mini", "none", "pawsx", "seed-1"))
    assert report([made], []) == ""
    assert explain(made, [finetune]) == ["weights deleted: finetune/mini/none/pawsx/seed-1 — 1 finetune"]
    assert "then 2 predictions" in report([made], [finetune.outputs[0], predict.outputs[0]])


def test_a_finished_step_that_is_forced_says_so(tmp_path: Path) -> None:
    finish(plan(tmp_path).steps())
    made = plan(tmp_path)
    assert explain(made, [made.figures()]) == ["forced — figures"]


def test_what_left_the_study_is_told_of_the_tables(tmp_path: Path) -> None:
    two = {"seeds": {"intermediate": [1, 2]}}
    finish(plan(tmp_path, two).steps())
    assert explain(plan(tmp_path)) == ["seed removed: 2 — tables, then figures"]


def test_two_edits_are_two_lines_and_the_newest_sibling_is_compared(tmp_path: Path) -> None:
    slow, slower = (recipe(finetune={"pawsx": {"learning_rate": rate}}) for rate in (5.0e-4, 2.5e-5))
    finish(plan(tmp_path).steps(), "2026-01-01T00:00:00Z")
    finish(plan(tmp_path, slow).steps(), "2026-01-02T00:00:00Z")
    lines = explain(plan(tmp_path, slower, {"seeds": {"intermediate": [1, 2]}}))
    assert [line.split(" — ")[0] for line in lines] == [
        "new seed: 2",
        "learning rate of finetune/pawsx: 5e-4 → 2.5e-5",
    ]
    assert explain(plan(tmp_path)) == []  # set back; only the tables hold one configuration at a time


def test_a_finished_upstream_still_gives_the_cause(tmp_path: Path) -> None:
    """The intermediate is there from an earlier run, its finetunes are not: their cause is still its setting."""
    longer = recipe(intermediate={"mnli": {"steps": 15}})
    finish([s for s in plan(tmp_path, longer).steps() if s.phase == "intermediate"], "2026-01-01T00:00:00Z")
    finish(plan(tmp_path).steps(), "2026-01-02T00:00:00Z")
    assert explain(plan(tmp_path, longer)) == [
        "steps of intermediate/mnli: 12 → 15 — 4 finetunes, 12 predictions, 7 scores, tables, figures"
    ]


# --- files and libraries

FILES: dict[str, Any] = {
    "study": "files",
    "data": {"source": "files"},
    "recipe": "jiant",
    "recipes": {},
    "targets": {"pawsx": {"languages": ["en", "de"]}},
    "intermediates": {"none": {"tasks": []}},
    "seeds": {"intermediate": [1]},
}


def of_files(tmp_path: Path, results: str = "results") -> Plan:
    data = {"source": "files", "root": str(tmp_path / "data")}
    raw = {**FILES, "data": data, "backbones": {"own": {"path": str(tmp_path / "own")}}}
    made = Plan(load(raw), tmp_path / results)
    made.steps()
    return made


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def on_files(tmp_path: Path) -> Path:
    write(tmp_path / "own" / "model.safetensors", "weights")
    write(tmp_path / "data" / "x-final" / "en" / "train.tsv", "train")
    write(tmp_path / "data" / "x-final" / "de" / "test_2k.tsv", "test")
    finish(of_files(tmp_path).steps())
    return tmp_path


def test_edited_training_data(on_files: Path) -> None:
    write(on_files / "data" / "x-final" / "en" / "train.tsv", "other")
    assert explain(of_files(on_files)) == [
        "data changed: train of pawsx — 1 dataset, then 1 check of the data files, 1 tokenization, "
        "1 finetune, 2 predictions, 1 score, tables, figures, text overlap"
    ]


def test_edited_test_data(on_files: Path) -> None:
    write(on_files / "data" / "x-final" / "de" / "test_2k.tsv", "other")
    assert explain(of_files(on_files)) == [
        "data changed: test of pawsx (de) — 1 dataset, "
        "then 1 check of the data files, 1 tokenization, 1 prediction, 1 score, tables, figures, text overlap"
    ]


def test_a_touched_file_and_a_copied_study_say_nothing(on_files: Path) -> None:
    os.utime(on_files / "data" / "x-final" / "en" / "train.tsv", (1, 1))
    assert explain(of_files(on_files)) == []
    shutil.copytree(on_files / "results", on_files / "copy", copy_function=shutil.copyfile)
    assert explain(of_files(on_files, "copy")) == []


def test_other_weights(on_files: Path) -> None:
    write(on_files / "own" / "model.safetensors", "others")
    assert explain(of_files(on_files)) == [
        "backbone changed: own — 1 backbone, then 1 tokenization, 1 finetune, 2 predictions, 1 score, tables, figures"
    ]


def test_a_library_that_reruns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = {"library_changes": "rerun"}
    finish(plan(tmp_path, strict).steps())
    monkeypatch.setattr(provenance, "versions", lambda: {**VERSIONS, "torch": "9.9"})
    lines = explain(plan(tmp_path, strict))
    assert len(lines) == 1
    assert lines[0].startswith(f"library torch: {VERSIONS['torch']} → 9.9 — mini world, 9 datasets, 1 backbone")


VERSIONS = provenance.versions()


# --- words


@pytest.mark.parametrize(
    ("given", "text"),
    [(1.0e-3, "1e-3"), (2.5e-5, "2.5e-5"), (0.1, "0.1"), (3.0, "3"), (0.0, "0"), (None, "none"), (True, "yes"),
     (["en", "de"], "en, de"), ([], "none"), ("bf16", "bf16"), (64, "64"), ({"a": 1}, '{"a": 1}')],
)  # fmt: skip
def test_values_are_written_as_researchers_do(given: Any, text: str) -> None:
    assert wording.value(given) == text


def test_code_of_every_kind_has_a_name() -> None:
    names = ["xstilts.metrics", "xstilts.tasks.formats.squad", "workflow/scripts/score.py", "shell of score"]
    assert [wording.module(name) for name in [*names, "data/recipes.yaml"]] == [
        ("metric code", "metrics/__init__.py"),
        ("data reading code", "tasks/formats/squad.py"),
        ("script", "workflow/scripts/score.py"),
        ("shell command", "score"),
        ("file", "data/recipes.yaml"),
    ]


@pytest.mark.slow
def test_two_hash_seeds_agree(tmp_path: Path) -> None:
    finish(plan(tmp_path).steps())
    program = (
        "import sys; from pathlib import Path;"
        "from tests.unit.finished import plan; from xstilts.explain import explain;"
        "change = {'recipes': {'small': {'defaults': {'learning_rate': 5e-4}}}, 'seeds': {'intermediate': [1, 2]},"
        " 'targets': {'tatoeba': {'languages': ['qaa', 'qab', 'qac']}}};"
        "made = plan(Path(sys.argv[1]), change); print([s.digest for s in made.steps()], explain(made))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "7")
    }
    assert len(told) == 1
    assert "2 languages added to tatoeba (qab, qac)" in told.pop()


def test_explaining_writes_nothing(tmp_path: Path) -> None:
    finish(plan(tmp_path).steps())
    before = sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    explain(plan(tmp_path, {"compute": {"precision": "bf16"}}))
    assert sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def on_disk(directory: Path) -> Any:
    """The config as Snakemake reads it, its keys in the order of the file."""
    return yaml.safe_load((directory / "study.yaml").read_text(encoding="utf-8"))


def test_a_dry_run_says_it_at_its_end_and_a_finished_study_nothing(tmp_path: Path, dry_runs: DryRuns) -> None:
    space = Workspace(tmp_path, SMALL)
    finish(plan(tmp_path / "results", base=on_disk(tmp_path)).steps())
    assert "xstilts: why" not in dry_runs.run(tmp_path)[1]
    space.configure(SMALL, **recipe(finetune={"pawsx": {"learning_rate": 5.0e-4}}))
    told = dry_runs.run(tmp_path, "all_matrix", "--quiet", "rules")[1].splitlines()
    why = told.index("xstilts: why these jobs would run:")
    assert told[why + 1] == f"  {CONFIG_EDITS[0][2][0]}"
    assert told[why + 2].startswith("xstilts: what it would cost")
    score = (
        plan(tmp_path / "results", base=on_disk(tmp_path)).step("score", ("mini", "none", "pawsx", "seed-1")).outputs[0]
    )
    part = dry_runs.run(tmp_path, os.path.relpath(score, tmp_path))[1].splitlines()
    assert any(line.endswith("1e-3 → 5e-4 — 1 finetune, then 2 predictions, 1 score") for line in part)
