"""What an edit reruns, and nothing else: each edit is made to a finished study, which Snakemake then dry-runs.

An edit names what it touches in the study's words; what must run follows from the graph's definition (tests/graph.py).
Edits of growth touch nothing: what they add reads other things. A new phase or kind of row gets its place in
tests/graph.py and tests/reduced.py, and a row for its settings, code and data here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.dryruns import DryRuns
from tests.graph import invalidated, matching, reads
from tests.reduced import REDUCED, Copy, from_scratch, outputs, rewrite, units
from tests.workspace import Workspace

from xstilts.config import deep_merge

pytestmark = pytest.mark.slow

NONE: tuple[str, ...] = ()
TRAININGS = ("intermediate/*", "finetune/*")
TRAINED = tuple(f"predict/*/{group}/seed-1/*" for group in ("mnli", "udpos", "squad_v1"))
ENCODED = ("predict/*/encoder/*",)
TABLES = ("tabulate", "figures")
Config = dict[str, Any]


@dataclass(frozen=True)
class Edit:
    """One edit and what it touches.

    Attributes:
        config: changes of the config: a mapping to lay over it, or a function of it.
        files: changes of a working copy's files.
        code: does `files` change code or rules?
        again: units that are made again as they were, so that what reads them stays as it is.
    """

    touched: tuple[str, ...]
    config: Config | Callable[[Config], Config] = field(default_factory=dict)
    files: Callable[[Copy], object] | None = None
    code: bool = False
    again: tuple[str, ...] = NONE


def recipe(phase: str, task: str, **values: Any) -> Config:
    return {"recipes": {"reduced": {phase: {task: values}}}}


def defaults(**values: Any) -> Config:
    return {"recipes": {"reduced": {"defaults": values}}}


def backbone(**values: Any) -> Config:
    return {"backbones": {"mini": values}}


def without(section: str, name: str) -> Callable[[Config], Config]:
    return lambda config: {**config, section: {key: value for key, value in config[section].items() if key != name}}


def reversed_keys(config: Config) -> Config:
    """Keys the other way round, but for rows and columns, whose order shows."""
    turned = {key: dict(reversed(config[key].items())) for key in ("compute", "data")}
    return dict(reversed((config | turned).items()))


SETTINGS = {
    "ranks": Edit(NONE, {"compute": {"ranks": 2}}),
    "threads": Edit(NONE, {"compute": {"threads": 2}}),
    "warm start": Edit(NONE, {"compute": {"warm": False}}),
    "micro-batch": Edit(NONE, {"compute": {"micro_batch": 4}}),
    "tokens of a pass": Edit(NONE, {"compute": {"micro_tokens": 99}}),
    "activation checkpointing": Edit(NONE, {"compute": {"activation_checkpointing": True}}),
    "minutes between states": Edit(NONE, {"compute": {"state_minutes": 1}}),
    "trackers": Edit(NONE, {"compute": {"report_to": ["tensorboard", "wandb"]}}),
    "device": Edit(NONE, {"compute": {"device": "cuda"}}),
    "DeepSpeed": Edit(NONE, {"compute": {"deepspeed": {"zero_stage": 3}}}),
    "resources": Edit(NONE, {"compute": {"resources": {"finetune": {"mem_mb": 1, "runtime": 8}}}}),
    "precision": Edit((*TRAININGS, *TRAINED, *ENCODED), {"compute": {"precision": "bf16"}}),
    "inference batch": Edit(NONE, {"evaluation": {"batch_tokens": 99}}),
    "neighbours": Edit(ENCODED, {"evaluation": {"neighbours": 5}}),
    "layers of retrieval": Edit(ENCODED, {"evaluation": {"retrieval_layers": "all"}}),
    "budget": Edit(NONE, {"budget": {"device": "H100", "gpus": 64, "price": 2.0}}),
    "matrix on the terminal": Edit(NONE, {"report": {"print_matrix": False}}),
    "formats of figures": Edit(("figures",), {"report": {"figure_formats": ["png"]}}),
    "colour scale": Edit(("figures",), {"report": {"delta_range": 5.0}}),
    "a recipe that is not used": Edit(NONE, {"recipes": {"other": {"based_on": "jiant"}}}),
    "a dataset that is not used": Edit(NONE, {"data": {"datasets": {"mine": {"limit": {"train": 3}}}}}),
    "order of keys": Edit(NONE, reversed_keys),
    "order of targets": Edit(TABLES, lambda c: {**c, "targets": dict(reversed(c["targets"].items()))}),
    "learning rate of a target": Edit(
        ("finetune/*/udpos/*",), recipe("finetune", "udpos", learning_rate=5e-4)
    ),
    "batch of a shared train set": Edit(("finetune/*/squad_v1/*",), recipe("finetune", "squad_v1", batch=8)),
    "steps of an intermediate": Edit(("intermediate/*/hellaswag/*",), recipe("intermediate", "hellaswag", steps=9)),
    "every training's weight decay": Edit(TRAININGS, defaults(weight_decay=0.1)),
    "length of answers": Edit(
        ("finetune/*/squad_v1/*", "predict/*/squad_v1/*"), defaults(max_answer_length=9)
    ),
    "length of inputs": Edit(
        ("finetune/*/udpos/*", "predict/*/udpos/*"), recipe("finetune", "udpos", max_length=48)
    ),
    "looks at dev": Edit(
        ("finetune/*/squad_v1/*",), recipe("finetune", "squad_v1", selection={"every_steps": 2})
    ),
    "looks at dev where none is taken": Edit(NONE, recipe("finetune", "udpos", selection={"every_steps": 2})),
    "selection": Edit(("score/*/udpos/*",), recipe("finetune", "udpos", selection={"checkpoint": "best"})),
    "length of retrieval": Edit(ENCODED, {"recipes": {"reduced": {"retrieval": {"max_length": 32}}}}),
    "layer of retrieval": Edit((*ENCODED, *TABLES), backbone(retrieval_layer=2)),
    "pooling": Edit(("intermediate/*", "finetune/*/mnli/*"), backbone(pooling="cls")),
    "steps of the backbone": Edit(("backbone/mini",), backbone(train={"steps": 31})),
    "limit of training rows": Edit(
        ("part/udpos/train/en", "prepare/udpos"), {"data": {"datasets": {"udpos": {"limit": {"train": 100}}}}}
    ),
    "limit of test rows": Edit(
        ("part/xquad/test/*", "prepare/xquad"), {"data": {"datasets": {"xquad": {"limit": {"test": 10}}}}}
    ),
    "share of the dev cut": Edit(
        ("part/squad_v1/*",), {"data": {"datasets": {"squad_v1": {"dev": {"share": 0.2}}}}}
    ),
    "library changes rerun": Edit(("*",), {"library_changes": "rerun"}),
    "name of the study": Edit(("*",), {"study": "renamed"}),
}  # fmt: skip

GROWTH = {
    "a language": Edit(NONE, {"targets": {"udpos": {"languages": ["en", "qaa", "qab"]}}}),
    "a language less": Edit(NONE, {"targets": {"udpos": {"languages": ["en"]}}}),
    "a language of the backbone": Edit(("backbone/mini",), backbone(train={"languages": ["en", "qaa", "qab"]})),
    "a seed": Edit(NONE, {"seeds": {"intermediate": [1, 2]}}),
    "another seed": Edit(NONE, {"seeds": {"intermediate": [3]}}),
    "a row": Edit(
        NONE, {"intermediates": {"squad_v1": {"tasks": ["squad_v1"]}}} | recipe("intermediate", "squad_v1", steps=8)
    ),
    "a row less": Edit(TABLES, without("intermediates", "hellaswag")),
    "a column less": Edit(TABLES, without("targets", "mlqa")),
    "a backbone": Edit(
        NONE, {"backbones": {"second": deep_merge(REDUCED["backbones"]["mini"], {"train": {"seed": 1}})}}
    ),
}


def append(path: str, text: str = "\n\nADDED = 1\n") -> Callable[[Copy], object]:
    """More text at the end of a file; a statement, unless said otherwise."""

    def edit(copy: Copy) -> None:
        file = copy.directory / path
        file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")

    return edit


def redocument(path: str) -> Callable[[Copy], object]:
    """Another module docstring, a comment, and blank lines."""

    def edit(copy: Copy) -> None:
        file = copy.directory / path
        text = re.sub(r'^""".*?"""', '"""Other words."""\n\n\n# a comment', file.read_text(), flags=re.S)
        file.write_text(text, encoding="utf-8")

    return edit


def halved(path: str, value: str) -> Callable[[Copy], object]:
    """Code that computes something else: a value halved where it is used."""
    return lambda copy: rewrite(copy.directory / path, value, f"{value} / 2")


def new_task(copy: Copy) -> None:
    shutil.copy(copy.directory / "src/xstilts/tasks/qqp.py", copy.directory / "src/xstilts/tasks/newtask.py")


def installed(library: str, version: str) -> Callable[[Copy], object]:
    """Let a library's version read otherwise: of two installations Python believes the first on its path."""

    def edit(copy: Copy) -> None:
        folder = copy.directory / "src" / f"{library}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")

    return edit


def source(touched: tuple[str, ...], path: str) -> Edit:
    """A statement more in a module of the package."""
    return Edit(touched, files=append(f"src/xstilts/{path}"), code=True)


def command(copy: Copy, name: str, *arguments: str) -> None:
    """Run one of the study's commands with the code of the copy."""
    words = [sys.executable, "-P", "-m", f"xstilts.{name}", *arguments, "--configfile", "study.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(copy.directory / "src")}
    subprocess.run(words, cwd=copy.directory, env=environment, check=True, capture_output=True)


def accepted(copy: Copy) -> None:
    """A refactor of scoring, and the command by which its results are kept."""
    append("src/xstilts/evaluation/score.py")(copy)
    command(copy, "accept", "--step", "score")


PAIRS = ("intermediate/*/mnli/*", "finetune/*/mnli/*", "predict/*/xnli/*")
TAGGING = ("finetune/*/udpos/*", "predict/*/udpos/*")
SPANS = ("finetune/*/squad_v1/*", "predict/*/squad_v1/*")
CHOICES = ("intermediate/*/hellaswag/*",)
SCORES = ("score/*",)

CODE = {
    "docstring and comments of the trainer": Edit(NONE, files=redocument("src/xstilts/training/trainer.py"), code=True),
    "docstring of a metric": Edit(NONE, files=redocument("src/xstilts/metrics/squad.py"), code=True),
    "comment in a script": Edit(NONE, files=append("workflow/scripts/finetune.py", "# why\n"), code=True),
    "comment in a rule file": Edit(NONE, files=append("workflow/rules/finetune.smk", "# why\n"), code=True),
    "shell of a rule": Edit(
        SCORES,
        files=lambda c: rewrite(c.directory / "workflow/rules/score.smk", "PYTHONSAFEPATH=1", "PYTHONSAFEPATH=2"),
        code=True,
    ),
    "shell of a rule that shares its file": Edit(
        ("figures",),
        files=lambda c: rewrite(
            c.directory / "workflow/rules/tabulate.smk",
            "workflow/scripts/figures.py {",
            "-O workflow/scripts/figures.py {",
        ),
        code=True,
    ),
    "threads of a rule": Edit(
        NONE, files=lambda c: rewrite(c.directory / "workflow/rules/score.smk", "threads: 1", "threads: 2"), code=True
    ),
    "schema of the config": source(NONE, "config.py"),
    "the grid": source(NONE, "study/results.py"),
    "words of errors": source(NONE, "errors.py"),
    "records": source(NONE, "provenance.py"),
    "explanations": source(NONE, "differences.py"),
    "what a reported metric computes": Edit(
        ("score/*/xnli/*", "score/*/udpos/*", *ENCODED),  # the other metrics count by this one
        files=halved("src/xstilts/metrics/classification.py", "correct / len(gold) * 100"),
        code=True,
    ),
    "what a training computes": Edit(
        TRAININGS, files=halved("src/xstilts/training/trainer.py", "max_grad_norm=hyper.max_grad_norm"), code=True
    ),
    "a new task": Edit(NONE, files=new_task, code=True),
    "a recipe that is not used": Edit(
        NONE,
        files=lambda c: rewrite(
            c.directory / "src/xstilts/data/recipes.yaml", "learning_rate: 1.0e-5", "learning_rate: 3.0e-5"
        ),
        code=True,
    ),
    "the official scorer": source(NONE, "evaluation/official.py"),
    "submission files": source(NONE, "evaluation/export.py"),
    "figures": source(("figures",), "analysis/figures.py"),
    "tables": source(("tabulate",), "analysis/tables.py"),
    "overlap of texts": source(("overlap",), "analysis/overlap.py"),
    "a metric that is only reported": source(("score/*/mlqa/*",), "metrics/mlqa.py"),
    "a metric whose criterion nobody asks": source(("score/*/udpos/*",), "metrics/tagging.py"),
    "a metric by which a training selects": source(
        ("finetune/*/squad_v1/*", "score/*/xquad/*", "score/*/mlqa/*"), "metrics/squad.py"
    ),
    "mining and its metric": source((*ENCODED, "score/*/tatoeba/*"), "metrics/retrieval.py"),
    "scoring": source(SCORES, "evaluation/score.py"),
    "prediction": source((*TRAINED, *ENCODED), "evaluation/predict.py"),
    "search of retrieval": source(ENCODED, "evaluation/search.py"),
    "training loop": source(TRAININGS, "training/trainer.py"),
    "training of the backbone": source(("backbone/mini",), "training/pretrain.py"),
    "features of pairs": source(PAIRS, "tasks/features/pair.py"),
    "features of tagging": source(TAGGING, "tasks/features/tagging.py"),
    "features of questions": source(SPANS, "tasks/features/span.py"),
    "features of choices": source(CHOICES, "tasks/features/choice.py"),
    "one task": source(("finetune/*/udpos/*",), "tasks/udpos.py"),
    "a reader of files": source(("part/udpos/*", "prepare/udpos"), "tasks/formats/conllu.py"),
    "a reader that is not used": source(NONE, "tasks/formats/bucc.py"),
    "another version of torch": Edit(NONE, files=installed("torch", "9.9"), code=True),
    "another version of torch, to rerun": Edit(
        ("*",), {"library_changes": "rerun"}, files=installed("torch", "9.9"), code=True
    ),
    "an accepted refactor": Edit(NONE, files=accepted, code=True),
}


def touch(folder: str) -> Callable[[Copy], object]:
    def edit(copy: Copy) -> None:
        for path in (copy.directory / folder).rglob("*"):
            os.utime(path, (1, 1))

    return edit


def first_row(path: str, old: str, new: str) -> Callable[[Copy], object]:
    return lambda copy: rewrite(copy.directory / "data" / path, old, new)


def remove(pattern: str) -> Callable[[Copy], object]:
    """Delete one finished file."""
    return lambda copy: next(copy.results.glob(pattern)).unlink()


TABLE = "predictions/mini/mnli/udpos/seed-1/*/udpos/qaa.parquet"


def remove_stored(copy: Copy) -> None:
    """Delete a prediction, and the same table in the store."""
    table = next(copy.results.glob(TABLE))
    content = table.read_bytes()
    next(p for p in copy.results.glob("predictions/store/*.parquet") if p.read_bytes() == content).unlink()
    table.unlink()


def pruned(copy: Copy) -> None:
    """Delete all weights but the backbone's, before the config is edited."""
    edited = copy.config
    copy.configure(REDUCED)
    command(copy, "prune", "--keep", "none")
    assert len(list(copy.results.rglob("*.safetensors"))) == 1
    copy.configure(edited)


DATA = {
    "another label in a row of training": Edit(
        ("part/mnli/train/en", "prepare/mnli"),
        files=lambda c: rewrite(
            c.directory / "data/multinli_1.0/multinli_1.0_train.jsonl",
            '"gold_label": "entailment"',
            '"gold_label": "contradiction"',
        ),
    ),
    "touched data": Edit(NONE, files=touch("data")),
    "touched results": Edit(NONE, files=touch("results")),
    "touched code": Edit(NONE, files=touch("src"), code=True),
    "a deleted prediction": Edit(("predict/mini/mnli/udpos/seed-1/udpos/qaa",), files=remove_stored),
    "a prediction deleted but in the store": Edit(("score/mini/mnli/udpos/seed-1",), files=remove(TABLE)),
    "a score deleted that the tables hold": Edit(NONE, files=remove("scores/mini/none/xnli/*/*/scores.json")),
    "a deleted table": Edit(("tabulate",), files=remove("tables/deltas.csv")),
    "a deleted figure": Edit(("figures",), files=remove("figures/deltas-test.svg")),
    "a deleted part of a dataset that nothing has to read": Edit(NONE, files=remove("data/udpos/*/train.en.parquet")),
    "a deleted part of a dataset that a changed training reads": Edit(
        ("prepare/udpos", "finetune/*/udpos/*"),
        recipe("finetune", "udpos", learning_rate=5e-4),
        files=remove("data/udpos/*/train.en.parquet"),
    ),
    "a language less where weights are pruned": Edit(NONE, {"targets": {"udpos": {"languages": ["en"]}}}, files=pruned),
    "pruned weights": Edit(NONE, {"keep_weights": "none"}, files=pruned),
    "pruned weights that a lost prediction needs": Edit(
        ("predict/mini/mnli/udpos/seed-1/udpos/qaa",),
        files=lambda c: (pruned(c), remove_stored(c)),
        again=("intermediate/mini/mnli/seed-1", "finetune/mini/mnli/udpos/seed-1"),
    ),
    "a study under another name, its results moved along": Edit(
        ("tabulate",), {"study": "renamed"}, files=lambda c: c.results.with_name("reduced").rename(c.results)
    ),
    "deleted weights": Edit(NONE, files=remove("finetune/mini/none/udpos/*/*/model.safetensors")),
    "a deleted log": Edit(NONE, files=remove("logs/finetune/**/*.log")),
    "results without Snakemake's own records": Edit(
        NONE, files=lambda c: shutil.rmtree(c.directory / ".snakemake", ignore_errors=True)
    ),
}
EDITS: dict[str, Edit] = {
    f"{section}: {name}": edit
    for section, edits in (("config", SETTINGS), ("growth", GROWTH), ("code", CODE), ("data", DATA))
    for name, edit in edits.items()
}


def apply(edit: Edit, copy: Copy) -> Config:
    """Make the edit in a working copy of the reduced study; returns the edited config."""
    copy.configure(edit.config(copy.config) if callable(edit.config) else deep_merge(copy.config, edit.config))
    if edit.files:
        edit.files(copy)
    return copy.config


EXECUTED = (
    "config: learning rate of a target",
    "config: batch of a shared train set",
    "config: steps of an intermediate",
    "config: selection",
    "config: pooling",
    "config: neighbours",
    "config: limit of training rows",
    "growth: a language",
    "growth: a language less",
    "growth: a seed",
    "code: what a reported metric computes",
    "code: what a training computes",
    "data: another label in a row of training",
    "data: pruned weights that a lost prediction needs",
)
"""Edits whose rerun is also executed and compared with a study computed from scratch (tests/campaigns/reruns.py)."""


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_exactly_what_it_can_change(
    name: str, reduced: Workspace, dry_runs: DryRuns, tmp_path: Path
) -> None:
    edit = EDITS[name]
    copy = Copy(tmp_path, reduced, code=edit.code)
    config = apply(edit, copy)
    graph = reads(config)
    wanted = invalidated(reads(REDUCED), graph, edit.touched) | set(matching(graph, edit.again))
    found = units(copy, dry_runs)
    needless, missed = ({"/".join(unit) for unit in units} for units in (found - wanted, wanted - found))
    assert (needless, missed) == (set(), set())


def test_a_rerun_gives_the_cells_of_a_study_from_scratch(reduced: Workspace, tmp_path: Path) -> None:
    """Several edits at once, and weights deleted as soon as they may be; one by one: tests/campaigns/reruns.py."""
    copy = Copy(tmp_path / "rerun", reduced, code=True)
    edits = (
        "config: learning rate of a target",
        "growth: a language",
        "code: what a reported metric computes",
        "data: another label in a row of training",
    )
    for name in edits:
        apply(EDITS[name], copy)
    copy.run("all_matrix")
    copy.configure(copy.config, keep_weights="none")
    fresh = from_scratch(copy, tmp_path / "scratch")
    assert copy.cells_text() == fresh.cells_text() != reduced.cells_text()
    assert [path.parent.parent.parent.name for path in fresh.results.rglob("*.safetensors")] == ["backbone"]
    assert copy.planned() == fresh.planned() == {}


def test_two_working_copies_agree_whatever_the_hash_seed(reduced: Workspace, tmp_path: Path) -> None:
    plans = []
    for seed in ("1", "2"):
        copy, runs = Copy(tmp_path / seed, reduced, code=True), DryRuns(seed)
        apply(EDITS["growth: a seed"], copy)
        plans.append(outputs(runs.run(copy.directory)[1]))
        runs.close()
    assert plans[0] == plans[1]
    assert len(plans[0]) > 20


def test_a_clone_of_the_repository_beside_the_results_finds_them(
    reduced: Workspace, dry_runs: DryRuns, tmp_path: Path
) -> None:
    copy = Copy(tmp_path / "copy", reduced, code=True)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(copy.directory)]
    for words in (["init", "-q"], ["add", "src", "workflow"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(copy.directory), str(clone)], check=True)
    for part in ("data", "results"):
        (clone / part).symlink_to(copy.directory / part)
    assert units(Workspace(clone, REDUCED), dry_runs) == frozenset()


def test_results_of_another_configuration_are_refused(reduced: Workspace, dry_runs: DryRuns, tmp_path: Path) -> None:
    copy = Copy(tmp_path, reduced)
    old = next(copy.results.glob("finetune/mini/none/udpos/seed-1/*/model.safetensors")).relative_to(tmp_path)
    apply(EDITS["config: learning rate of a target"], copy)
    code, text = dry_runs.run(tmp_path, str(old))
    assert code != 0
    assert f"finetune/mini/none/udpos/seed-1: {old.parent.name} belongs to another configuration" in text


def test_an_orphan_that_writes_after_a_restart_changes_nothing(reduced: Workspace, tmp_path: Path) -> None:
    """Snakemake is killed and its jobs are not; they go on when a new run has finished."""
    copy = Copy(tmp_path, reduced)
    copy.configure(copy.config, compute={"warm": False})
    table = next(copy.results.glob(TABLE)).relative_to(tmp_path)
    content, cells = (tmp_path / table).read_bytes(), copy.cells_text()
    remove_stored(copy)
    shutil.rmtree(copy.results / "logs" / "predict")
    process = copy.start("all_matrix")
    while not list(copy.results.glob("logs/predict/mini/mnli/udpos/**/*.log")):
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()  # Snakemake alone
    os.killpg(process.pid, signal.SIGSTOP)
    copy.run("all_matrix", "--unlock")
    copy.run("all_matrix")
    os.killpg(process.pid, signal.SIGCONT)
    process.wait()
    _wait_for_group(process.pid)
    assert (copy.cells_text(), (tmp_path / table).read_bytes()) == (cells, content)
    assert copy.planned() == {}
    assert not list(copy.results.rglob(".*.parquet.*"))


def _wait_for_group(leader: int) -> None:
    """Until the last process of a group has ended."""
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(leader, 0)
            time.sleep(0.2)
