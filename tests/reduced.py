"""A finished reduced mini study on files: every kind of task, every phase, and trainings of a few steps."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import Any

from tests.dryruns import DryRuns
from tests.graph import Unit, Units
from tests.workspace import ROOT, Workspace

from xstilts.mini.world import write_world

SIZES = {
    **dict.fromkeys(("mnli", "hellaswag", "squad_v1", "udpos", "panx", "pawsx", "text_lines"), 200),
    **dict.fromkeys(("dev", "test", "tatoeba"), 40),
    "parallel_pairs": 60,
}
LANGUAGES = ("qaa", "qab")
REDUCED: dict[str, Any] = {
    "study": "reduced",
    "data": {"source": "files", "root": "data"},
    "recipe": "reduced",
    "recipes": {
        "reduced": {
            "defaults": {
                "learning_rate": 1.0e-3,
                "batch": 16,
                "steps": 8,
                "max_length": 64,
                "doc_stride": 16,
                "max_query_length": 24,
                "max_answer_length": 8,
                "selection": {"checkpoint": "last"},
            },
            "intermediate": {"mnli": {}, "hellaswag": {"batch": 8}},
            "finetune": {
                "mnli": {},
                "udpos": {},
                "squad_v1": {"selection": {"checkpoint": "best", "every_steps": 4, "patience": None}},
            },
            "retrieval": {"max_length": 64},
        }
    },
    "backbones": {
        "mini": {
            "pooling": "mean",
            "retrieval_layer": 1,
            "train": {
                "languages": ["en", "qaa"],
                "layers": 2,
                "steps": 30,
                "parallel": "pretrain/parallel.en-{lang}.tsv",
            },
        }
    },
    "intermediates": {"none": {"tasks": []}, "mnli": {"tasks": ["mnli"]}, "hellaswag": {"tasks": ["hellaswag"]}},
    "targets": {
        **{name: {"languages": ["en", "qaa"]} for name in ("xnli", "udpos", "xquad", "mlqa")},
        "tatoeba": {"languages": ["qaa"]},
    },
    "seeds": {"intermediate": [1]},
    "compute": {"device": "cpu", "precision": "fp32", "threads": 1, "warm": True, "micro_batch": None},
}


class Copy(Workspace):
    """A working copy of its own: config, data and results that an edit may change.

    Args:
        directory: an empty directory.
        finished: the workspace whose data and results it starts with, as hard links (nothing is ever written in
            place).
        code: have files of its own for code and rules, too.
    """

    def __init__(self, directory: Path, finished: Workspace, *, code: bool = False) -> None:
        directory.mkdir(exist_ok=True)
        super().__init__(directory, finished.config)
        shutil.copytree(finished.directory / "data", directory / "data")
        shutil.copytree(finished.directory / "results", directory / "results", copy_function=os.link)
        for part in ("src", "workflow") if code else ():
            (directory / part).unlink()
            shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))


def units(workspace: Workspace, runs: DryRuns, target: str = "all_matrix") -> Units:
    """What a dry run of a workspace would compute."""
    code, text = runs.run(workspace.directory, target)
    assert code == 0, text[-3000:]
    stored = set(re.findall(r"^stored: (\S+)$", text, flags=re.M))
    root = f"results/{workspace.config['study']}/"
    return frozenset(filter(None, (_unit(path.removeprefix(root).split("/")) for path in outputs(text) - stored)))


def outputs(text: str) -> set[str]:
    """The paths that a dry run says it would write."""
    return {path for line in re.findall(r"^    output: (.+)$", text, flags=re.M) for path in line.split(", ")}


_FOLDERS = {"data": "prepare", "scores": "score", "translated": "translate", "matched": "match"}
_MADE = {"made": "tabulate", "made-overlap": "overlap", "made-selection": "selection"}
_MADE |= {"made-significance": "significance", "report": "report", "figures": "figures"}


def _unit(path: list[str]) -> Unit | None:
    """The unit that makes an output; None for what stands beside the output that tells of it."""
    match path:
        case ["predictions", *_, "record.json"]:  # it computes no table
            return None
        case ["predictions", *cell, _, target, table]:
            return ("predict", *cell, target, table.removesuffix(".parquet"))
        case ["world", *_]:  # its record, and whatever was deleted of its files
            return ("world",)
        case ["tables", made, *scope, _, "record.json"] | [("figures" | "report") as made, "made", *scope, _, _]:
            return (_MADE[made], *scope)
        case ["tables" | "figures", *_] | [_, "report.html" | "main_table.md" | "main_table.tex" | "comparison.csv"]:
            return None
        case [folder, *cell, _, _]:
            return (_FOLDERS.get(folder, folder), *cell)
    raise AssertionError(f"an output that no step is known to make: {'/'.join(path)}")


def from_scratch(copy: Copy, directory: Path) -> Workspace:
    """The study of an edited copy, computed with none of its results."""
    directory.mkdir()
    for part in ("src", "workflow", "data"):
        (directory / part).symlink_to(copy.directory / part)
    fresh = Workspace(directory, copy.config)
    fresh.run("all_matrix")
    return fresh


def finished(place: Path) -> Workspace:
    """The study at `place`, computed by whoever comes first."""
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = place / "study"
        if (place / "done").exists():
            return Workspace(directory, REDUCED)
        directory.mkdir()
        write_world(directory / "data", seed=0, languages=LANGUAGES, sizes=SIZES)
        workspace = Workspace(directory, REDUCED)
        workspace.run("all_matrix")
        (place / "done").touch()
        return workspace


def rewrite(path: Path, old: str, new: str) -> None:
    """Change one place of a file that may be linked elsewhere."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.unlink()
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
