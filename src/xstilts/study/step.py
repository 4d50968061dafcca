"""A node of the graph: what defines it, and where its outputs stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from xstilts import digest, tasks
from xstilts.files import RECORD
from xstilts.schema.data import Split

NONE = "none"
ENCODER = "encoder"
REGIME = "zero-shot"
EXTERNAL = "external"
SPLITS: tuple[Split, ...] = ("dev", "test")
MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.json", "record.json")
TRAINED_FILES = (*MODEL_FILES, "head.safetensors", "head.json", "log.jsonl")
TABLES = (
    "cells.csv",
    "cells-dev.csv",
    "cells-test.csv",
    "matrix.csv",
    "deltas.csv",
    "per_language.csv",
    "provenance.csv",
)
SELECTION = ("selection.csv", "layers.csv")
SIGNIFICANCE = ("significance.csv", "averages.csv", "runs.csv", "best_models.csv", "retrieval.csv")
REPORT = ("report.html", "main_table.md", "main_table.tex", "comparison.csv")
FIGURES = ("deltas-dev", "deltas-test", "per-language-dev", "per-language-test")
Scope = Literal["matrix", "baselines", "all"]
Phase = Literal[
    "world",
    "preflight",
    "prepare",
    "translate",
    "match",
    "backbone",
    "tokenize",
    "intermediate",
    "finetune",
    "predict",
    "score",
    "external",
    "submission",
    "overlap",
    "tabulate",
    "figures",
    "selection",
    "significance",
    "report",
    "verify_published",
    "verify_baseline",
]


REPORTED: tuple[Phase, ...] = ("selection", "significance", "report")
"""Made on request, from the matrix."""


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the graph.

    Attributes:
        phase: the rule that makes it.
        folders: its place below the phase's folder, which names the cell.
        slice: the config that can change its output, plain JSON.
        inputs: role: digest, of everything it reads.
        code: module: digest, of everything it runs.
        needs: the steps whose files it reads.
        files: names of its outputs.
        published: outputs at paths of their own, without a digest (tables and figures, where users look for them).
        payload: what the script needs besides the slice (paths, hardware): changes nothing in the result.
        detail: what single inputs consist of, for the record alone: the digest has them already.
    """

    phase: Phase
    root: Path
    folders: tuple[str, ...]
    slice: Mapping[str, Any]
    inputs: Mapping[str, str]
    code: Mapping[str, str]
    needs: tuple[Step, ...] = ()
    files: tuple[str, ...] = ("record.json",)
    published: tuple[str, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """What the outputs are known by."""
        return digest.of([self.phase, self.slice, self.inputs, self.code])

    @cached_property
    def name(self) -> str:
        """The step as a user would call it: `finetune/xlm-roberta-large/mnli/xnli/seed-1`."""
        return "/".join((self.phase, *self.folders))

    @cached_property
    def directory(self) -> Path:
        """Folder of the outputs."""
        return self.root.joinpath(FOLDER_OF[self.phase], *self.folders, self.digest)

    @cached_property
    def outputs(self) -> list[str]:
        """Paths of all outputs."""
        return [*(f"{self.directory}/{name}" for name in self.files), *self.published]

    @cached_property
    def done(self) -> bool:
        """Are all outputs there?"""
        return all(Path(path).exists() for path in self.outputs)

    @property
    def record(self) -> str:
        """Path of the output that is written last."""
        return f"{self.directory}/{RECORD}"

    @property
    def recorded(self) -> bool:
        """Was it finished once, whatever was deleted of it since?"""
        return Path(self.record).exists()

    def definition(self) -> dict[str, Any]:
        """What the digest covers, as the record holds it."""
        return {"step": self.phase, "slice": self.slice, "inputs": self.inputs, "code": self.code}

    def sources(self) -> list[str]:
        """Folders below the study's that the step reads; the tables' are named by their inputs."""
        needs = () if self.phase in ("tabulate", "significance") else self.needs
        return [str(need.directory.relative_to(self.root)) for need in needs]

    def job(self, **more: Any) -> str:
        """What the rule hands to its script, as one line of JSON."""
        plan = {**self.definition(), "needs": self.sources(), "detail": self.detail}
        head = {"name": self.name, "digest": self.digest, "output": str(self.directory)}
        head["work"] = str(self.root.joinpath("work", self.phase, self.digest))
        return digest.canonical({**head, **self.slice, **self.payload, **more, "plan": plan})


FOLDER_OF: dict[Phase, str] = {
    "world": "world",
    "preflight": "preflight",
    "prepare": "data",
    "translate": "translated",
    "match": "matched",
    "backbone": "backbone",
    "tokenize": "tokenized",
    "intermediate": "intermediate",
    "finetune": "finetune",
    "predict": "predictions",
    "score": "scores",
    "external": "external",
    "submission": "submissions",
    "overlap": "tables/made-overlap",
    "tabulate": "tables/made",
    "figures": "figures/made",
    "selection": "tables/made-selection",
    "significance": "tables/made-significance",
    "report": "report/made",
    "verify_published": "verify/made/published",
    "verify_baseline": "verify/made/baseline",
}


# Phase: the file of its rule, and the group of settings under `compute.resources` (submissions and overlap, whose
# rules stand alone, name another's group there).
RULE_FILES: dict[Phase, str] = {
    "world": "prepare",
    "preflight": "prepare",
    "figures": "tabulate",
    "external": "score",
    **dict.fromkeys(("selection", "significance", "report"), "report"),
    "verify_published": "verify",
    "verify_baseline": "verify",
    **{phase: phase for phase in ("prepare", "backbone", "intermediate", "finetune", "predict", "score", "tabulate")},
    "tokenize": "tokenize",
    "submission": "submission",
    "overlap": "overlap",
    "translate": "translate",
    "match": "translate",
}


@dataclass(frozen=True)
class Part:
    """One split of one dataset in one language: what steps depend on, and where it stands once prepared."""

    split: Split
    language: str
    digest: str
    content: str
    code: dict[str, str]


@dataclass(frozen=True)
class Table:
    """One table of predictions: of a target in a language, by the checkpoint that counts or by a further rule's."""

    target: str
    language: str
    variant: str | None = None

    @property
    def name(self) -> str:
        """Its place below the job's folder, without `.parquet`."""
        return "/".join(filter(None, (self.target, self.variant, self.language)))


@dataclass(frozen=True)
class Use:
    """A dataset, and the kind and labels with which the study reads it."""

    dataset: str
    task: str

    @property
    def shape(self) -> tuple[str, tuple[str, ...]]:
        task = tasks.get(self.task)
        return task.kind, task.labels


@dataclass(frozen=True)
class Seeds:
    """The seeds of one path through the graph; None where a phase did not happen."""

    intermediate: int | None
    finetune: int | None

    @property
    def folder(self) -> str:
        """`seed-1`, or `seed-1-2` for nested seeds."""
        numbers = dict.fromkeys(str(s) for s in (self.intermediate, self.finetune) if s is not None)
        return "-".join(("seed", *numbers)) if numbers else "seedless"


@dataclass(frozen=True)
class Cell:
    """One box of the matrix, for one path of seeds."""

    backbone: str
    intermediate: str
    target: str
    seeds: Seeds
