"""The steps that make checkpoints: backbones, intermediates and fine-tunes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from xstilts import config, tasks
from xstilts.errors import ConfigError
from xstilts.files import RECORD
from xstilts.schema.training import BackboneTraining, Hyperparameters, Selection
from xstilts.study.data import DataSteps
from xstilts.study.grid import remembered
from xstilts.study.step import MODEL_FILES, NONE, TRAINED_FILES, Part, Seeds, Step
from xstilts.tasks.base import Task
from xstilts.training.steps import split

WINDOWS = ("doc_stride", "max_query_length")  # of QA alone
DECODING = ("max_answer_length", "n_best")  # of QA alone, and only where answers are read off
_POOLED = ("pair", "choice")  # kinds whose head reads one vector


class TrainingSteps(DataSteps):
    """The study's trainings."""

    @remembered
    def backbone(self, name: str) -> Step:
        """Phase 1: a checkpoint fetched, taken from a directory, or trained from raw text."""
        given = self.study.backbones[name]
        if given.train is not None:
            return self._pretrained(name, given.train)
        revision = self._model_revision(name)
        slice_ = {"hub": given.hub, "revision": revision} if given.hub else {}
        path = Path(given.path) if given.path else None
        # A record tells when and where a directory was made, which changes no weight.
        inputs = (
            {p.name: self._contents.of(p) for p in sorted(path.iterdir()) if p.is_file() and p.name != RECORD}
            if path and path.is_dir()
            else {}
        )
        payload = {"hub": given.hub, "revision": revision, "path": given.path}
        code = self._code("backbone", "xstilts.models.fetch")
        return self._step("backbone", (name,), slice_, inputs, code, (self._first(),), MODEL_FILES, payload)

    def _pretrained(self, name: str, training: BackboneTraining) -> Step:
        texts = self._texts(training)
        inputs = {}
        for role, files in texts.items():
            for lang, path in files.items():
                inputs[f"{role}:{lang}"] = (
                    self._world_content(lang) if self.study.data.world else self._contents.of(path)
                )
        payload = {
            **{role: {lang: str(path) for lang, path in files.items()} for role, files in texts.items()},
            "compute": self._compute(ranks=1),
        }
        slice_ = {"training": training.model_dump(mode="json", exclude={"text", "parallel"})}
        code = self._code("backbone", "xstilts.training.pretrain")
        return self._step("backbone", (name,), slice_, inputs, code, (self._first(),), MODEL_FILES, payload)

    @remembered
    def intermediate(self, backbone: str, name: str, seed: int) -> Step:
        """Phase 2: one intermediate, from the backbone."""
        use = self.intermediates[name].tasks[0]
        folders = (backbone, name, Seeds(seed, None).folder)
        start = self.backbone(backbone)
        return self._training("intermediate", folders, use.task, self._datasets_of(use), backbone, start, seed)

    def encoder(self, backbone: str, intermediate: str, seed: int | None) -> Step:
        """The checkpoint that phase 3 starts from."""
        if intermediate == NONE or seed is None:
            return self.backbone(backbone)
        return self.intermediate(backbone, intermediate, seed)

    @remembered
    def finetune(self, backbone: str, intermediate: str, train_set: str, seeds: Seeds) -> Step:
        """Phase 3: one train set, from an intermediate's encoder."""
        start = self.encoder(backbone, intermediate, seeds.intermediate)
        datasets = tasks.get(train_set).datasets or (train_set,)
        folders = (backbone, intermediate, train_set, seeds.folder)
        return self._training("finetune", folders, train_set, datasets, backbone, start, seeds.finetune or 0)

    def selection(self, train_set: str) -> Selection:
        """Which checkpoints of a fine-tuning are kept."""
        return config.hyperparameters(self.study, "finetune", train_set).selection

    def _oracle_parts(self, train_set: str) -> list[tuple[str, str, Part]]:
        """Target, its dataset and a dev part in one of its languages, for all that the oracle of a train set looks at.

        Raises:
            ConfigError: there is none.
        """
        found = [
            (target, dataset, part)
            for target in self.train_sets()[train_set]
            for dataset in [self.study.targets[target].dataset or target]
            for language in self.languages(target)
            for part in self._evaluated(target, language)
            if part.split == "dev"
        ]
        if not found:
            key = f"recipe.{self.study.recipe}.finetune.{train_set}.selection.also"
            raise ConfigError(key, f"no target of {train_set} has a dev part for `oracle`", "leave it out")
        return found

    def _training(
        self,
        phase: Literal["intermediate", "finetune"],
        folders: tuple[str, ...],
        name: str,
        datasets: tuple[str, ...],
        backbone: str,
        start: Step,
        seed: int,
    ) -> Step:
        task = tasks.get(name)
        hyper = config.hyperparameters(self.study, phase, name)
        split(hyper.batch, self.study.compute.ranks, self.study.compute.micro_batch)  # must divide exactly
        rules = hyper.selection.rules
        selects = "best" in rules
        oracle = self._oracle_parts(name) if "oracle" in rules else []
        train, train_paths, train_steps = self._data(datasets, "train")
        dev, dev_paths, dev_steps = self._data(datasets if selects else (), "dev")
        slice_ = {
            "task": name,
            "kind": task.kind,
            "labels": task.labels,
            "criterion": task.criterion if selects or oracle else None,
            "hyper": _bearing(hyper, task),
            "backbone": {"pooling": self.study.backbones[backbone].pooling if task.kind in _POOLED else "cls"},
            "seed": seed,
            "precision": self.study.compute.precision,
        }
        payload = {
            "phase": phase,
            "checkpoint": str(start.directory),
            "train": train_paths,
            "dev": dev_paths,
            "target_dev": {f"{target}/{p.language}": self._path(dataset, p) for target, dataset, p in oracle},
            "compute": self._compute(),
            "tensorboard": str(self.root.joinpath("tensorboard", phase, *folders)),
        }
        oracle_steps = [self.prepare(dataset) for _, dataset, _ in oracle]
        needs = (start, *dict.fromkeys((*train_steps, *dev_steps, *oracle_steps)))
        code = self._code(phase, "xstilts.training.run", *_task_modules(task, selects or bool(oracle)))
        inputs = {"checkpoint": start.digest, **train, **dev}
        inputs |= {f"dev.{part.language}:{dataset}": part.digest for _, dataset, part in oracle}
        return self._step(phase, folders, slice_, inputs, code, needs, files=TRAINED_FILES, payload=payload)


def _bearing(hyper: Hyperparameters, task: Task) -> dict[str, Any]:
    """The values that can change a training of the task: those of QA for QA, those of looks at dev where it looks."""
    looks = bool({"best", "oracle"} & set(hyper.selection.rules))
    unused = (() if task.kind == "span" else WINDOWS) + (() if task.kind == "span" and looks else DECODING)
    dump = hyper.model_dump(mode="json", exclude=set(unused))
    return {**dump, "selection": _bearing_selection(hyper.selection)}


def _bearing_selection(selection: Selection) -> dict[str, Any]:
    first, *also = selection.rules
    rules = {first, *also}
    needed = {
        "average_of": "average" in rules,
        "every_steps": rules != {"last"},
        "patience": first == "best",
        "examples": bool({"best", "oracle"} & rules),
    }
    values = selection.model_dump(mode="json", include={key for key, need in needed.items() if need})
    return {"checkpoint": first, **({"also": also} if also else {}), **values}


def _task_modules(task: Task, selects: bool) -> list[str]:
    """Modules that a training of the task reaches lazily; a metric only where it selects a checkpoint."""
    modules = [f"xstilts.tasks.{task.name}", f"xstilts.tasks.features.{task.kind}"]
    return [*modules, f"xstilts.metrics.{task.criterion.split('.')[0]}"] if selects else modules
