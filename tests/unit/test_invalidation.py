"""What an edit reruns, and what it does not: every expectation follows from the definition of the study's graph.

Units are (step, cell, language): a prediction counts per language, since a finished table is kept and linked again.
Edits of code are made in a copy of the package and planned by a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from xstilts.config import deep_merge

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Unit = tuple[str, ...]
Units = frozenset[Unit]

INTERMEDIATES = [
    "none",
    "anli_plus",
    "mnli",
    "qqp",
    "squad_v2",
    "squad_v1",
    "hellaswag",
    "ccg",
    "cosmosqa",
    "commonsenseqa",
]  # rows of config/mini.yaml
GROUPS = {
    "mnli": ("xnli",),
    "pawsx": ("pawsx",),
    "udpos": ("udpos",),
    "panx": ("panx",),
    "squad_v1": ("xquad", "mlqa"),
    "tydiqa": ("tydiqa",),
    "encoder": ("bucc2018", "tatoeba"),
}
KIND = {
    "pair": ("mnli", "pawsx"),
    "tagging": ("udpos", "panx"),
    "span": ("squad_v1", "tydiqa"),
}
INTERMEDIATE_KIND = {
    "pair": ("anli_plus", "mnli", "qqp"),
    "tagging": ("ccg",),
    "span": ("squad_v1", "squad_v2"),
    "choice": ("hellaswag", "cosmosqa", "commonsenseqa"),
}
INVENTED = ("qaa", "qab", "qac", "qad", "qae")
TABLES: Units = frozenset({("tabulate",), ("figures",)})
OVERLAP: Units = frozenset({("overlap",)})  # reads nothing but training and test texts

_PLAN = """
import json, sys, yaml
from xstilts.config import load
from xstilts.study import Plan
units = {}
for step in Plan(load(json.loads(sys.argv[1]))).steps():
    if step.phase == "predict":
        for part in step.payload["parts"]:
            units["/".join(("predict", *step.folders, part["task"], part["language"]))] = part["digest"]
    else:
        units["/".join((step.phase, *step.folders))] = step.digest
print(json.dumps(units))
"""


def languages(target: str) -> tuple[str, ...]:
    return INVENTED if target in ("bucc2018", "tatoeba") else ("en", *INVENTED)


def seeds(row: str, group: str) -> str:
    return "seedless" if (row, group) == ("none", "encoder") else "seed-1"


def evaluation(row: str, group: str, targets: tuple[str, ...] | None = None) -> set[Unit]:
    """Predictions and scores of one checkpoint."""
    folder = seeds(row, group)
    units: set[Unit] = set()
    for target in targets or GROUPS[group]:
        units |= {("predict", "mini", row, group, folder, target, code) for code in languages(target)}
        units.add(("score", "mini", row, target, folder))
    return units


def finetunes(rows: list[str], groups: tuple[str, ...]) -> set[Unit]:
    """Fine-tunes and what follows from them."""
    units: set[Unit] = set()
    for row in rows:
        for group in groups:
            units |= evaluation(row, group) | (
                set() if group == "encoder" else {("finetune", "mini", row, group, "seed-1")}
            )
    return units


def intermediates(rows: tuple[str, ...]) -> set[Unit]:
    """Intermediates and what follows from them."""
    return {("intermediate", "mini", row, "seed-1") for row in rows} | finetunes(list(rows), tuple(GROUPS))


def scores(*targets: str) -> Units:
    """Scores of targets, in every row, and the tables."""
    group_of = {target: group for group, members in GROUPS.items() for target in members}
    units = {("score", "mini", row, t, seeds(row, group_of[t])) for row in INTERMEDIATES for t in targets}
    return frozenset(units) | TABLES


def predictions(*groups: str, targets: tuple[str, ...] | None = None) -> Units:
    """Predictions of groups, in every row, and what follows."""
    units: set[Unit] = set()
    for row in INTERMEDIATES:
        for group in groups:
            units |= evaluation(row, group, targets)
    return frozenset(units) | TABLES


NOTHING: Units = frozenset()
TRAINED = frozenset(intermediates(tuple(INTERMEDIATES[1:])) | finetunes(["none"], tuple(GROUPS)[:-1])) | TABLES
BACKBONE = TRAINED | frozenset(evaluation("none", "encoder")) | {("backbone", "mini")}


def kind(name: str) -> Units:
    """All trainings whose task is of a kind, all that follows, and their predictions in every row."""
    units = intermediates(INTERMEDIATE_KIND[name])
    groups = KIND.get(name, ())
    return frozenset(units | finetunes(INTERMEDIATES, groups)) | TABLES


@cache
def planned(source: Path, config: str) -> dict[str, str]:
    """Unit: digest, as a process of its own plans it."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-P", "-c", _PLAN, config]
    run = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    units: dict[str, str] = json.loads(run.stdout)
    return units


def rerun(before: dict[str, str], after: dict[str, str]) -> Units:
    """What the edited study must compute and the unedited one has not, parts of a study's data left aside."""
    names = {name for name, value in after.items() if before.get(name) != value}
    return frozenset(tuple(name.split("/")) for name in names if not name.startswith(("prepare", "world", "preflight")))


def mini() -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))
    rows = {row: {"tasks": [] if row == "none" else [row]} for row in INTERMEDIATES}
    return {**raw, "intermediates": rows}


def recipe(phase: str, task: str, **values: Any) -> dict[str, Any]:
    return {"recipes": {"mini": {phase: {task: values}}}}


def backbone(**values: Any) -> dict[str, Any]:
    return {"backbones": {"mini": values}}


CONFIG_EDITS: dict[str, tuple[dict[str, Any], Units]] = {
    "ranks": ({"compute": {"ranks": 2}}, NOTHING),
    "threads": ({"compute": {"threads": 2}}, NOTHING),
    "warm start": ({"compute": {"warm": False}}, NOTHING),
    "micro-batch": ({"compute": {"micro_batch": 4}}, NOTHING),
    "tokens of a pass": ({"compute": {"micro_tokens": 99}}, NOTHING),
    "device": ({"compute": {"device": "cuda"}}, NOTHING),
    "deepspeed": ({"compute": {"deepspeed": {"zero_stage": 3}}}, NOTHING),
    "activation checkpointing": ({"compute": {"activation_checkpointing": True}}, NOTHING),
    "minutes between states": ({"compute": {"state_minutes": 1}}, NOTHING),
    "trackers": ({"compute": {"report_to": ["tensorboard", "wandb"]}}, NOTHING),
    "resources": ({"compute": {"resources": {"finetune": {"mem_mb": 1, "runtime": 8}}}}, NOTHING),
    "inference batch": ({"evaluation": {"batch_tokens": 99}}, NOTHING),
    "budget": ({"budget": {"device": "H100", "gpus": 64, "price": 2.0}}, NOTHING),
    "terminal output": ({"report": {"print_matrix": False}}, NOTHING),
    "unused recipe": ({"recipes": {"other": {"based_on": "jiant"}}}, NOTHING),
    "unused dataset": ({"data": {"datasets": {"mine": {"limit": {"train": 3}}}}}, NOTHING),
    "figure formats": ({"report": {"figure_formats": ["png"]}}, frozenset({("figures",)})),
    "colour scale": ({"report": {"delta_range": 5.0}}, frozenset({("figures",)})),
    "target learning rate": (
        recipe("finetune", "pawsx", learning_rate=5e-4),
        frozenset(finetunes(INTERMEDIATES, ("pawsx",))) | TABLES,
    ),
    "shared train set": (
        recipe("finetune", "squad_v1", batch=16),
        frozenset(finetunes(INTERMEDIATES, ("squad_v1",))) | TABLES,
    ),
    "intermediate steps": (recipe("intermediate", "qqp", steps=301), frozenset(intermediates(("qqp",))) | TABLES),
    "selection rule": (
        recipe("finetune", "udpos", selection={"checkpoint": "best"}),
        frozenset(finetunes(INTERMEDIATES, ("udpos",))) | TABLES,
    ),
    "all hyperparameters": ({"recipes": {"mini": {"defaults": {"weight_decay": 0.1}}}}, TRAINED),
    "precision": (
        {"compute": {"precision": "bf16"}},
        TRAINED | frozenset(evaluation("none", "encoder")),
    ),
    "retrieval length": ({"recipes": {"mini": {"retrieval": {"max_length": 32}}}}, predictions("encoder")),
    "retrieval layer": (backbone(retrieval_layer=2), predictions("encoder")),
    "neighbours": ({"evaluation": {"neighbours": 5}}, predictions("encoder")),
    "pooling": (
        backbone(pooling="cls"),
        frozenset(
            intermediates(INTERMEDIATE_KIND["pair"] + INTERMEDIATE_KIND["choice"])
            | finetunes(INTERMEDIATES, ("mnli", "pawsx"))
        )
        | TABLES,
    ),
    "backbone steps": (backbone(train={"steps": 2999}), BACKBONE),
    "added seed": (
        {"seeds": {"intermediate": [1, 2]}},
        frozenset(
            tuple("seed-2" if part in ("seed-1", "seedless") else part for part in unit)
            for unit in TRAINED
            if unit[0] not in ("tabulate", "figures")
        )
        | TABLES,
    ),
    "limited rows": (
        {"data": {"datasets": {"udpos": {"limit": {"train": 100}}}}},
        frozenset(finetunes(INTERMEDIATES, ("udpos",))) | TABLES | OVERLAP,
    ),
    "limited test rows": (
        {"data": {"datasets": {"xquad": {"limit": {"test": 10}}}}},
        predictions("squad_v1", targets=("xquad",)) | OVERLAP,
    ),
}


@pytest.mark.parametrize("name", CONFIG_EDITS)
def test_an_edit_of_the_config_reruns_exactly_what_it_can_change(name: str) -> None:
    changes, expected = CONFIG_EDITS[name]
    before = planned(ROOT, json.dumps(mini()))
    assert rerun(before, planned(ROOT, json.dumps(deep_merge(mini(), changes)))) == expected


def _without(raw: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    return {**raw, section: {key: value for key, value in raw[section].items() if key != name}}


def test_an_added_row_or_column_computes_its_own_cells() -> None:
    full = planned(ROOT, json.dumps(mini()))
    without_row = planned(ROOT, json.dumps(_without(mini(), "intermediates", "qqp")))
    assert rerun(without_row, full) == frozenset(intermediates(("qqp",))) | TABLES | OVERLAP
    assert rerun(full, without_row) == TABLES | OVERLAP
    without_column = planned(ROOT, json.dumps(_without(mini(), "targets", "mlqa")))
    assert rerun(without_column, full) == predictions("squad_v1", targets=("mlqa",)) | OVERLAP
    assert rerun(full, without_column) == TABLES | OVERLAP


def test_an_added_language_is_predicted_alone() -> None:
    raw = mini()
    fewer = deep_merge(raw, {"targets": {"udpos": {"languages": ["en", "qaa", "qab", "qac", "qad"]}}})
    added = rerun(planned(ROOT, json.dumps(fewer)), planned(ROOT, json.dumps(raw)))
    expected = {("predict", "mini", row, "udpos", "seed-1", "udpos", "qae") for row in INTERMEDIATES}
    assert added == frozenset(expected) | scores("udpos") | OVERLAP


def test_an_added_backbone_computes_its_own_cells() -> None:
    raw = mini()
    second = {"backbones": {"second": {**raw["backbones"]["mini"], "retrieval_layer": 2}}}
    added = rerun(planned(ROOT, json.dumps(raw)), planned(ROOT, json.dumps(deep_merge(raw, second))))
    assert {unit[1] for unit in added if len(unit) > 1} == {"second"}
    assert len(added) == len(BACKBONE)


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    """An edit of one place in one file."""

    def edit(copy: Path) -> None:
        file = copy / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def append(path: str, text: str) -> Callable[[Path], None]:
    """More text at the end of one file."""

    def edit(copy: Path) -> None:
        with (copy / path).open("a", encoding="utf-8") as handle:
            handle.write(text)

    return edit


def redocument(path: str) -> Callable[[Path], None]:
    """Another module docstring, a comment, and blank lines."""

    def edit(copy: Path) -> None:
        file = copy / path
        text = re.sub(
            r'^""".*?"""', '"""Other words."""\n\n\n# a comment', file.read_text(encoding="utf-8"), flags=re.S
        )
        file.write_text(text, encoding="utf-8")

    return edit


CODE = "\n\nADDED = 1\n"
CODE_EDITS: dict[str, tuple[Callable[[Path], None], Units]] = {
    "docstring and comments of the trainer": (redocument("src/xstilts/training/trainer.py"), NOTHING),
    "docstring of a metric": (redocument("src/xstilts/metrics/squad.py"), NOTHING),
    "comment in a script": (append("workflow/scripts/finetune.py", "# why\n"), NOTHING),
    "comment in a rule file": (append("workflow/rules/finetune.smk", "# why\n"), NOTHING),
    "schema of the config": (append("src/xstilts/config.py", CODE), NOTHING),
    "the grid": (append("src/xstilts/study/results.py", CODE), NOTHING),
    "words of errors": (append("src/xstilts/errors.py", CODE), NOTHING),
    "provenance": (append("src/xstilts/provenance.py", CODE), NOTHING),
    "a new task": (
        lambda copy: shutil.copy(copy / "src/xstilts/tasks/qqp.py", copy / "src/xstilts/tasks/newtask.py") and None,
        NOTHING,
    ),
    "a recipe that is not used": (
        replace("src/xstilts/data/recipes.yaml", "learning_rate: 1.0e-5", "learning_rate: 3.0e-5"),
        NOTHING,
    ),
    "the official scorer": (append("src/xstilts/evaluation/official.py", CODE), NOTHING),
    "figures": (append("src/xstilts/analysis/figures.py", CODE), frozenset({("figures",)})),
    "tables": (append("src/xstilts/analysis/tables.py", CODE), TABLES),
    "overlap of texts": (append("src/xstilts/analysis/overlap.py", CODE), OVERLAP),
    "submission files": (append("src/xstilts/evaluation/export.py", CODE), NOTHING),
    "a metric that is only reported": (append("src/xstilts/metrics/mlqa.py", CODE), scores("mlqa")),
    "mining and its metric": (append("src/xstilts/metrics/retrieval.py", CODE), predictions("encoder")),
    "scoring": (
        append("src/xstilts/evaluation/score.py", CODE),
        scores(*(target for members in GROUPS.values() for target in members)),
    ),
    "search of retrieval": (append("src/xstilts/evaluation/search.py", CODE), predictions("encoder")),
    "training loop": (append("src/xstilts/training/trainer.py", CODE), TRAINED),
    "features of tagging": (append("src/xstilts/tasks/features/tagging.py", CODE), kind("tagging")),
    "features of choices": (append("src/xstilts/tasks/features/choice.py", CODE), kind("choice")),
    "one task": (
        append("src/xstilts/tasks/pawsx.py", CODE),
        frozenset(finetunes(INTERMEDIATES, ("pawsx",))) | TABLES,
    ),
    "selection's criterion": (
        append("src/xstilts/metrics/tagging.py", CODE),
        scores("udpos", "panx"),  # no training of the mini study selects a checkpoint
    ),
    "shell of a rule": (
        replace("workflow/rules/score.smk", '"PYTHONSAFEPATH=1 ', '"PYTHONSAFEPATH=2 '),
        scores(*(target for members in GROUPS.values() for target in members)),
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second working copy."""
    place = tmp_path_factory.mktemp("copy")
    for part in ("src", "workflow"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def test_another_working_copy_plans_the_same(copy: Path) -> None:
    assert planned(copy, json.dumps(mini())) == planned(ROOT, json.dumps(mini()))


@pytest.mark.parametrize("name", CODE_EDITS)
def test_an_edit_of_the_code_reruns_exactly_what_reaches_it(name: str, tmp_path: Path) -> None:
    edit, expected = CODE_EDITS[name]
    for part in ("src", "workflow"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    edit(tmp_path)
    before, after = planned(ROOT, json.dumps(mini())), planned(tmp_path, json.dumps(mini()))
    assert rerun(before, after) == expected


DATA_EDITS: dict[str, tuple[str, str, set[Unit]]] = {
    "a training row": (
        "xnli/train-en.tsv",
        "one\ttwo\tneutral\n",
        {("finetune",), ("predict", "en"), ("predict", "de")},
    ),
    "a test row": ("xnli/dev-de.tsv", "eins\tzwei\tneutral\n", {("predict", "de")}),
}


def _files_study(root: Path) -> str:
    source = {"format": "pairs", "files": {"train": "xnli/train-{lang}.tsv", "test": "xnli/dev-{lang}.tsv"}}
    columns = {"columns": {"text_a": 0, "text_b": 1, "label": 2}}
    return json.dumps(
        {
            "study": "files",
            "data": {
                "source": "files",
                "root": str(root),
                "datasets": {"xnli": {"files": [source | columns], "dev": {}}},
            },
            "backbones": {"b": {"path": str(root)}},
            "intermediates": {"none": {"tasks": []}},
            "targets": {"xnli": {"train_set": "xnli", "languages": ["en", "de"]}},
            "seeds": {"intermediate": [1]},
            "recipe": "mine",
            "recipes": {"mine": {"based_on": "jiant", "finetune": {"xnli": {}}}},
        }
    )


@pytest.mark.parametrize("name", DATA_EDITS)
def test_an_edit_of_data_counts_by_content(name: str, tmp_path: Path) -> None:
    file, row, expected = DATA_EDITS[name]
    (tmp_path / "xnli").mkdir()
    for path in ("xnli/train-en.tsv", "xnli/dev-en.tsv", "xnli/dev-de.tsv"):
        (tmp_path / path).write_text("a\tb\tentailment\n" * 3, encoding="utf-8")
    study = _files_study(tmp_path)
    before = planned.__wrapped__(ROOT, study)
    os.utime(tmp_path / file, (1, 1))
    assert planned.__wrapped__(ROOT, study) == before
    with (tmp_path / file).open("a", encoding="utf-8") as handle:
        handle.write(row)
    units = rerun(before, planned.__wrapped__(ROOT, study))
    found = {(unit[0], unit[-1]) if unit[0] == "predict" else (unit[0],) for unit in units}
    assert found == expected | {("score",), ("tabulate",), ("figures",), ("overlap",)}
