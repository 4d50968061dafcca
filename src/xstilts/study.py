"""The grid: which steps a study consists of, what each depends on, and where its outputs stand.

Every step has one digest, over its slice of the config, its code and the digests of its inputs, and its outputs
stand in a folder of that name. So a step whose digest is unchanged is never computed again, a changed one never
overwrites or resumes another's files, and results may be moved, copied or cloned. Nothing here knows Snakemake or
torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

from xstilts import config, digest, history, provenance, tasks
from xstilts.config import Study
from xstilts.errors import ConfigError, UserError
from xstilts.files import RECORD
from xstilts.revisions import RepositoryKind, Revisions, is_commit
from xstilts.schema.data import Dataset, Split
from xstilts.schema.training import BackboneTraining
from xstilts.tasks import sources
from xstilts.tasks.base import Task
from xstilts.training.steps import split

NONE = "none"
ENCODER = "encoder"
REGIME = "zero-shot"
SPLITS: tuple[Split, ...] = ("dev", "test")
_LENGTHS = ("max_length", "doc_stride", "max_query_length", "max_answer_length", "n_best")
_MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.json", "record.json")
_TRAINED_FILES = (*_MODEL_FILES, "head.safetensors", "head.json", "log.jsonl")
TABLES = ("cells.csv", "matrix.csv", "deltas.csv", "per_language.csv", "provenance.csv")
FIGURES = ("deltas-dev", "deltas-test", "per-language-dev", "per-language-test")
Phase = Literal[
    "world",
    "preflight",
    "prepare",
    "backbone",
    "intermediate",
    "finetune",
    "predict",
    "score",
    "submission",
    "overlap",
    "tabulate",
    "figures",
    "verify_published",
    "verify_baseline",
]


_R = TypeVar("_R")
_P = ParamSpec("_P")


def _remembered(method: Callable[Concatenate[Plan, _P], _R]) -> Callable[Concatenate[Plan, _P], _R]:
    """Each plan computes each answer once; a study asks for the same steps thousands of times."""

    @wraps(method)
    def answer(self: Plan, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        key = (method.__name__, args)
        if key not in self.answers:
            self.answers[key] = method(self, *args, **kwargs)
        return cast(_R, self.answers[key])

    return cast(Callable[Concatenate["Plan", _P], _R], answer)


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

    @property
    def name(self) -> str:
        """The step as a user would call it: `finetune/xlm-roberta-large/mnli/xnli/seed-1`."""
        return "/".join((self.phase, *self.folders))

    @cached_property
    def directory(self) -> Path:
        """Folder of the outputs."""
        return self.root.joinpath(_FOLDER[self.phase], *self.folders, self.digest)

    @cached_property
    def outputs(self) -> list[str]:
        """Paths of all outputs."""
        return [*(f"{self.directory}/{name}" for name in self.files), *self.published]

    @cached_property
    def done(self) -> bool:
        """Are all outputs there?"""
        return all(Path(path).exists() for path in self.outputs)

    def definition(self) -> dict[str, Any]:
        """What the digest covers, as the record holds it."""
        return {"step": self.phase, "slice": self.slice, "inputs": self.inputs, "code": self.code}

    def sources(self) -> list[str]:
        """Folders below the study's that the step reads; the tables' are named by their inputs."""
        needs = () if self.phase == "tabulate" else self.needs
        return [str(need.directory.relative_to(self.root)) for need in needs]

    def job(self) -> str:
        """What the rule hands to its script, as one line of JSON."""
        plan = {**self.definition(), "needs": self.sources(), "detail": self.detail}
        head = {"name": self.name, "digest": self.digest, "output": str(self.directory)}
        head["work"] = str(self.root.joinpath("work", self.phase, self.digest))
        return digest.canonical({**head, **self.slice, **self.payload, "plan": plan})


_FOLDER: dict[Phase, str] = {
    "world": "world",
    "preflight": "preflight",
    "prepare": "data",
    "backbone": "backbone",
    "intermediate": "intermediate",
    "finetune": "finetune",
    "predict": "predictions",
    "score": "scores",
    "submission": "submissions",
    "overlap": "tables/made-overlap",
    "tabulate": "tables/made",
    "figures": "figures/made",
    "verify_published": "verify/made/published",
    "verify_baseline": "verify/made/baseline",
}


# Phase: the file of its rule, and the group of settings under `compute.resources` (submissions and overlap, whose
# rules stand alone, name another's group there).
RULE_FILES: dict[Phase, str] = {
    "world": "prepare",
    "preflight": "prepare",
    "figures": "tabulate",
    "verify_published": "verify",
    "verify_baseline": "verify",
    **{phase: phase for phase in ("prepare", "backbone", "intermediate", "finetune", "predict", "score", "tabulate")},
    "submission": "submission",
    "overlap": "overlap",
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


class Plan:
    """All steps of a study.

    Args:
        study: the validated config.
        results: folder under which the study's own folder stands.
        revisions: the locked commits of hub repositories.

    Raises:
        ConfigError: two uses of one dataset contradict each other, or a revision contradicts the lock.
    """

    def __init__(self, study: Study, results: Path = Path("results"), revisions: Revisions | None = None) -> None:
        self.study = study
        self.revisions = revisions or Revisions()
        self.root = results / study.study
        self.left_out: dict[str, str] = {}
        self._accepted = history.accepted_code(self.root)
        self._contents = digest.FileDigests(digest.memory_path())
        self._steps: dict[tuple[Phase, tuple[str, ...]], Step] = {}
        self._parts: dict[str, dict[tuple[Split, str], Part]] = {}
        self._built = False
        self.answers: dict[Any, Any] = {}
        self.intermediates = self._available_intermediates()
        self._uses = self._dataset_uses()

    # --- names and seeds

    def _available_intermediates(self) -> dict[str, config.Intermediate]:
        kept = {}
        for name, arm in self.study.intermediates.items():
            reason = next((r for use in arm.tasks for d in self._datasets_of(use) if (r := self._unavailable(d))), None)
            if reason:
                self.left_out[name] = reason
            else:
                kept[name] = arm
        return kept

    def _unavailable(self, dataset: str) -> str | None:
        """Why a licensed dataset cannot be used: the user has no copy of it."""
        source = self.source(dataset)
        if not source.licence or self.study.data.world:
            return None
        missing = sources.missing_files(source, self._files_root(source), "train", sources.ENGLISH)
        return f"{dataset} is licensed ({source.licence}) and {missing[0]} is not there" if missing else None

    def train_set(self, target: str) -> str | None:
        """The task whose training data phase 3 uses for the target; None for retrieval."""
        return self.study.targets[target].train_set or tasks.get(target).train_set

    @_remembered
    def train_sets(self) -> dict[str, list[str]]:
        """Train set: the targets it serves, in the study's order; retrieval targets stand under `encoder`."""
        groups: dict[str, list[str]] = {}
        for target in self.study.targets:
            groups.setdefault(self.train_set(target) or ENCODER, []).append(target)
        return groups

    def languages(self, target: str) -> tuple[str, ...]:
        """The target's languages in this study."""
        return self.study.targets[target].languages or config.xtreme_languages()[target]

    def seeds(self, intermediate: str, group: str) -> list[Seeds]:
        """Every path of seeds that leads through an intermediate to a train set (or straight to the encoder)."""
        given = self.study.seeds
        first: tuple[int | None, ...] = (None,) if intermediate == NONE else given.intermediate
        if group == ENCODER:
            return [Seeds(k, None) for k in first]
        if given.finetune == "paired":
            return [Seeds(None if intermediate == NONE else k, k) for k in given.intermediate]
        return [Seeds(k, f) for k in first for f in given.finetune]

    def cells(self) -> Iterator[Cell]:
        """Every cell of the study."""
        for backbone in self.study.backbones:
            for intermediate in self.intermediates:
                for target in self.study.targets:
                    for seeds in self.seeds(intermediate, self.train_set(target) or ENCODER):
                        yield Cell(backbone, intermediate, target, seeds)

    # --- data

    @_remembered
    def source(self, dataset: str) -> Dataset:
        """Where a dataset comes from: what xstilts knows of it, with the study's changes and the lock's commit."""
        given = self._given_source(dataset)
        if given.hub is None:
            return given
        key = f"data.datasets.{dataset}.hub.revision"
        commit = self.revisions.commit("datasets", given.hub.id, given.hub.revision, key)
        return given.model_copy(update={"hub": given.hub.model_copy(update={"revision": commit})})

    def _given_source(self, dataset: str) -> Dataset:
        found = self.study.data.datasets.get(dataset) or config.known_datasets().get(dataset)
        if found is None:
            problem = f"dataset {dataset!r} is not known"
            raise ConfigError(f"data.datasets.{dataset}", problem, "say where it comes from")
        return found

    def _files_root(self, source: Dataset) -> Path:
        if self.study.data.world:
            return self.world().directory
        return Path(source.root or self.study.data.root)

    def _on_hub(self, source: Dataset) -> bool:
        data = self.study.data
        return data.source == "hub" and not data.world and source.hub is not None

    def _datasets_of(self, use: config.TaskUse) -> tuple[str, ...]:
        return use.datasets or tasks.get(use.task).datasets or (use.task,)

    def _dataset_uses(self) -> dict[str, tuple[Use, set[tuple[Split, str]]]]:
        """Dataset: how it is read, and the parts that the study needs of it."""
        uses: dict[str, tuple[Use, set[tuple[Split, str]]]] = {}
        for task, datasets in self._trainings():
            for dataset in datasets:
                self._add_use(uses, Use(dataset, task), ((s, sources.ENGLISH) for s in ("train", "dev")))
        for target in self.study.targets:
            dataset = self.study.targets[target].dataset or target
            splits = self._evaluated_splits(dataset)
            self._add_use(uses, Use(dataset, target), ((s, lang) for s in splits for lang in self.languages(target)))
            self._check_languages(target, uses[dataset][1])
        return uses

    def _evaluated_splits(self, dataset: str) -> tuple[Split, ...]:
        """A dev part that is cut from the training part serves selection; the target then has a test part only."""
        return ("test",) if self.source(dataset).dev is not None else SPLITS

    def _check_languages(self, target: str, parts: set[tuple[Split, str]]) -> None:
        # A dataset that names no test files at all is evaluated on dev alone (config/verify.yaml).
        wanted: Split = "test" if any(split == "test" for split, _ in parts) else "dev"
        missing = [code for code in self.languages(target) if (wanted, code) not in parts]
        if missing:
            problem = f"no files serve its {wanted} part in {', '.join(missing)}"
            raise ConfigError(
                f"targets.{target}.languages", problem, "leave them out, or name their files in the dataset"
            )

    def _trainings(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for arm in self.intermediates.values():
            for use in arm.tasks:
                yield use.task, self._datasets_of(use)
        for train_set in self.train_sets():
            if train_set != ENCODER:
                yield train_set, tasks.get(train_set).datasets or (train_set,)

    def _add_use(
        self,
        uses: dict[str, tuple[Use, set[tuple[Split, str]]]],
        use: Use,
        parts: Iterable[tuple[Split, str]],
    ) -> None:
        source = self.source(use.dataset)
        first, known = uses.setdefault(use.dataset, (use, set()))
        if first.shape != use.shape:
            problem = f"tasks {first.task} and {use.task} read it with different labels or kinds"
            raise ConfigError(f"data.datasets.{use.dataset}", problem, "give each its own dataset name")
        hub = self._on_hub(source)
        known.update(part for part in parts if sources.has_part(source, *part, hub=hub))

    @_remembered
    def parts(self, dataset: str) -> dict[tuple[Split, str], Part]:
        """The parts of a dataset that the study reads, by (split, language)."""
        if dataset not in self._parts:
            use, wanted = self._uses[dataset]
            source = self.source(dataset)
            self._parts[dataset] = {key: self._part(use, source, *key) for key in sorted(wanted)}
        return self._parts[dataset]

    def _part(self, use: Use, source: Dataset, split: Split, language: str) -> Part:
        origin = sources.origin(source, split)
        kind, labels = use.shape
        described = {
            "kind": kind,
            "labels": labels,
            "split": split,
            "language": language,
            "dev": source.dev and source.dev.model_dump(mode="json"),
            "limit": {s: n for s, n in source.limit.items() if s in (split, origin)},
        }
        where, code = self._where(source, origin, language)
        return Part(split, language, digest.of([described, where, code]), digest.of(where), code)

    def _where(self, source: Dataset, split: Split, language: str) -> tuple[Any, dict[str, str]]:
        """What identifies the content of a published part, and the code that reads it."""
        entry = ["xstilts.tasks.prepare"]
        if self._on_hub(source) and source.hub is not None:
            hub = source.hub.model_dump(mode="json", exclude={"splits", "config", "rows", "language_prefix"})
            places = {"config": _for_language(source.hub.config, language), "split": source.hub.splits[split]}
            prefix = source.hub.language_prefix.get(language)
            return {**hub, **places, "prefix": prefix}, self._reader(*entry, "xstilts.tasks.hub")
        group = sources.group_for(source, split, language)
        if group is None:
            raise UserError(f"no files of split {split!r} in language {language!r}")
        layout = group.model_dump(mode="json", exclude={"files", "languages", "codes"})
        code = self._reader(*entry, f"xstilts.tasks.formats.{group.format}")
        return [layout, group.codes.get(language), self._content(source, split, language)], code

    @_remembered
    def _reader(self, *entries: str) -> dict[str, str]:
        return self._as_accepted("prepare", digest.code(entries))

    def _content(self, source: Dataset, split: Split, language: str) -> Any:
        if self.study.data.world:
            return [self._world_content(language), *sources.patterns(source, split, language)]
        files = sources.local_files(source, self._files_root(source), split, language)
        return [self._contents.of(path) for path in files]

    @_remembered
    def _world_content(self, language: str) -> str:
        world = self.study.data.world
        slice_ = world.model_dump(mode="json") if world else None
        return digest.of([slice_, language, self._world_code()])

    @_remembered
    def _world_code(self) -> dict[str, str]:
        return self._as_accepted("world", digest.code(["xstilts.mini.world"]))

    @_remembered
    def world(self) -> Step:
        """The mini world's files, in every language that the study has."""
        world = self.study.data.world
        if world is None:
            raise UserError("the study has no mini world")
        codes = {code for target in self.study.targets for code in self.languages(target)}
        codes.update(c for b in self.study.backbones.values() if b.train for c in b.train.languages)
        slice_ = {**world.model_dump(mode="json"), "languages": sorted(codes | {sources.ENGLISH})}
        detail = history.coded({"content": {}}, {"content": self._world_code()})
        return self._step("world", (), slice_, {}, self._code("world", "xstilts.mini.make"), detail=detail)

    @_remembered
    def preflight(self) -> Step:
        """The check that every file the study needs is there, before anything runs."""
        wanted = {
            dataset: {
                "source": self._source_dump(dataset),
                "parts": [[p.split, p.language] for p in self.parts(dataset).values()],
            }
            for dataset in self.datasets()
        }
        slice_ = {
            "datasets": {d: v for d, v in wanted.items() if not self._on_hub(self.source(d))},
            "files": [str(path) for path in self._raw_files()],
        }
        found = [digest.of([str(p.exists()) for p in self._raw_files()])]
        found += [part.digest for dataset in self.datasets() for part in self.parts(dataset).values()]
        inputs = {"found": digest.of(found)}
        return self._step("preflight", (), slice_, inputs, self._code("preflight", "xstilts.tasks.preflight"))

    def _raw_files(self) -> list[Path]:
        """What backbones are made from: raw text, or a checkpoint directory."""
        found: list[Path] = []
        for given in self.study.backbones.values():
            found += [Path(given.path) / "config.json"] if given.path else []
            if given.train and not self.study.data.world:
                found += [*self._texts(given.train)["text"].values(), *self._texts(given.train)["parallel"].values()]
        return found

    def _texts(self, training: BackboneTraining) -> dict[str, dict[str, Path]]:
        """Raw text by language, and translations from English."""
        root = self.world().directory if self.study.data.world else Path(self.study.data.root)
        others = [lang for lang in training.languages if lang != sources.ENGLISH]
        return {
            "text": {lang: root / training.text.replace("{lang}", lang) for lang in training.languages},
            "parallel": {lang: root / training.parallel.replace("{lang}", lang) for lang in others}
            if training.parallel
            else {},
        }

    def _first(self) -> Step:
        """What goes before everything that reads files."""
        return self.world() if self.study.data.world else self.preflight()

    def datasets(self) -> list[str]:
        """Every dataset of the study, sorted."""
        return sorted(self._uses)

    @_remembered
    def prepare(self, dataset: str) -> Step:
        """A dataset, verified and converted."""
        use, _ = self._uses[dataset]
        parts = self.parts(dataset)
        kind, labels = use.shape
        source = self.source(dataset)
        payload = {
            "dataset": dataset,
            "kind": kind,
            "labels": labels,
            "source": self._source_dump(dataset),
            "root": None if self._on_hub(source) else str(self._files_root(source)),
            "parts": [[p.split, p.language] for p in parts.values()],
        }
        inputs = {f"{p.split}.{p.language}": p.digest for p in parts.values()}
        code = self._code("prepare")
        detail = self._prepare_detail(dataset)
        return self._step("prepare", (dataset,), {}, inputs, code, (self._first(),), payload=payload, detail=detail)

    def _prepare_detail(self, dataset: str) -> dict[str, Any]:
        source, parts = self.source(dataset), self.parts(dataset).values()
        contents = {f"{p.split}.{p.language}": {"content": p.content} for p in parts}
        settings = {
            "dev": source.dev and source.dev.model_dump(mode="json"),
            "limit": dict(source.limit),
            "revision": source.hub.revision if self._on_hub(source) and source.hub else None,
        }
        return settings | history.coded(contents, {f"{p.split}.{p.language}": p.code for p in parts})

    @_remembered
    def _source_dump(self, dataset: str) -> dict[str, Any]:
        source = self.source(dataset)
        on_hub = self._on_hub(source)
        dump: dict[str, Any] = source.model_dump(mode="json", exclude={"files"} if on_hub else {"hub"})
        return dump | {"root": None if on_hub else str(self._files_root(source))}

    def repositories(self) -> set[tuple[RepositoryKind, str, str]]:
        """Kind, id and revision of every hub repository that the study loads from."""
        used: set[tuple[RepositoryKind, str, str]] = set()
        for dataset in self.datasets():
            source = self.source(dataset)
            if self._on_hub(source) and source.hub is not None:
                used.add(("datasets", source.hub.id, source.hub.revision))
        for name, given in self.study.backbones.items():
            if given.hub is not None:
                used.add(("models", given.hub, self._model_revision(name)))
        return used

    def _data(self, datasets: Iterable[str], split: Split) -> tuple[dict[str, str], list[str], tuple[Step, ...]]:
        """Digests, paths and steps of the English parts of a training's datasets."""
        digests, paths, steps = {}, [], []
        for dataset in datasets:
            part = self.parts(dataset).get((split, sources.ENGLISH))
            if part is None and split == "train":
                problem = "has no training part in English"
                raise ConfigError(
                    f"data.datasets.{dataset}", problem, "name its files for `train`, or another train set"
                )
            if part is None:
                continue
            step = self.prepare(dataset)
            digests[f"{split}:{dataset}"] = part.digest
            paths.append(str(step.directory / f"{split}.{sources.ENGLISH}.parquet"))
            steps.append(step)
        return digests, paths, tuple(steps)

    # --- training

    @_remembered
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
        return self._step("backbone", (name,), slice_, inputs, code, (self._first(),), _MODEL_FILES, payload)

    def _model_revision(self, name: str) -> str:
        given = self.study.backbones[name]
        if given.hub is None:
            return given.revision
        return self.revisions.commit("models", given.hub, given.revision, f"backbones.{name}.revision")

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
        return self._step("backbone", (name,), slice_, inputs, code, (self._first(),), _MODEL_FILES, payload)

    @_remembered
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

    @_remembered
    def finetune(self, backbone: str, intermediate: str, train_set: str, seeds: Seeds) -> Step:
        """Phase 3: one train set, from an intermediate's encoder."""
        start = self.encoder(backbone, intermediate, seeds.intermediate)
        datasets = tasks.get(train_set).datasets or (train_set,)
        folders = (backbone, intermediate, train_set, seeds.folder)
        return self._training("finetune", folders, train_set, datasets, backbone, start, seeds.finetune or 0)

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
        train, train_paths, train_steps = self._data(datasets, "train")
        dev, dev_paths, dev_steps = self._data(datasets, "dev")
        slice_ = {
            "task": name,
            "kind": task.kind,
            "labels": task.labels,
            "criterion": task.criterion,
            "hyper": hyper.model_dump(mode="json"),
            "backbone": {"pooling": self.study.backbones[backbone].pooling},
            "seed": seed,
            "precision": self.study.compute.precision,
        }
        payload = {
            "phase": phase,
            "checkpoint": str(start.directory),
            "train": train_paths,
            "dev": dev_paths,
            "compute": self._compute(),
        }
        needs = (start, *dict.fromkeys((*train_steps, *dev_steps)))
        code = self._code(phase, "xstilts.training.run", *_task_modules(task))
        inputs = {"checkpoint": start.digest, **train, **dev}
        return self._step(phase, folders, slice_, inputs, code, needs, files=_TRAINED_FILES, payload=payload)

    # --- evaluation

    @_remembered
    def predict(self, backbone: str, intermediate: str, group: str, seeds: Seeds) -> Step:
        """Predictions of one checkpoint, for every target that it serves and every language."""
        checkpoint = self._predictor(backbone, intermediate, group, seeds)
        parts, needs = [], {checkpoint: None}
        for target in self.train_sets()[group]:
            dataset = self.study.targets[target].dataset or target
            step = self.prepare(dataset)
            needs[step] = None
            for language in self.languages(target):
                parts.append(self._predicted(target, language, step, backbone, group, checkpoint))
        folders = (backbone, intermediate, group, seeds.folder)
        inputs = {f"{p['task']}/{p['language']}": p["digest"] for p in parts}
        files = ("record.json", *(f"{p['task']}/{p['language']}.parquet" for p in parts))
        payload = {
            "checkpoint": str(checkpoint.directory),
            "parts": parts,
            "batch_tokens": self.study.evaluation.batch_tokens,
            "compute": self._compute(ranks=1),
            "store": str(self.root / "predictions" / "store"),
        }
        slice_ = self._predict_slice(backbone, group)
        detail = self._predict_detail(group, checkpoint)
        return self._step(
            "predict", folders, slice_, inputs, {}, tuple(needs), files=files, payload=payload, detail=detail
        )

    def _predict_detail(self, group: str, checkpoint: Step) -> dict[str, Any]:
        return {"checkpoint": checkpoint.digest, **self._predicted_data(group)}

    @_remembered
    def _predicted_data(self, group: str) -> dict[str, Any]:
        """The data and the code of each table that a checkpoint of the train set gives."""
        of = [(target, language) for target in self.train_sets()[group] for language in self.languages(target)]
        data = {f"{t}/{lang}": {"data": {p.split: p.digest for p in self._evaluated(t, lang)}} for t, lang in of}
        return history.coded(data, {f"{t}/{lang}": self._predict_code(t, group) for t, lang in of})

    @_remembered
    def _predict_code(self, target: str, group: str) -> dict[str, str]:
        entries = ["xstilts.evaluation.predict", f"xstilts.tasks.features.{tasks.get(target).kind}"]
        entries += [f"xstilts.evaluation.{m}" for m in ("embed", "search")] if group == ENCODER else []
        return self._code("predict", *entries)

    def _evaluated(self, target: str, language: str) -> list[Part]:
        """The dev and test parts of a target in one language."""
        dataset = self.study.targets[target].dataset or target
        known, splits = self.parts(dataset), self._evaluated_splits(dataset)
        return [known[split, language] for split in splits if (split, language) in known]

    def _predictor(self, backbone: str, intermediate: str, group: str, seeds: Seeds) -> Step:
        if group == ENCODER:
            return self.encoder(backbone, intermediate, seeds.intermediate)
        return self.finetune(backbone, intermediate, group, seeds)

    @_remembered
    def _predict_slice(self, backbone: str, group: str) -> dict[str, Any]:
        given = self.study.backbones[backbone]
        slice_: dict[str, Any] = {
            "precision": self.study.compute.precision,
            "backbone": {"pooling": given.pooling},
        }
        if group == ENCODER:
            layers = "all" if self.study.evaluation.retrieval_layers == "all" else [given.retrieval_layer]
            length = config.retrieval_length(self.study)
            retrieval = {
                "layers": layers,
                "max_length": length,
                "neighbours": self.study.evaluation.neighbours,
            }
            return slice_ | {"hyper": None, "retrieval": retrieval}
        hyper = config.hyperparameters(self.study, "finetune", group).model_dump(mode="json")
        return slice_ | {"hyper": {key: hyper[key] for key in _LENGTHS}, "retrieval": None}

    def _predicted(
        self, target: str, language: str, data: Step, backbone: str, group: str, checkpoint: Step
    ) -> dict[str, Any]:
        """One prediction table: what it is and the digest of everything that defines it."""
        task = tasks.get(target)
        parts = {part.split: part.digest for part in self._evaluated(target, language)}
        defined = [
            self._predict_slice(backbone, group),
            [target, task.kind, task.labels, language],
            [checkpoint.digest, parts],
            self._predict_code(target, group),
        ]
        return {
            "task": target,
            "kind": task.kind,
            "labels": task.labels,
            "language": language,
            "data": {split: str(data.directory / f"{split}.{language}.parquet") for split in parts},
            "digest": digest.of(defined),
        }

    @_remembered
    def score(self, cell: Cell) -> Step:
        """The official metrics of one cell, per language and averaged."""
        task = tasks.get(cell.target)
        group = self.train_set(cell.target) or ENCODER
        predicted = self.step("predict", (cell.backbone, cell.intermediate, group, cell.seeds.folder))
        parts = [p for p in predicted.payload["parts"] if p["task"] == cell.target]
        predictions = {p["language"]: f"{predicted.directory}/{cell.target}/{p['language']}.parquet" for p in parts}
        scorer = task.scorer or task.criterion.split(".")[0]
        slice_ = {
            "task": cell.target,
            "kind": task.kind,
            "metrics": task.metrics,
            "scorer": scorer,
            "variant": self._variant(group),
        }
        code = self._code("score", "xstilts.evaluation.score", f"xstilts.metrics.{scorer}")
        inputs = {p["language"]: p["digest"] for p in parts}
        folders = (cell.backbone, cell.intermediate, cell.target, cell.seeds.folder)
        files = ("scores.json", "record.json")
        payload = {"predictions": predictions}
        return self._step("score", folders, slice_, inputs, code, (predicted,), files, payload)

    def _variant(self, group: str) -> str | None:
        if group == ENCODER:
            return None
        return config.hyperparameters(self.study, "finetune", group).selection.checkpoint

    @_remembered
    def submissions(self) -> dict[tuple[str, ...], Step]:
        """XTREME submission files by (backbone, intermediate, seeds); made on request, not part of the matrix.

        They hold every XTREME target of the study. The seeds are those of phase 3, where the study has one; retrieval
        comes from the encoder that phase 3 started from.
        """
        group = next((g for g in self.train_sets() if g != ENCODER), ENCODER)
        return {
            (backbone, intermediate, seeds.folder): self._submission(backbone, intermediate, seeds)
            for backbone in self.study.backbones
            for intermediate in self.intermediates
            for seeds in self.seeds(intermediate, group)
        }

    def _submission(self, backbone: str, intermediate: str, seeds: Seeds) -> Step:
        parts: list[dict[str, str]] = []
        inputs: dict[str, str] = {}
        needs: dict[Step, None] = {}
        for target in self.study.targets:
            if target not in config.xtreme_languages():
                continue
            own = seeds if self.train_set(target) else Seeds(seeds.intermediate, None)
            scored = self.score(Cell(backbone, intermediate, target, own))
            data = self.prepare(self.study.targets[target].dataset or target)
            needs |= dict.fromkeys((*scored.needs, data))
            inputs |= {f"{target}/{language}": value for language, value in scored.inputs.items()}
            for language, path in scored.payload["predictions"].items():
                test = str(data.directory / f"test.{language}.parquet")
                parts.append({"task": target, "language": language, "predictions": path, "data": test})
        slice_ = {"layer": self.study.backbones[backbone].retrieval_layer}
        code = self._code("submission", "xstilts.evaluation.export")
        folders = (backbone, intermediate, seeds.folder)
        return self._step("submission", folders, slice_, inputs, code, tuple(needs), payload={"parts": parts})

    # --- tables

    @_remembered
    def overlap(self) -> Step:
        """Shares of every test set's texts that every training set holds."""
        training: dict[str, str] = {}
        tests: dict[str, dict[str, str]] = {}
        inputs, needs = {}, []
        for dataset in self.datasets():
            step = self.prepare(dataset)
            needs.append(step)
            for part in self.parts(dataset).values():
                path = str(step.directory / f"{part.split}.{part.language}.parquet")
                if part.split == "train":
                    training[dataset] = path
                elif part.split == "test":
                    tests.setdefault(dataset, {})[part.language] = path
                if part.split != "dev":
                    inputs[f"{dataset}/{part.split}.{part.language}"] = part.digest
        table = str(self.root / "tables" / "overlap.csv")
        payload = {"training": training, "tests": tests, "table": table}
        code = self._code("overlap", "xstilts.analysis.overlap")
        return self._step("overlap", (), {}, inputs, code, tuple(needs), payload=payload, published=(table,))

    @_remembered
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
        published = tuple(str(self.root / "tables" / name) for name in TABLES)
        return self._step("tabulate", (), slice_, inputs, code, tuple(needs), payload=payload, published=published)

    @_remembered
    def figures(self) -> Step:
        """Heat map of deltas and per-language figures, from the tables."""
        tables = self.tabulate()
        report = self.study.report
        slice_ = {
            "formats": report.figure_formats,
            "delta_range": report.delta_range,
            "targets": list(self.study.targets),
            "intermediates": list(self.intermediates),
        }
        payload = {"tables": str(self.root / "tables"), "figures": str(self.root / "figures")}
        code = self._code("figures", "xstilts.analysis.figures")
        names = (f"{name}.{suffix}" for name in FIGURES for suffix in report.figure_formats)
        published = tuple(str(self.root / "figures" / name) for name in names)
        inputs = {"tables": tables.digest}
        return self._step("figures", (), slice_, inputs, code, (tables,), payload=payload, published=published)

    @_remembered
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
        retrieval = [t for t in self.study.targets if tasks.get(t).kind == "retrieval"]
        return {
            name: dict.fromkeys(retrieval, f"layer{backbone.retrieval_layer}")
            for name, backbone in self.study.backbones.items()
        }

    # --- shared

    def step(self, phase: Phase, folders: tuple[str, ...]) -> Step:
        """The step at a place in the results.

        Raises:
            UserError: the study has no such step.
        """
        self._build()
        if phase == "submission":
            self.submissions()
        if (phase, folders) not in self._steps:
            raise UserError(f"study {self.study.study!r} has no step {'/'.join((phase, *folders))}")
        return self._steps[phase, folders]

    def folder(self, phase: Phase) -> str:
        """Folder of a phase below the study's."""
        return _FOLDER[phase]

    def files(self, phase: Literal["backbone", "intermediate", "finetune"]) -> tuple[str, ...]:
        """Names of the outputs of a phase that makes checkpoints."""
        return _MODEL_FILES if phase == "backbone" else _TRAINED_FILES

    @_remembered
    def predicted_files(self, train_set: str) -> tuple[str, ...]:
        """Names of the outputs of a prediction job: the same for every checkpoint of a train set."""
        self._build()
        return next(s.files for s in self._steps.values() if s.phase == "predict" and s.folders[2] == train_set)

    def reads(self, step: Step) -> list[tuple[Step, str]]:
        """Paths that a step reads, each with the step that writes it."""
        if step.phase == "score":
            return [(step.needs[0], path) for path in step.payload["predictions"].values()]
        return [(need, path) for need in step.needs for path in need.outputs]

    def settled(self, step: Step) -> bool:
        """Will this run leave the step's outputs as they are? If not, what reads them runs too."""
        if step.phase == "score":
            return step.done and all(Path(path).exists() for _, path in self.reads(step))
        if step.phase == "tabulate":
            return step.done and all(self.settled(need) for need in step.needs)
        return True  # its missing files alone decide

    def steps(self) -> list[Step]:
        """Every step of the matrix, upstream first within a cell."""
        self._build()
        return [step for step in self._steps.values() if step.phase != "submission" and self.wanted(step)]

    def wanted(self, step: Step) -> bool:
        """A study that trains nothing has no overlap to tell of."""
        return step.phase != "overlap" or next(self._trainings(), None) is not None

    def _build(self) -> None:
        if self._built:
            return
        self._built = True
        for backbone in self.study.backbones:
            for intermediate in self.intermediates:
                for group in self.train_sets():
                    for seeds in self.seeds(intermediate, group):
                        self.predict(backbone, intermediate, group, seeds)
        self.figures()
        self.overlap()
        self._contents.save()

    def _step(
        self,
        phase: Phase,
        folders: tuple[str, ...],
        slice_: Mapping[str, Any],
        inputs: Mapping[str, str],
        code: Mapping[str, str],
        needs: tuple[Step, ...] = (),
        files: tuple[str, ...] = ("record.json",),
        payload: Mapping[str, Any] | None = None,
        published: tuple[str, ...] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> Step:
        known = self._steps.get((phase, folders))
        if known is not None:
            return known
        plain = json.loads(digest.canonical([slice_, payload or {}]))
        step = Step(phase, self.root, folders, plain[0], inputs, code, needs, files, published, plain[1], detail or {})
        self._steps[phase, folders] = step
        return step

    @_remembered
    def _code(self, phase: Phase, *entries: str) -> dict[str, str]:
        found = digest.code(entries)
        found[f"workflow/scripts/{phase}.py"] = digest.script(f"workflow/scripts/{phase}.py")
        found[f"shell of {phase}"] = digest.shell(f"workflow/rules/{RULE_FILES[phase]}.smk")
        if self.study.library_changes == "rerun":
            found |= {f"library {name}": version for name, version in provenance.versions().items()}
        return self._as_accepted(phase, found)

    def _as_accepted(self, phase: Phase, code: dict[str, str]) -> dict[str, str]:
        """The code, or the older code as which the user accepted it (`xstilts.accept`)."""
        return self._accepted.get((phase, digest.of(code)), code) if self._accepted else code

    def _compute(self, ranks: int | None = None) -> dict[str, Any]:
        keys = {"device", "ranks", "micro_batch", "threads", "deepspeed", "warm"}
        dump: dict[str, Any] = self.study.compute.model_dump(mode="json", include=keys)
        alone: dict[str, Any] = {"ranks": ranks, "deepspeed": None} if ranks else {}
        # Ranks are started by torchrun, each with its own imports.
        return dump | alone | {"warm": dump["warm"] and (ranks or dump["ranks"]) == 1}


def _for_language(given: str | Mapping[str, str], language: str) -> str:
    return given.replace("{lang}", language) if isinstance(given, str) else given.get(language, language)


def _task_modules(task: Task) -> list[str]:
    """Modules that a training of the task reaches lazily."""
    return [
        f"xstilts.tasks.{task.name}",
        f"xstilts.tasks.features.{task.kind}",
        f"xstilts.metrics.{task.criterion.split('.')[0]}",
    ]


def notices(plan: Plan) -> None:
    """Say on stderr what the study leaves out and what may change under it, before any GPU hour is spent."""
    for name, reason in plan.left_out.items():
        print(f"xstilts: intermediate {name!r} is left out: {reason}", file=sys.stderr)
    if moving := sorted({name for _, name, revision in plan.repositories() if not is_commit(revision)}):
        shown = ", ".join(moving[:3]) + (f" and {len(moving) - 3} more" if len(moving) > 3 else "")
        print(f"xstilts: unpinned: {shown}; record commits with `python -m xstilts.lock`", file=sys.stderr)
