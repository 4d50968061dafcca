"""The steps that make checkpoints: backbones, intermediates and fine-tunes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xstilts import config, digest, tasks
from xstilts.errors import ConfigError
from xstilts.files import RECORD
from xstilts.schema.arms import MLM, Intermediate, TaskUse
from xstilts.schema.training import BackboneTraining, Hyperparameters, Optimization, Selection
from xstilts.study.data import DataSteps
from xstilts.study.grid import remembered
from xstilts.study.step import ENCODER, MODEL_FILES, NONE, TRAINED_FILES, Part, Seeds, Step
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
        inputs = {
            f"{role}:{lang}": self._text_content(path, lang)
            for role, files in texts.items()
            for lang, path in files.items()
        }
        payload = {
            **{role: {lang: str(path) for lang, path in files.items()} for role, files in texts.items()},
            "compute": self._compute(ranks=1) | ({"threads": training.threads} if training.threads else {}),
        }
        told = training.model_dump(mode="json", exclude={"text", "parallel"}, exclude_none=True)
        slice_ = {"training": told}
        code = self._code("backbone", "xstilts.training.pretrain")
        return self._step("backbone", (name,), slice_, inputs, code, (self._first(),), MODEL_FILES, payload)

    def _text_content(self, path: Path, language: str) -> str:
        if not self.study.data.world:
            return self._contents.of(path)
        return digest.of(self._world_content(language, str(path.relative_to(self.world().directory))))

    @remembered
    def intermediate(self, backbone: str, name: str, seed: int) -> Step:
        """Phase 2: one intermediate, from the backbone."""
        arm = self.arms[name]
        hypers = config.mixed_hyperparameters(self.study, arm)
        bearing = [_in_mixture(arm, use, hyper) for use, hyper in zip(arm.tasks, hypers, strict=True)]
        told = [self._told("intermediate", use, hyper) for use, hyper in zip(arm.tasks, bearing, strict=True)]
        slice_, code = self._phase2(arm, told)
        folders, start = (backbone, name, Seeds(seed, None).folder), self.backbone(backbone)
        shared = [] if arm.control == "shuffled_labels" else [one for one in told if one.slice["task"] != MLM]
        tokens = self._tokenized(backbone, "intermediate", name, shared)
        return self._training("intermediate", folders, slice_, code, told, tokens, backbone, start, seed)

    def _phase2(self, arm: Intermediate, told: list[_Told]) -> tuple[dict[str, Any], list[str]]:
        """What an intermediate is beside its data and start, and the code that only it reaches."""
        control = {"shuffled": True} if arm.control == "shuffled_labels" else {}
        control |= {"mlm_only": True} if arm.control == "mlm_only" else {}
        code = [*(["xstilts.training.shuffling"] if arm.control == "shuffled_labels" else [])]
        if arm.mlm:
            code += ["xstilts.training.masking", "xstilts.models.masked_lm"]
        if len(told) == 1 and not arm.mlm:
            return {**told[0].slice, **control}, code
        mixture = {} if arm.control == "mlm_only" else _bearing_mixture(arm)
        common = {key: told[0].slice["hyper"][key] for key in Optimization.model_fields}
        return {"tasks": [one.slice for one in told], "mixture": mixture, "hyper": common, **control}, code

    def encoder(self, backbone: str, intermediate: str, seed: int | None) -> Step:
        """The checkpoint that phase 3 starts from."""
        name = self.trained_as(intermediate)
        if name == NONE or seed is None:
            return self.backbone(backbone)
        return self.intermediate(backbone, name, seed)

    @remembered
    def finetune(self, backbone: str, intermediate: str, train_set: str, seeds: Seeds) -> Step:
        """Phase 3: one train set, from an intermediate's encoder."""
        change = self.arms[intermediate].finetune
        hyper = _longer(config.hyperparameters(self.study, "finetune", train_set), change.length)
        if not change.learning_rates:
            return self._finetune(backbone, intermediate, train_set, seeds, seeds.folder, hyper)
        tried = []
        for rate in change.learning_rates:
            one = hyper.model_copy(update={"learning_rate": rate})
            tried.append(self._finetune(backbone, intermediate, train_set, seeds, f"{seeds.folder}-lr{rate:g}", one))
        return self._best_of(tried, (backbone, intermediate, train_set, seeds.folder), hyper)

    def _finetune(
        self, backbone: str, intermediate: str, train_set: str, seeds: Seeds, last: str, hyper: Hyperparameters
    ) -> Step:
        told = self._told("finetune", TaskUse(task=train_set), hyper)
        start = self.encoder(backbone, intermediate, seeds.intermediate)
        folders, tokens = (backbone, intermediate, train_set, last), self.tokenized(backbone, train_set)
        return self._training("finetune", folders, told.slice, [], [told], tokens, backbone, start, seeds.finetune or 0)

    @remembered
    def tokenized(self, backbone: str, group: str) -> tuple[Step, ...]:
        """What makes the inputs of a train set's fine-tunes and predictions, or of retrieval; see `_tokenized`."""
        evaluated = [
            (self.study.targets[target].dataset or target, part)
            for target in self.train_sets()[group]
            for language in self.languages(target)
            for part in self._evaluated(target, language)
        ]
        if group == ENCODER:
            return self._tokenized(backbone, "predict", group, [self._sentences()], evaluated)
        told = self._told("finetune", TaskUse(task=group), config.hyperparameters(self.study, "finetune", group))
        return self._tokenized(backbone, "finetune", group, [told], evaluated)

    def _sentences(self) -> _Told:
        """What of retrieval, for which nothing is trained, its inputs depend on."""
        lengths = {"max_length": config.retrieval_length(self.study)}
        slice_ = {"kind": "retrieval", "labels": (), "hyper": lengths}
        return _Told(slice_, {}, {"train": [], "dev": [], "target_dev": {}}, (), [])

    def _tokenized(
        self, backbone: str, phase: str, name: str, told: list[_Told], evaluated: Sequence[tuple[str, Part]] = ()
    ) -> tuple[Step, ...]:
        """The step that makes the model inputs of trainings and their looks at dev, and of a first task's predictions.

        None on a study that runs on CPUs: there the first job that asks for inputs makes them, while with GPUs it would
        hold one meanwhile. Trainings wait for it, and depend on nothing of it.
        """
        if self.study.compute.device == "cpu" or not told:
            return ()
        start = self.backbone(backbone)
        inputs = {f"{part.split}:{dataset}/{part.language}": part.digest for dataset, part in evaluated}
        inputs["backbone"] = start.digest
        for one in told:
            inputs |= one.inputs
        looked = [[*one.payload["dev"], *one.payload["target_dev"].values()] for one in told]
        looked[0] += [self._path(dataset, part) for dataset, part in evaluated]
        payload = {
            "checkpoint": str(start.directory),
            "train": [one.payload["train"] for one in told],
            "evaluated": [list(dict.fromkeys(paths)) for paths in looked],
            "tokens": str(self.root / "tokens"),
            "compute": self._compute(ranks=1),
        }
        data = [need for one in told for need in one.needs if need.phase in ("prepare", "translate")]
        data += [self.prepare(dataset) for dataset, _ in evaluated]
        kinds = dict.fromkeys(f"xstilts.tasks.features.{one.slice['kind']}" for one in told)
        code = self._code("tokenize", "xstilts.training.tokenize", *kinds)
        slice_ = {"tasks": [_lengths(one.slice) for one in told]}
        needs = (start, *dict.fromkeys(data))
        return (self._step("tokenize", (backbone, phase, name), slice_, inputs, code, needs, payload=payload),)

    def _best_of(self, tried: list[Step], folders: tuple[str, ...], hyper: Hyperparameters) -> Step:
        """The one of several fine-tunes that is best on English dev."""
        task = tasks.get(folders[2])
        dev, paths, steps = self._data(self._dev_parts(TaskUse(task=task.name)), "dev")
        if not dev:
            problem = f"a grid is chosen on English dev, and {task.name} has none"
            raise ConfigError(f"intermediates.{folders[1]}.finetune.learning_rates", problem, "give it a dev part")
        lengths = ("max_length", *(WINDOWS + DECODING if task.kind == "span" else ()))
        given = hyper.model_dump(mode="json")
        slice_ = {
            "task": task.name,
            "kind": task.kind,
            "criterion": task.criterion,
            "hyper": {key: given[key] for key in lengths} | {"selection": {"checkpoint": "last"}},
            "learning_rates": [step.slice["hyper"]["learning_rate"] for step in tried],
            "precision": self.study.compute.precision,
        }
        payload = {"candidates": [str(step.directory) for step in tried], "dev": paths, "compute": self._compute()}
        payload["tokens"] = str(self.root / "tokens")
        inputs = {f"candidate:{k}": step.digest for k, step in enumerate(tried)} | dev
        code = self._code("finetune", "xstilts.training.choose", *_task_modules(task, True))
        needs = (*tried, *dict.fromkeys(steps))
        return self._step("finetune", folders, slice_, inputs, code, needs, files=TRAINED_FILES, payload=payload)

    @remembered
    def _told(self, phase: Literal["intermediate", "finetune"], use: TaskUse, hyper: Hyperparameters) -> _Told:
        """One task of a training."""
        task, compute = tasks.get(use.task), self.study.compute
        split(hyper.batch, compute.ranks, compute.micro_batch)  # must divide exactly
        selects = "best" in hyper.selection.rules and bool(task.criterion)
        oracle = self._oracle_parts(use.task) if "oracle" in hyper.selection.rules else []
        train, train_paths, train_steps = self._data(self._train_parts(use), "train")
        dev, dev_paths, dev_steps = self._data(self._dev_parts(use) if selects else (), "dev")
        slice_ = {
            "task": use.task,
            "kind": task.kind,
            "labels": task.labels,
            "criterion": task.criterion if selects or oracle else None,
            "hyper": _bearing(hyper, task),
        }
        if use.task == MLM:
            slice_["text"] = self.study.mlm.model_dump(mode="json", exclude={"languages"})
        payload = {
            "phase": phase,
            "train": train_paths,
            "dev": dev_paths,
            "target_dev": {f"{target}/{p.language}": self._path(dataset, p) for target, dataset, p in oracle},
        }
        inputs = {**train, **dev, **{f"dev.{p.language}:{dataset}": p.digest for _, dataset, p in oracle}}
        needs = (*train_steps, *self.matches(use), *dev_steps, *(self.prepare(dataset) for _, dataset, _ in oracle))
        return _Told(slice_, inputs, payload, needs, _task_modules(task, selects or bool(oracle)))

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
        defined: dict[str, Any],
        modules: list[str],
        told: list[_Told],
        tokens: tuple[Step, ...],
        backbone: str,
        start: Step,
        seed: int,
    ) -> Step:
        pooled = any(one.slice["kind"] in _POOLED for one in told)
        slice_ = {
            **defined,
            "backbone": {"pooling": self.study.backbones[backbone].pooling if pooled else "cls"},
            "seed": seed,
            "precision": self.study.compute.precision,
        }
        payload: dict[str, Any] = {"phase": phase, "checkpoint": str(start.directory), "compute": self._compute()}
        payload["tokens"] = str(self.root / "tokens")
        payload["tensorboard"] = str(self.root.joinpath("tensorboard", phase, *folders))
        parts: dict[str, Any] = {"tasks": [{**one.slice, **one.payload} for one in told]}
        payload |= parts if "tasks" in defined else told[0].payload
        inputs = {"checkpoint": start.digest}
        for one in told:
            inputs |= one.inputs
        needs = (start, *dict.fromkeys(step for one in told for step in one.needs), *tokens)
        reached = dict.fromkeys((*modules, *(module for one in told for module in one.modules)))
        code = self._code(phase, "xstilts.training.run", *reached)
        return self._step(phase, folders, slice_, inputs, code, needs, files=TRAINED_FILES, payload=payload)


@dataclass(frozen=True)
class _Told:
    """One task of a training: its part of the slice, the inputs, the payload, the steps needed and the code."""

    slice: dict[str, Any]
    inputs: dict[str, str]
    payload: dict[str, Any]
    needs: tuple[Step, ...]
    modules: list[str]


def _lengths(told: dict[str, Any]) -> dict[str, Any]:
    """What inputs of a training depend on, of its slice."""
    hyper = {key: told["hyper"][key] for key in ("max_length", *WINDOWS) if key in told["hyper"]}
    return {"kind": told["kind"], "labels": told["labels"], "hyper": hyper}


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


_BEARING = {"capped": {"cap"}, "temperature": {"cap", "temperature"}, "proportional": set(), "uniform": set()}


def _bearing_mixture(arm: Intermediate) -> dict[str, Any]:
    """The values of a mixture that its rules read."""
    mixture = arm.mixture
    keys = {"sampling", "length", *_BEARING[mixture.sampling]}
    keys |= {"cap", "epochs"} if mixture.length == "capped_counts" else set()
    return mixture.model_dump(mode="json", include=keys)


def _in_mixture(arm: Intermediate, use: TaskUse, hyper: Hyperparameters) -> Hyperparameters:
    """A task's values, its own length left out where it cannot change the mixture's."""
    read = use.task != MLM and (arm.mixture.length == "own_epochs" or arm.control == "mlm_only")
    return hyper if read or len(arm.tasks) == 1 else hyper.model_copy(update={"epochs": 1, "steps": None})


def _longer(hyper: Hyperparameters, times: float) -> Hyperparameters:
    if hyper.steps is not None:
        return hyper.model_copy(update={"steps": math.ceil(hyper.steps * times)})
    return hyper.model_copy(update={"epochs": (hyper.epochs or 0) * times})


def _task_modules(task: Task, selects: bool) -> list[str]:
    """Modules that a training of the task reaches lazily; a metric only where it selects a checkpoint."""
    modules = [f"xstilts.tasks.{task.name}", f"xstilts.tasks.features.{task.kind}"]
    return [*modules, f"xstilts.metrics.{task.criterion.split('.')[0]}"] if selects else modules
