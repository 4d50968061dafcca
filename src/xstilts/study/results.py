"""The whole plan: tables and figures over all scores, and every step by its place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from xstilts import config, history, tasks
from xstilts.errors import DataError, UserError
from xstilts.schema.arms import MLM
from xstilts.schema.data import is_commit
from xstilts.study.grid import remembered
from xstilts.study.report import ReportSteps
from xstilts.study.step import (
    ENCODER,
    FIGURES,
    FOLDER_OF,
    MODEL_FILES,
    NONE,
    REPORTED,
    TRAINED_FILES,
    Phase,
    Step,
)
from xstilts.tasks.sources import ENGLISH


class Plan(ReportSteps):
    """All steps of a study."""

    _built = False

    @remembered
    def overlap(self) -> Step:
        """Shares of every test set's texts that every training set holds."""
        training: dict[str, str] = {}
        tests: dict[str, dict[str, str]] = {}
        inputs, needs = {}, []
        for dataset in self.datasets():
            if dataset == MLM:  # text without labels
                continue
            step = self.prepare(dataset)
            needs.append(step)
            for part in self.parts(dataset).values():
                path = str(step.directory / f"{part.split}.{part.language}.parquet")
                if part.split == "train":
                    english = part.language == ENGLISH
                    training[dataset if english else f"{dataset} ({part.language})"] = path
                elif part.split == "test":
                    tests.setdefault(dataset, {})[part.language] = path
                if part.split != "dev":
                    inputs[f"{dataset}/{part.split}.{part.language}"] = part.digest
        for dataset, language in self.translated():
            step = self.translate(dataset, language)
            needs.append(step)
            training[f"{dataset} ({language})"] = f"{step.directory}/train.{language}.parquet"
            inputs[f"{dataset}/train.{language}"] = step.digest
        table = str(self.tables / "overlap.csv")
        payload = {"training": training, "tests": tests, "table": table}
        code = self._code("overlap", "xstilts.analysis.overlap")
        return self._step("overlap", self.part, {}, inputs, code, tuple(needs), payload=payload, published=(table,))

    @remembered
    def figures(self) -> Step:
        """Heat map of deltas and per-language figures, from the tables."""
        tables = self.tabulate()
        report = self.study.report
        slice_ = {
            "formats": report.figure_formats,
            "delta_range": report.delta_range,
            "targets": list(self.study.targets),
            "intermediates": self._rows(),
        }
        figures = self.root.joinpath("figures", *self.part)
        payload = {"tables": str(self.tables), "figures": str(figures)}
        code = self._code("figures", "xstilts.analysis.figures")
        names = (f"{name}.{suffix}" for name in FIGURES for suffix in report.figure_formats)
        published = self._published("figures", names)
        inputs = {"tables": tables.digest}
        return self._step("figures", self.part, slice_, inputs, code, (tables,), payload=payload, published=published)

    @remembered
    def verify(self, what: Literal["published", "baseline"]) -> Step:
        """The rows `none` held against published numbers; no other step asks for it."""
        untrained = (cell for cell in self.cells() if cell.intermediate == NONE)
        wanted = [c for c in untrained if what == "baseline" or tasks.get(c.target).kind == "retrieval"]
        cells, inputs, needs = self._score_files(wanted)
        xtreme = config.xtreme_languages()
        slice_ = {
            "models": {name: self._model(name) for name in self.study.backbones},
            "recipes": config.lineage(self.study),
            "headline_variants": self._headlines(),
            "partial": [t for t in self.study.targets if set(self.languages(t)) != set(xtreme[t])],
            "sizes": {"tatoeba": {language: config.known_rows("tatoeba", language) for language in xtreme["tatoeba"]}},
            "formats": self.study.report.figure_formats,
        }
        place = self.root / "verify" / what
        names = ("comparison.csv", "verdict.json", *(f"comparison.{f}" for f in self.study.report.figure_formats))
        phase: Phase = "verify_published" if what == "published" else "verify_baseline"
        code = self._code(phase, "xstilts.analysis.verify")
        published = tuple(str(place / name) for name in names)
        payload = {"cells": cells, "place": str(place)}
        return self._step(phase, (), slice_, inputs, code, tuple(needs), payload=payload, published=published)

    def step(self, phase: Phase, folders: tuple[str, ...]) -> Step:
        """The step at a place in the results.

        Raises:
            UserError: the study has no such step.
        """
        found = self.find(phase, folders)
        if found is None:
            raise UserError(f"study {self.study.study!r} has no step {'/'.join((phase, *folders))}")
        return found

    def find(self, phase: Phase, folders: tuple[str, ...]) -> Step | None:
        """The step at a place in the results, if this plan has one there."""
        self._build()
        if phase == "submission":
            self.submissions()
        if phase in REPORTED:
            self.report()
        return self._steps.get((phase, folders))

    def folder(self, phase: Phase) -> str:
        """Folder of a phase below the study's."""
        return FOLDER_OF[phase]

    def files(self, phase: Literal["backbone", "intermediate", "finetune"]) -> tuple[str, ...]:
        """Names of the outputs of a phase that makes checkpoints."""
        return MODEL_FILES if phase == "backbone" else TRAINED_FILES

    @remembered
    def predicted_files(self, train_set: str) -> tuple[str, ...]:
        """Names of the outputs of a prediction job: the same for every checkpoint of a train set."""
        self._build()
        return next(s.files for s in self._steps.values() if s.phase == "predict" and s.folders[2] == train_set)

    def reads(self, step: Step) -> list[tuple[Step, str]]:
        """Paths that a step reads, each with the step that writes it.

        Of a step not yet made they are its record, which comes with all the rest; of a dataset its record, and what was
        deleted since: naming every file to Snakemake costs seconds. A prediction whose tables are all in the store
        needs no inputs and no checkpoint, which may have been pruned.

        Raises:
            DataError: a file of data is not as it was made.
        """
        if step.phase == "score":
            return [(step.needs[0], path) for path in self._scored(step)]
        if step.phase == "selection":  # the table of dev scores, and the receipt that says of which configuration it is
            made = step.needs[0]
            return [(made, made.record), (made, step.payload["dev"])]
        unread = (step.needs[0].phase, "tokenize") if step.phase == "predict" and _stored(step) else ()
        return [(need, path) for need in step.needs if need.phase not in unread for path in self._asked(need)]

    def _scored(self, score: Step) -> list[str]:
        if not score.needs[0].recorded:
            return [score.needs[0].record]
        tables = (score.payload["predictions"], *score.payload["also"].values())
        return [path for of_variant in tables for path in of_variant.values()]

    def predictions(self) -> list[str]:
        """What stands for all predictions: every table of finished jobs, of others the record that comes with them."""
        jobs = [step for step in self.steps() if step.phase == "predict"]
        return [path for job in jobs for path in (job.outputs if job.recorded else [job.record])]

    @remembered
    def _asked(self, need: Step) -> list[str]:
        if not need.recorded:
            return [need.record]
        if need.phase in ("world", "prepare"):
            _check_whole(need)
        if need.phase != "prepare":
            return need.outputs
        record, *parts = need.outputs
        return [record, *(path for path in parts if not Path(path).exists())]

    def settled(self, step: Step) -> bool:
        """Will this run leave the step's outputs as they are? If not, what reads them runs too."""
        if step.phase == "score":
            return step.done and not self._lost(step)
        if step.phase in ("tabulate", "selection", "significance", "report"):
            return step.done and all(self.settled(need) for need in step.needs)
        return True  # its missing files alone decide

    def _lost(self, score: Step) -> bool:
        """Was one of its predictions deleted? Those of a prediction job not yet made are what the score was made of."""
        return score.needs[0].recorded and not all(Path(path).exists() for _, path in self.reads(score))

    def steps(self) -> list[Step]:
        """Every step of the matrix, upstream first within a cell."""
        self._build()
        return [
            step for step in self._steps.values() if step.phase not in ("submission", *REPORTED) and self.wanted(step)
        ]

    def every_step(self) -> list[Step]:
        """The same, and what is said of the tables on request."""
        return [*self.steps(), self.select_on_dev(), self.significance(), self.report()]

    def wanted(self, step: Step) -> bool:
        """A study that trains nothing has no overlap to tell of."""
        return step.phase != "overlap" or next(self._trainings(self.intermediates), None) is not None

    def _build(self) -> None:
        if self._built:
            return
        self._built = True
        for backbone in self.study.backbones:
            for intermediate in self.intermediates:
                for group in self.train_sets():
                    if group == ENCODER and self.arms[intermediate].like:
                        continue  # the predictions of the row that it is like
                    for seeds in self.seeds(intermediate, group):
                        self.predict(backbone, intermediate, group, seeds)
        self.figures()
        self.overlap()
        self._contents.save()


def _check_whole(step: Step) -> None:
    """Have the files that a step's record lists the size that they had?

    Raises:
        DataError: one was changed or cut short since.
    """
    for name, size in history.listed(step.directory).items():
        path = step.directory / name
        if path.exists() and path.stat().st_size != size:
            problem = f"{path.stat().st_size:,} bytes, but {size:,} when it was made"
            raise DataError(path, problem, "delete it, and it is made again")


def _stored(prediction: Step) -> bool:
    """Are all its tables kept from earlier predictions?"""
    store = Path(prediction.payload["store"])
    return all((store / f"{part['digest']}.parquet").exists() for part in prediction.payload["parts"])


def notices(plan: Plan) -> None:
    """Say on stderr what the study leaves out and what may change under it, before any GPU hour is spent."""
    for name, reason in plan.left_out.items():
        print(f"xstilts: intermediate {name!r} is left out: {reason}", file=sys.stderr)
    if plan.study.data.selection_dev == "paper":
        told = "QA checkpoints are chosen on published dev sets, which are TyDiQA's test and hold XQuAD's passages"
        print(f"xstilts: data.selection_dev: paper: {told}", file=sys.stderr)
    for name, reason in plan.reduced.items():
        print(f"xstilts: intermediate {name!r} does without {reason}", file=sys.stderr)
    if moving := sorted({name for _, name, revision in plan.repositories() if not is_commit(revision)}):
        shown = ", ".join(moving[:3]) + (f" and {len(moving) - 3} more" if len(moving) > 3 else "")
        print(f"xstilts: unpinned: {shown}; record commits with `python -m xstilts.lock`", file=sys.stderr)
