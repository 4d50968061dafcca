"""Tables over all scores, and what is said of them: the choice on dev, the statistics, the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xstilts import config
from xstilts.schema.data import is_commit
from xstilts.study.evaluation import EvaluationSteps
from xstilts.study.grid import remembered
from xstilts.study.step import ENCODER, REGIME, REPORT, SELECTION, SIGNIFICANCE, TABLES, Cell, Step


class ReportSteps(EvaluationSteps):
    """From scores to tables and to the report."""

    @remembered
    def tabulate(self) -> Step:
        """The study's tables, from every score."""
        cells, inputs, needs = self._score_files(self.cells())
        slice_ = {
            "study": self.study.study,
            "targets": list(self.study.targets),
            "intermediates": list(self.intermediates),
            "headline_variants": self._headlines(),
        }
        payload = {
            "cells": cells,
            "tables": str(self.root / "tables"),
            "root": str(self.root),
            "left_out": self.left_out,
        }
        code = self._code("tabulate", "xstilts.analysis.tables", "xstilts.analysis.terminal")
        published = self._published("tables", TABLES)
        return self._step("tabulate", (), slice_, inputs, code, tuple(needs), payload=payload, published=published)

    @remembered
    def select_on_dev(self) -> Step:
        """The best intermediate for each target, from the table of dev scores and no other file."""
        made = self.tabulate()
        slice_ = {
            "targets": list(self.study.targets),
            "candidates": list(self.intermediates),
            "headline_variants": self._headlines(),
        }
        payload = {"dev": str(self.root / "tables" / "cells-dev.csv"), "tables": str(self.root / "tables")}
        code = self._code("selection", "xstilts.analysis.selection")
        published = self._published("tables", SELECTION)
        inputs = {"dev": made.digest}
        return self._step("selection", (), slice_, inputs, code, (made,), payload=payload, published=published)

    @remembered
    def significance(self) -> Step:
        """Intervals, tests, degenerate runs, averages and best models, from every example's part in its score."""
        cells, inputs, needs = self._score_files(self.cells())
        chosen = self.select_on_dev()
        slice_ = {
            "targets": list(self.study.targets),
            "intermediates": list(self.intermediates),
            "candidates": list(self.intermediates),
            "headline_variants": self._headlines(),
            "train_sets": {target: self.train_set(target) for target in self.study.targets},
            "oracle": self.study.report.oracle,
        }
        payload = {"cells": cells, "tables": str(self.root / "tables")}
        code = self._code("significance", "xstilts.analysis.significance")
        published = self._published("tables", SIGNIFICANCE)
        inputs = {**inputs, "selection": chosen.digest}
        needed = (chosen, *needs)
        return self._step("significance", (), slice_, inputs, code, needed, payload=payload, published=published)

    @remembered
    def report(self) -> Step:
        """The study on one page; editing it reruns nothing else."""
        made = (self.tabulate(), self.select_on_dev(), self.significance())
        slice_ = {"about": self._about()}
        place = self.root
        payload = {
            "tables": str(self.root / "tables"),
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
        return self._step("report", (), slice_, inputs, code, made, payload=payload, published=published)

    def _about(self) -> dict[str, Any]:
        """The study as the report tells of it; what has an order is a list, since a slice's keys have none."""
        xtreme = config.xtreme_languages()
        return {
            "study": self.study.study,
            "recipes": config.lineage(self.study),
            "world": self.study.data.world is not None,
            "backbones": [{"name": name, **self._model(name)} for name in self.study.backbones],
            "arms": [{"name": name, **_arm(arm)} for name, arm in self.intermediates.items()],
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

    def _published(self, folder: str, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(str(self.root / folder / name) for name in names)

    def _score_files(self, cells: Iterable[Cell]) -> tuple[list[dict[str, Any]], dict[str, str], list[Step]]:
        """Cells with their score files, the files' digests by place, and the steps that write them."""
        steps = [(cell, self.score(cell)) for cell in cells]
        files = [{"cell": self._identity(c), "scores": str(step.directory / "scores.json")} for c, step in steps]
        return files, {"/".join(step.folders): step.digest for _, step in steps}, [step for _, step in steps]

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


def _arm(arm: config.Intermediate) -> dict[str, Any]:
    """What tables tell of an intermediate: its part of the table, whether it mixes in MLM, its tasks."""
    return {"block": "single" if arm.tasks else "none", "mlm": False, "tasks": [use.task for use in arm.tasks]}
