"""Tables over all scores, and what is said of them: the choice on dev, the statistics, the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xstilts import config, tasks
from xstilts.errors import ConfigError
from xstilts.schema.arms import Intermediate
from xstilts.schema.data import is_commit
from xstilts.study.evaluation import EvaluationSteps
from xstilts.study.grid import remembered
from xstilts.study.step import ENCODER, EXTERNAL, REGIME, REPORT, SELECTION, SIGNIFICANCE, TABLES, Cell, Step


class ReportSteps(EvaluationSteps):
    """From scores to tables and to the report."""

    @property
    def part(self) -> tuple[str, ...]:
        """What tells this scope's tables, figures and report from others'; nothing for the matrix's."""
        return () if self.scope == "matrix" else (self.scope,)

    @property
    def tables(self) -> Path:
        """Where the tables stand for readers."""
        return self.root.joinpath("tables", *self.part)

    @remembered
    def external(self, name: str, target: str) -> Step:
        """Scores of another system's test predictions, on the study's prepared gold."""
        found = self._external_files(name)[target]
        data = self.prepare(self.study.targets[target].dataset or target)
        parts = [
            {
                "task": target,
                "language": language,
                "predictions": str(path),
                "data": str(data.directory / f"test.{language}.parquet"),
            }
            for language, path in found.items()
        ]
        known = self.parts(self.study.targets[target].dataset or target)
        inputs = {f"predictions/{language}": self._contents.of(path) for language, path in found.items()}
        inputs |= {f"gold/{language}": known["test", language].digest for language in found}
        slice_ = {"task": target, "metrics": tasks.get(target).metrics}
        code = self._code("external", "xstilts.evaluation.external")
        outputs = ("scores.json", "examples.parquet", "record.json")
        return self._step("external", (name, target), slice_, inputs, code, (data,), outputs, {"parts": parts})

    @remembered
    def _external_files(self, name: str) -> dict[str, dict[str, Path]]:
        """Files of another system, by target and language; a target has all of the study's languages or none."""
        folder = Path(self.study.external[name].predictions)
        key = f"external.{name}.predictions"
        found = {}
        for target in (target for target in self.study.targets if (folder / target).is_dir()):
            suffix = "json" if tasks.get(target).kind == "span" else "tsv"
            paths = {code: folder / target / f"test-{code}.{suffix}" for code in self.languages(target)}
            if missing := [str(path) for path in paths.values() if not path.is_file()]:
                raise ConfigError(key, f"{missing[0]} is missing", f"add it, or remove {folder / target}")
            found[target] = paths
        if not found:
            raise ConfigError(key, f"{folder} has no folder named as a target", "name the one with <task>/test-… files")
        return found

    def _externals(self) -> list[tuple[dict[str, Any], Step]]:
        """What each cell of other systems is, and the step that scores it."""
        first = next(iter(self.study.backbones))
        seeds = {"seed_intermediate": None, "seed_finetune": None}
        return [
            (
                {
                    "study": self.study.study,
                    "backbone": given.backbone or first,
                    "intermediate": name,
                    "target": target,
                    "regime": EXTERNAL,
                    **seeds,
                },
                self.external(name, target),
            )
            for name, given in self.study.external.items()
            for target in self._external_files(name)
        ]

    @remembered
    def tabulate(self) -> Step:
        """The study's tables, from every score."""
        cells, inputs, needs = self._all_scores()
        slice_ = {
            "study": self.study.study,
            "targets": list(self.study.targets),
            "intermediates": self._rows(),
            "headline_variants": self._headlines(),
        }
        payload = {
            "cells": cells,
            "tables": str(self.tables),
            "root": str(self.root),
            "left_out": self.left_out,
        }
        code = self._code("tabulate", "xstilts.analysis.tables", "xstilts.analysis.terminal")
        published = self._published("tables", TABLES)
        return self._step(
            "tabulate", self.part, slice_, inputs, code, tuple(needs), payload=payload, published=published
        )

    @remembered
    def select_on_dev(self) -> Step:
        """The best intermediate for each target, from the table of dev scores and no other file."""
        made = self.tabulate()
        slice_ = {
            "targets": list(self.study.targets),
            "candidates": self._candidates(),
            "headline_variants": self._headlines(),
        }
        payload = {"dev": str(self.tables / "cells-dev.csv"), "tables": str(self.tables)}
        code = self._code("selection", "xstilts.analysis.selection")
        published = self._published("tables", SELECTION)
        inputs = {"dev": made.digest}
        return self._step("selection", self.part, slice_, inputs, code, (made,), payload=payload, published=published)

    @remembered
    def significance(self) -> Step:
        """Intervals, tests, degenerate runs, averages and best models, from every example's part in its score."""
        cells, inputs, needs = self._all_scores()
        chosen = self.select_on_dev()
        slice_ = {
            "targets": list(self.study.targets),
            "intermediates": self._rows(),
            "candidates": self._candidates(),
            "headline_variants": self._headlines(),
            "train_sets": {target: self.train_set(target) for target in self.study.targets},
            "oracle": self.study.report.oracle,
        }
        payload = {"cells": cells, "tables": str(self.tables)}
        code = self._code("significance", "xstilts.analysis.significance")
        published = self._published("tables", SIGNIFICANCE)
        inputs = {**inputs, "selection": chosen.digest}
        needed = (chosen, *needs)
        return self._step("significance", self.part, slice_, inputs, code, needed, payload=payload, published=published)

    @remembered
    def report(self) -> Step:
        """The study on one page; editing it reruns nothing else."""
        made = (self.tabulate(), self.select_on_dev(), self.significance())
        slice_ = {"about": self._about()}
        place = self.root.joinpath(*self.part)
        payload = {
            "tables": str(self.tables),
            "root": str(self.root),
            "place": str(place),
            "steps": [
                {"name": step.name, "folder": str(step.directory.relative_to(self.root))}
                for step in self._steps.values()
                if step.phase in ("backbone", "intermediate", "finetune", "predict", "score")
            ],
        }
        code = self._code("report", "xstilts.analysis.report")
        inputs: dict[str, str] = {step.phase: step.digest for step in made}
        published = tuple(str(place / name) for name in REPORT)
        return self._step("report", self.part, slice_, inputs, code, made, payload=payload, published=published)

    def _about(self) -> dict[str, Any]:
        """The study as the report tells of it; what has an order is a list, since a slice's keys have none."""
        xtreme = config.xtreme_languages()
        return {
            "study": self.study.study,
            "recipes": config.lineage(self.study),
            "world": self.study.data.world is not None,
            "backbones": [{"name": name, **self._model(name)} for name in self.study.backbones],
            "arms": [
                *({"name": name, **arm_told(arm)} for name, arm in self.intermediates.items()),
                *({"name": name, "block": EXTERNAL, "mlm": False, "tasks": []} for name in self.study.external),
            ],
            "targets": [
                {"name": name, "languages": list(self.languages(name)), "train_set": self.train_set(name)}
                for name in self.study.targets
            ],
            "partial": [t for t in self.study.targets if set(self.languages(t)) != set(xtreme.get(t, ()))],
            "seeds": list(self.study.seeds.intermediate),
            "left_out": self.left_out,
            "unpinned": sorted(name for _, name, revision in self.repositories() if not is_commit(revision)),
            "delta_range": self.study.report.delta_range,
        }

    def _model(self, backbone: str) -> dict[str, Any]:
        """What a comparison must say of a backbone; its name is the hub's, without the owner, or the config's."""
        given = self.study.backbones[backbone]
        return {
            "model": given.hub.split("/")[-1] if given.hub else backbone,
            "hub": given.hub,
            "revision": self._model_revision(backbone),
            "retrieval_layer": given.retrieval_layer,
            "retrieval_length": config.retrieval_length(self.study),
            "precision": self.study.compute.precision,
        }

    def _candidates(self) -> list[str]:
        """Rows that may be chosen as best: controls are measured, not chosen."""
        return [name for name in self.intermediates if self.arms[name].block != "control"]

    def _published(self, folder: str, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(str(self.root.joinpath(folder, *self.part, name)) for name in names)

    def _score_files(self, cells: Iterable[Cell]) -> tuple[list[dict[str, Any]], dict[str, str], list[Step]]:
        """Cells with their score files, the files' digests by place, and the steps that write them."""
        return _listed([(self._identity(cell), self.score(cell)) for cell in cells])

    def _all_scores(self) -> tuple[list[dict[str, Any]], dict[str, str], list[Step]]:
        """The same of every row of the matrix, other systems' too."""
        return _listed([*((self._identity(cell), self.score(cell)) for cell in self.cells()), *self._externals()])

    def _rows(self) -> list[str]:
        """The rows of the matrix, other systems' last."""
        return [*self.intermediates, *self.study.external]

    def _identity(self, cell: Cell) -> dict[str, Any]:
        return {
            "study": self.study.study,
            "backbone": cell.backbone,
            "intermediate": cell.intermediate,
            "target": cell.target,
            "regime": REGIME,
            "seed_intermediate": cell.seeds.intermediate,
            "seed_finetune": cell.seeds.finetune,
        }

    def _headlines(self) -> dict[str, dict[str, str]]:
        """Backbone: target: the variant that stands in the matrix, where there are several."""
        groups = self.train_sets().items()
        rules = {group: self.selection(group) for group, _ in groups if group != ENCODER}
        several = {t: str(self._variant(g)) for g, members in groups if g in rules and rules[g].also for t in members}
        retrieval = self.train_sets().get(ENCODER, [])
        return {
            name: several | dict.fromkeys(retrieval, f"layer{backbone.retrieval_layer}")
            for name, backbone in self.study.backbones.items()
        }


def _listed(cells: list[tuple[dict[str, Any], Step]]) -> tuple[list[dict[str, Any]], dict[str, str], list[Step]]:
    """Cells with their score files, the files' digests by place, and the steps that write them."""
    files = [{"cell": cell, "scores": str(step.directory / "scores.json")} for cell, step in cells]
    return files, {"/".join(step.folders): step.digest for _, step in cells}, [step for _, step in cells]


def arm_told(arm: Intermediate) -> dict[str, Any]:
    """What a row is, for tables: its block of the paper's table, its tasks, and what sets it apart."""
    return {
        "block": arm.block,
        "tasks": [use.task for use in arm.supervised],
        "mlm": arm.mlm,
        "languages": sorted({code for use in arm.supervised for code in use.languages}),
        "control": arm.control,
        "like": arm.like,
        "finetune": arm.finetune.model_dump(mode="json"),
    }
