"""What a study reads: the parts of its datasets, and the steps that make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xstilts import config, digest, history, languages, tasks
from xstilts.config import Study, World
from xstilts.errors import ConfigError, UserError
from xstilts.files import RECORD
from xstilts.mini.sizes import Sizes, counted
from xstilts.revisions import RepositoryKind, Revisions
from xstilts.schema.arms import MLM, Intermediate, TaskUse
from xstilts.schema.data import Dataset, Split
from xstilts.schema.training import BackboneTraining
from xstilts.study.grid import Grid, remembered
from xstilts.study.step import ENCODER, SPLITS, Part, Scope, Step, Use
from xstilts.tasks import sources

_WORLD_PROCESSES = 2  # that write the mini world


class DataSteps(Grid):
    """The study's data.

    Attributes:
        left_out: intermediate: why it cannot be run here.
        reduced: multi-task intermediate: the task that it has to do without, and why.

    Raises:
        ConfigError: two uses of one dataset contradict each other, or a revision contradicts the lock.
    """

    def __init__(
        self,
        study: Study,
        results: Path = Path("results"),
        revisions: Revisions | None = None,
        scope: Scope = "matrix",
    ) -> None:
        super().__init__(study, results, revisions, scope)
        self.left_out: dict[str, str] = {}
        self.reduced: dict[str, str] = {}
        self._contents = digest.contents(digest.memory_path())
        self._parts: dict[str, dict[tuple[Split, str], Part]] = {}
        self.arms = self._available_arms()
        self.intermediates = {name: arm for name, arm in self.arms.items() if self.in_scope(name)}
        self.left_out = {name: reason for name, reason in self.left_out.items() if self.in_scope(name)}
        self.reduced = {name: reason for name, reason in self.reduced.items() if self.in_scope(name)}
        self._uses = self._dataset_uses()

    def _available_arms(self) -> dict[str, Intermediate]:
        """Rows whose data can be had; of several tasks those whose data can."""
        kept = {}
        for name, arm in self.study.intermediates.items():
            lacking = {use: reason for use in arm.supervised if (reason := self._lacking(use))}
            if len(arm.supervised) - len(lacking) > 1 and lacking:
                self.reduced[name] = "; ".join(f"{use.task!r} ({reason})" for use, reason in lacking.items())
                kept[name] = arm.model_copy(update={"tasks": tuple(u for u in arm.tasks if u not in lacking)})
            elif lacking or arm.like in self.left_out:
                self.left_out[name] = next(iter(lacking.values()), f"{arm.like!r}, which it is like, is left out")
            else:
                kept[name] = arm
        return kept

    def _lacking(self, use: TaskUse) -> str | None:
        return next((reason for d in self._datasets_of(use) if (reason := self._unavailable(d))), None)

    def _unavailable(self, dataset: str) -> str | None:
        """Why a licensed dataset cannot be used: the user has no copy of it."""
        source = self.source(dataset)
        if not source.licence or self.study.data.world:
            return None
        missing = sources.missing_files(source, self._files_root(source), "train", sources.ENGLISH)
        return f"{dataset} is licensed ({source.licence}) and {missing[0]} is not there" if missing else None

    @remembered
    def source(self, dataset: str) -> Dataset:
        """Where a dataset comes from: what xstilts knows of it, with the study's changes and the lock's commit."""
        given = self._with_paper_dev(self._given_source(dataset))
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
        # The world writes upstream's layout, in numbers of its own.
        return _without_rows(found) if self.study.data.world else found

    def _with_paper_dev(self, source: Dataset) -> Dataset:
        """The dataset as published, where the study chooses checkpoints as the paper did."""
        published = source.published_dev
        if published is None or self.study.data.selection_dev != "paper":
            return source
        hub = source.hub and source.hub.model_copy(update={"splits": {**source.hub.splits, "dev": published.hub}})
        groups = [group.model_copy(update={"files": {**group.files, "dev": published.files}}) for group in source.files]
        return source.model_copy(update={"dev": None, "hub": hub, "files": tuple(groups)})

    def paper_dev(self, train_set: str) -> bool:
        """Does a train set choose its checkpoint on a dev part that leaks, as the paper did?"""
        given = (self._given_source(dataset) for dataset in tasks.get(train_set).datasets or (train_set,))
        return self.study.data.selection_dev == "paper" and any(source.published_dev for source in given)

    def _files_root(self, source: Dataset) -> Path:
        if self.study.data.world:
            return self.world().directory
        return Path(source.root or self.study.data.root)

    def _on_hub(self, source: Dataset) -> bool:
        data = self.study.data
        return data.source == "hub" and not data.world and source.hub is not None

    def _datasets_of(self, use: TaskUse) -> tuple[str, ...]:
        return use.datasets or _own_datasets(use.task)

    def _train_parts(self, use: TaskUse) -> list[tuple[str, str]]:
        """Dataset and language of everything that a task of an intermediate is trained on."""
        if use.task == MLM:
            return [(dataset, code) for dataset in self._datasets_of(use) for code in self.text_languages()]
        found = []
        for code in use.languages:
            from_ = self._datasets_of(use) if code == sources.ENGLISH else (use.translated,)
            found += [(dataset, code) for dataset in from_ if dataset]
        return found

    def _dev_parts(self, use: TaskUse) -> list[tuple[str, str]]:
        """English dev, of translated training data too."""
        return [(dataset, sources.ENGLISH) for dataset in self._datasets_of(use)]

    def text_languages(self) -> tuple[str, ...]:
        """Languages of the text for masked-language modelling."""
        targets = (code for target in self.study.targets for code in self.languages(target))
        return self.study.mlm.languages or tuple(sorted({sources.ENGLISH, *targets}))

    def _dataset_uses(self) -> dict[str, tuple[Use, set[tuple[Split, str]]]]:
        """Dataset: how it is read, and the parts that the study needs of it."""
        uses: dict[str, tuple[Use, set[tuple[Split, str]]]] = {}
        # Of every row, whatever the scope: a dataset has one set of prepared tables.
        for task, dataset, parts in self._trainings(self.arms):
            self._add_use(uses, Use(dataset, task), parts)
        for target in self.study.targets:
            dataset = self.study.targets[target].dataset or target
            splits = self._evaluated_splits(dataset)
            self._add_use(uses, Use(dataset, target), ((s, lang) for s in splits for lang in self.languages(target)))
            self._check_languages(target, uses[dataset][1])
        return uses

    def _evaluated_splits(self, dataset: str) -> tuple[Split, ...]:
        """A dev part that is cut from the training part serves selection; the target then has a test part only."""
        return ("test",) if self._given_source(dataset).dev is not None else SPLITS

    def _evaluated(self, target: str, language: str) -> list[Part]:
        """The dev and test parts of a target in one language."""
        dataset = self.study.targets[target].dataset or target
        known, splits = self.parts(dataset), self._evaluated_splits(dataset)
        return [known[split, language] for split in splits if (split, language) in known]

    def _check_languages(self, target: str, parts: set[tuple[Split, str]]) -> None:
        # A dataset that names no test files at all is evaluated on dev alone (config/verify.yaml).
        wanted: Split = "test" if any(split == "test" for split, _ in parts) else "dev"
        missing = [code for code in self.languages(target) if (wanted, code) not in parts]
        if missing:
            problem = f"the dataset has no {wanted} part in {', '.join(missing)}"
            raise ConfigError(
                f"targets.{target}.languages", problem, "leave them out, or say where it is under `data.datasets`"
            )

    def _trainings(self, rows: Iterable[str]) -> Iterator[tuple[str, str, Sequence[tuple[Split, str]]]]:
        """What is trained on: task, dataset, and the parts read of it."""
        for name in dict.fromkeys(self.trained_as(row) for row in rows):
            for use in self.arms[name].tasks:
                for dataset, code in self._train_parts(use):
                    made = self.study.data.translations.get(dataset)
                    read = (made.of, sources.ENGLISH) if made else (dataset, code)
                    yield use.task, read[0], [("train", read[1])]
                for dataset, code in self._dev_parts(use):
                    held_against: list[tuple[Split, str]] = [("train", code)] if self._users_own(use) else []
                    yield use.task, dataset, [*held_against, ("dev", code)]
        for train_set in self.train_sets():
            if train_set != ENCODER:
                for dataset in _own_datasets(train_set):
                    yield train_set, dataset, [("train", sources.ENGLISH), ("dev", sources.ENGLISH)]

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

    @remembered
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
            "dev": source.dev.model_dump(mode="json") if source.dev and split != "test" else None,
            "limit": {s: n for s, n in source.limit.items() if s in (split, origin)},
        }
        where, code = self._where(source, origin, language)
        return Part(split, language, digest.of([described, where, code]), digest.of(where), code)

    def _where(self, source: Dataset, split: Split, language: str) -> tuple[Any, dict[str, str]]:
        """What identifies the content of a published part, and the code that reads it."""
        entry = ["xstilts.tasks.prepare"]
        if self._on_hub(source) and source.hub is not None:
            apart = {"splits", "config", "rows", "language_prefix", "languages"}
            hub = source.hub.model_dump(mode="json", exclude=apart)
            places = {"config": _for_language(source.hub.config, language), "split": source.hub.splits[split]}
            prefix = source.hub.language_prefix.get(language)
            return {**hub, **places, "prefix": prefix}, self._reader(*entry, "xstilts.tasks.hub")
        group = sources.group_for(source, split, language)
        if group is None:
            raise UserError(f"no files of split {split!r} in language {language!r}")
        layout = group.model_dump(mode="json", exclude={"files", "languages", "codes", "rows"})
        code = self._reader(*entry, f"xstilts.tasks.formats.{group.format}")
        return [layout, group.codes.get(language), self._content(source, split, language)], code

    @remembered
    def _reader(self, *entries: str) -> dict[str, str]:
        return self._as_accepted("prepare", digest.code(entries))

    def _content(self, source: Dataset, split: Split, language: str) -> Any:
        if self.study.data.world:
            return self._world_content(language, *sources.patterns(source, split, language))
        files = sources.local_files(source, self._files_root(source), split, language)
        return [self._contents.of(path) for path in files]

    @remembered
    def _world_content(self, language: str, *patterns: str) -> list[Any]:
        """What files of the mini world depend on: its seed, their own sizes and language, and the code."""
        world = self.study.data.world or World()
        sizes = {name: getattr(Sizes.of(world.sizes), name) for name in _sizes(patterns)}
        return [digest.of([world.seed, sizes, language, self._world_code()]), *patterns]

    def counted(self, dataset: str, split: Split, language: str) -> list[str]:
        """The sizes of the mini world that a part of a dataset depends on."""
        source = self.source(dataset)
        return _sizes(sources.patterns(source, sources.origin(source, split), language))

    @remembered
    def _world_code(self) -> dict[str, str]:
        return self._as_accepted("world", digest.code(["xstilts.mini.world"]))

    @remembered
    def world(self) -> Step:
        """The mini world's files, in every language that the study has."""
        world = self.study.data.world
        if world is None:
            raise UserError("the study has no mini world")
        codes = {code for target in self.study.targets for code in self.languages(target)}
        codes.update(self.study.mlm.languages)
        codes.update(code for arm in self.study.intermediates.values() for use in arm.tasks for code in use.languages)
        codes.update(c for b in self.study.backbones.values() if b.train for c in b.train.languages)
        slice_ = {**world.model_dump(mode="json"), "languages": sorted(codes | {sources.ENGLISH})}
        detail = history.coded({"content": {}}, {"content": self._world_code()})
        code, payload = self._code("world", "xstilts.mini.make"), {"processes": _WORLD_PROCESSES}
        made = self._step("world", (), slice_, {}, code, payload=payload, detail=detail)
        lost = [name for name in history.listed(made.directory) if not (made.directory / name).exists()]
        if lost:  # outputs, so that whoever reads the world has it made again
            made = self._steps["world", ()] = replace(made, files=(RECORD, *lost))
        return made

    @remembered
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
        models = {self.study.data.translations[name].path for name, _ in self.translated()}
        found = [Path(path) / "config.json" for path in sorted(filter(None, models))]
        for given in self.study.backbones.values():
            found += [Path(given.path) / "config.json"] if given.path else []
            if given.train and not self.study.data.world:
                found += [*self._texts(given.train)["text"].values(), *self._texts(given.train)["parallel"].values()]
        return list(dict.fromkeys(found))

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

    @remembered
    def datasets(self) -> list[str]:
        """Every dataset that the rows of the scope read, sorted."""
        trained = {dataset for _, dataset, _ in self._trainings(self.intermediates)}
        return sorted(trained | {target.dataset or name for name, target in self.study.targets.items()})

    def prepared(self) -> dict[str, tuple[str, ...]]:
        """Every dataset of the study, of whatever rows, with the names of its prepared tables and record."""
        return {
            name: (RECORD, *(f"{split}.{language}.parquet" for split, language in sorted(wanted)))
            for name, (_, wanted) in sorted(self._uses.items())
        }

    @remembered
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
        files = self.prepared()[dataset]
        return self._step("prepare", (dataset,), {}, inputs, code, (self._first(),), files, payload, detail=detail)

    def _prepare_detail(self, dataset: str) -> dict[str, Any]:
        source, parts = self.source(dataset), self.parts(dataset).values()
        contents = {f"{p.split}.{p.language}": {"content": p.content} for p in parts}
        settings = {
            "dev": source.dev and source.dev.model_dump(mode="json"),
            "limit": dict(source.limit),
            "revision": source.hub.revision if self._on_hub(source) and source.hub else None,
        }
        return settings | history.coded(contents, {f"{p.split}.{p.language}": p.code for p in parts})

    @remembered
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
        for name, _ in self.translated():
            if hub := self.study.data.translations[name].hub:
                used.add(("models", hub, self._translator_revision(name)))
        return used

    def _model_revision(self, name: str) -> str:
        given = self.study.backbones[name]
        if given.hub is None:
            return given.revision
        return self.revisions.commit("models", given.hub, given.revision, f"backbones.{name}.revision")

    def _data(
        self, wanted: Iterable[tuple[str, str]], split: Split
    ) -> tuple[dict[str, str], list[str], tuple[Step, ...]]:
        """Digests, paths and steps of the parts, by dataset and language, that a training reads.

        Raises:
            ConfigError: a dataset has no training part in a language; it need not have a dev part.
        """
        digests, paths, steps = {}, [], []
        for dataset, language in wanted:
            if dataset in self.study.data.translations:
                made = self.translate(dataset, language)
                digests[f"{split}:{dataset}/{language}"] = made.digest
                paths.append(f"{made.directory}/train.{language}.parquet")
                steps.append(made)
                continue
            part = self.parts(dataset).get((split, language))
            if part is None and split == "train":
                problem = f"has no training part in {languages.table()[language].name} ({language})"
                remedy = "name its files for `train`, leave the language out, or name another dataset"
                raise ConfigError(f"data.datasets.{dataset}", problem, remedy)
            if part is None:
                continue
            digests[f"{split}:{dataset}" + (f"/{language}" if language != sources.ENGLISH else "")] = part.digest
            paths.append(self._path(dataset, part))
            steps.append(self.prepare(dataset))
        return digests, paths, tuple(steps)

    @remembered
    def translate(self, dataset: str, language: str) -> Step:
        """The English training part of a dataset, translated by a sequence-to-sequence model."""
        given = self.study.data.translations[dataset]
        _, (path,), needs = self._data([(given.of, sources.ENGLISH)], "train")
        files = sorted(Path(given.path).iterdir()) if given.path and Path(given.path).is_dir() else []
        slice_: dict[str, Any] = {
            "kind": self._uses[given.of][0].shape[0],
            "source": given.codes.get(sources.ENGLISH, sources.ENGLISH),
            "target": given.codes.get(language, language),
            **given.model_dump(mode="json", include={"beams", "max_length", "batch"}),
            "precision": self.study.compute.precision,
        }
        revision = self._translator_revision(dataset)
        slice_ |= {"model": {"hub": given.hub, "revision": revision}} if given.hub else {}
        inputs = {"train": self.parts(given.of)["train", sources.ENGLISH].digest}
        inputs |= {f"model:{p.name}": self._contents.of(p) for p in files if p.is_file() and p.name != RECORD}
        payload: dict[str, Any] = {"hub": given.hub, "revision": revision, "path": given.path}
        payload |= {"train": path, "language": language, "compute": self._compute(ranks=1)}
        code = self._code("translate", "xstilts.translation.translate")
        names = (RECORD, f"train.{language}.parquet")
        return self._step("translate", (dataset, language), slice_, inputs, code, needs, names, payload)

    def _translator_revision(self, dataset: str) -> str:
        given = self.study.data.translations[dataset]
        if given.hub is None:
            return given.revision
        return self.revisions.commit("models", given.hub, given.revision, f"data.translations.{dataset}.revision")

    def translated(self) -> list[tuple[str, str]]:
        """Dataset and language of all that models translate for the rows of the scope."""
        uses = (use for row in self.intermediates for use in self.arms[self.trained_as(row)].tasks)
        parts = (part for use in uses for part in self._train_parts(use))
        return list(dict.fromkeys(part for part in parts if part[0] in self.study.data.translations))

    def matches(self, use: TaskUse) -> tuple[Step, ...]:
        """The checks of a task's translated files against their original, of files of the user's own."""
        if use.translated is None or not self._users_own(use):
            return ()
        return tuple(self._match(use, use.translated, code) for code in use.languages if code != sources.ENGLISH)

    def _users_own(self, use: TaskUse) -> bool:
        """Are its translations files of the user's, not a published set?"""
        return use.translated in self.study.data.datasets and use.translated not in config.known_datasets()

    def _match(self, use: TaskUse, dataset: str, language: str) -> Step:
        originals = [(name, sources.ENGLISH) for name in self._datasets_of(use)]
        wanted, paths, steps = self._data(originals, "train")
        found, (path,), made = self._data([(dataset, language)], "train")
        source = self.source(dataset)
        files = sources.local_files(source, self._files_root(source), "train", language)
        payload = {"originals": paths, "translated": path, "files": [str(file) for file in files]}
        code = self._code("match", "xstilts.translation.match")
        needs = tuple(dict.fromkeys((*steps, *made)))
        return self._step("match", (use.task, dataset, language), {}, wanted | found, code, needs, payload=payload)

    def _path(self, dataset: str, part: Part) -> str:
        """Where a part of a dataset stands once it is prepared."""
        return str(self.prepare(dataset).directory / f"{part.split}.{part.language}.parquet")


def _sizes(patterns: Iterable[str]) -> list[str]:
    return sorted({name for pattern in patterns for name in counted(pattern)})


def _without_rows(source: Dataset) -> Dataset:
    return source.model_copy(update={"files": tuple(g.model_copy(update={"rows": {}}) for g in source.files)})


def _own_datasets(task: str) -> tuple[str, ...]:
    return tasks.get(task).datasets or (task,)


def _for_language(given: str | Mapping[str, str], language: str) -> str:
    return given.replace("{lang}", language) if isinstance(given, str) else given.get(language, language)
