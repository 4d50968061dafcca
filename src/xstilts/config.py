"""The study's schema: the one place that knows the YAML.

`config/config.yaml` (the documented default) and `config/schema.json` (for editors) are generated from here by
`python -m xstilts.config_files`; a test keeps them in step. Importing this costs pydantic and YAML, nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from xstilts import languages, tasks
from xstilts.errors import ConfigError, UserError
from xstilts.files import packaged
from xstilts.schema.arms import MLM, Finetune, Intermediate, MaskedText, Mixture, TaskUse
from xstilts.schema.base import Model, Name, Number, Seed
from xstilts.schema.data import UNPINNED, Dataset
from xstilts.schema.training import BackboneTraining, DeepSpeed, Hyperparameters, Optimization
from xstilts.schema.translation import Translation

_M = TypeVar("_M", bound=Model)


class World(Model):
    """The mini world: made, not fetched."""

    seed: Seed = Field(0, description="Seed of the world.")
    sizes: dict[str, Annotated[int, Field(gt=0)]] = Field({}, description="Sizes to change (see xstilts.mini).")


class Data(Model):
    """Where data comes from: the hub, a directory of upstream files, or the mini world."""

    source: Literal["hub", "files"] = Field(
        "hub",
        description="Take datasets from the Hugging Face hub where it has them, or all from files under `root`.",
    )
    root: str = Field(
        "data", description="Directory of upstream files: for datasets without a usable hub copy, or for all."
    )
    selection_dev: Literal["cut", "paper"] = Field(
        "cut",
        description="The dev part by which QA checkpoints are chosen: cut from the training articles; or `paper`: the "
        "published one, of which the paper's recipes see the first 500 examples. It leaks: it is TyDiQA's test, and "
        "XQuAD's passages come from SQuAD's. Its scores are labelled `-paper-dev`.",
    )
    world: World | None = Field(None, description="Make the mini world and use its files instead (mini study only).")
    datasets: dict[Name, Dataset] = Field(
        {},
        description="Datasets whose place or layout differs from the known one (src/xstilts/data/datasets.yaml).",
    )
    translations: dict[Name, Translation] = Field(
        {}, description="Training data that a model translates; name one as a task's `translated` (docs/baselines.md)."
    )

    @model_validator(mode="after")
    def _real(self) -> Data:
        if self.world and self.selection_dev == "paper":
            raise ConfigError("data.selection_dev", "the mini world has no published dev part", "use `cut`")
        return self

    @field_validator("datasets", mode="before")
    @classmethod
    def _over_known(cls, given: Any) -> Any:
        """A known dataset needs to be given only what differs from what xstilts knows of it."""
        if not isinstance(given, Mapping):
            return given
        known = _raw_datasets()
        both = (isinstance(value, Mapping) for value in given.values())
        return {
            name: deep_merge(known.get(name, {}), value) if mapping else value
            for (name, value), mapping in zip(given.items(), both, strict=True)
        }


class Backbone(Model):
    """A pretrained multilingual encoder (phase 1): give one of `hub`, `path`, `train`."""

    hub: str | None = Field(None, description="Repository id on the Hugging Face hub.")
    revision: str = Field(UNPINNED, description="Commit of the repository; `unpinned` until recorded.")
    path: str | None = Field(None, description="A directory in the Hugging Face layout (safetensors only).")
    train: BackboneTraining | None = Field(None, description="Train a tiny one from raw text.")
    pooling: Literal["cls", "mean"] = Field("cls", description="What classification heads read.")
    retrieval_layer: int = Field(14, ge=0, description="hidden_states[k] for retrieval; 0 is the embeddings.")

    @model_validator(mode="after")
    def _one_origin(self) -> Backbone:
        if sum(x is not None for x in (self.hub, self.path, self.train)) != 1:
            raise ValueError("give exactly one of `hub`, `path`, `train`")
        return self


class Target(Model):
    """A target task."""

    languages: tuple[str, ...] = Field((), description="Languages to evaluate; none given: all that XTREME has for it.")
    train_set: str | None = Field(
        None, description="Task whose training data phase 3 uses, if not the target's usual one."
    )
    dataset: Name | None = Field(None, description="Dataset of its dev and test, if not its own name.")


class Seeds(Model):
    """Repeats of each phase."""

    intermediate: tuple[Seed, ...] = Field(
        (1, 2, 3), min_length=1, description="Phase 2; with `none` and paired seeds these are phase 3's."
    )
    finetune: Literal["paired"] | Annotated[tuple[Seed, ...], Field(min_length=1)] = Field(
        "paired",
        description="`paired`: seed k continues seed k; a list: every one of it from every intermediate seed.",
    )

    @model_validator(mode="after")
    def _unique(self) -> Seeds:
        for key in ("intermediate", "finetune"):
            seeds = getattr(self, key)
            if not isinstance(seeds, str) and len(set(seeds)) != len(seeds):
                raise ValueError(f"`{key}` names a seed twice")
        return self


class RetrievalRecipe(Model):
    """Values for targets that are scored straight from the encoder."""

    max_length: int = Field(512, gt=8, description="Tokens per sentence, special tokens included.")


class External(Model):
    """Predictions of another system: a row of the matrix."""

    predictions: str = Field(description="Folder of <task>/test-<language>.{tsv,json}, XTREME's submission layout.")
    backbone: Name | None = Field(None, description="In whose block it stands; none given: the first.")


class Recipe(Model):
    """A whole set of hyperparameters. `defaults` hold for every task; the others change single values of them."""

    based_on: str | None = Field(None, description="A named recipe of which single values are changed.")
    defaults: dict[str, Any] = Field({}, description="Values for every task, see `Hyperparameters`.")
    intermediate: dict[str, dict[str, Any]] = Field({}, description="Task: its values in phase 2.")
    mixed: dict[str, Any] = Field({}, description="Values of a phase 2 that mixes several tasks.")
    with_mlm: dict[str, Any] = Field({}, description="Values of a phase 2 that MLM is part of, over all others.")
    finetune: dict[str, dict[str, Any]] = Field({}, description="Train set: its values in phase 3.")
    retrieval: RetrievalRecipe | None = Field(None, description="Values for retrieval.")


class Evaluation(Model):
    """How predictions are made and scored."""

    batch_tokens: int = Field(16384, gt=0, description="Tokens per inference batch, padding included.")
    retrieval_layers: Literal["backbone", "all"] = Field(
        "backbone", description="The backbone's layer, or one score each."
    )
    neighbours: int = Field(4, gt=0, description="BUCC: neighbours on each side of the ratio margin.")


class Resources(Model):
    """What one job of a phase asks the scheduler for; never part of what a result depends on.

    GPUs follow from `device` and `ranks`: one per rank of a training, one for a prediction, none for other jobs.
    """

    mem_mb: int = Field(gt=0, description="MiB of the host's memory; a retry asks for half as much again.")
    runtime: int = Field(gt=0, description="Minutes; a retry of what cannot resume asks for as much again.")


_RESOURCES = {
    "prepare": {"mem_mb": 32000, "runtime": 240},
    "translate": {"mem_mb": 32000, "runtime": 1440},
    "backbone": {"mem_mb": 32000, "runtime": 240},
    "tokenize": {"mem_mb": 32000, "runtime": 120},
    "intermediate": {"mem_mb": 64000, "runtime": 1440},
    "finetune": {"mem_mb": 64000, "runtime": 1440},
    "predict": {"mem_mb": 64000, "runtime": 480},
    "score": {"mem_mb": 8000, "runtime": 60},
    "tabulate": {"mem_mb": 8000, "runtime": 60},
}


class Compute(Model):
    """On what the study runs. Only `precision` can change a result's digits by intent, so only it is part of one."""

    device: Literal["cuda", "cpu"] = Field("cuda", description="What jobs compute on.")
    precision: Literal["fp32", "bf16", "fp16"] = Field("bf16", description="Number format of training and prediction.")
    ranks: int = Field(1, ge=1, le=8, description="Processes (devices) per training job.")
    micro_batch: int | None = Field(
        8, gt=0, description="Examples per device and forward pass at most; null: the whole share."
    )
    micro_tokens: int | None = Field(
        None, gt=0, description="Tokens per device and forward pass at most; null: as many as the examples have."
    )
    threads: int = Field(8, gt=0, description="Compute threads per process; one and two give different bits on a CPU.")
    warm: bool = Field(
        False,
        description="Fork jobs from one process that has the libraries loaded: for short jobs on CPUs of one machine.",
    )
    deepspeed: DeepSpeed | None = Field(None, description="Train with DeepSpeed; null: plain data parallelism.")
    activation_checkpointing: bool = Field(
        False,
        description="Compute activations again in the backward pass instead of keeping them: slower, less memory.",
    )
    state_minutes: Number = Field(
        15, ge=0, description="Minutes between saves of what an interrupted training goes on from; 0: every step."
    )
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="Follow trainings in TensorBoard (results/<study>/tensorboard) or Weights & Biases."
    )
    resources: dict[str, Resources] = Field(
        default_factory=lambda: dict(_RESOURCES),
        description="Per phase: memory of one job in MiB, and minutes.",
        validate_default=True,
    )

    @field_validator("resources", mode="before")
    @classmethod
    def _every_phase(cls, given: Any) -> Any:
        """A phase needs to be given only what differs from what it asks for anyway."""
        if not isinstance(given, Mapping):
            return given
        for phase in given:
            _known(phase, _RESOURCES, "compute.resources", "phase")
        return deep_merge(_RESOURCES, given)


class Budget(Model):
    """What a dry run's estimate is told; nothing here is part of any result."""

    device: str = Field("A100-80", description="GPU to run on: H200, H100, A100-80, A100-40, V100, L40S.")
    gpus: int = Field(8, gt=0, description="GPUs at once (on a study that runs on CPUs: cores).")
    price: Number | None = Field(None, ge=0, description="Price of a GPU hour, in any currency; null: no costs.")


class Report(Model):
    """Display only: nothing here is part of any result."""

    figure_formats: tuple[Literal["svg", "png"], ...] = Field(("svg", "png"), description="Files of each figure.")
    delta_range: Number | None = Field(None, gt=0, description="Ends of the delta colour scale; null: from the data.")
    oracle: bool = Field(
        False, description="Also show, labelled so, what choosing the best intermediate on test would give."
    )
    print_matrix: bool = Field(True, description="Show the matrix on the terminal at the end of a run.")


_SINGLE = ("anli_plus", "mnli", "qqp", "squad_v2", "squad_v1", "hellaswag", "ccg", "cosmosqa", "commonsenseqa")
_GRID = (3.0e-6, 1.0e-5, 3.0e-5)  # ours: the rates of the named recipes


def _default_intermediates() -> dict[str, Intermediate]:
    uses = tuple(TaskUse(task=name) for name in _SINGLE)
    mlm = TaskUse(task=MLM)
    capped = Mixture(length="capped_counts", epochs=3)  # [v1 Table 3]
    single = {"none": Intermediate()} | {use.task: Intermediate(tasks=(use,)) for use in uses}
    with_mlm = {f"{use.task}+mlm": Intermediate(tasks=(use, mlm)) for use in uses}
    multi = {
        "multi": Intermediate(tasks=uses, mixture=capped),
        "multi+mlm": Intermediate(tasks=(*uses, mlm), mixture=capped),
    }
    return single | with_mlm | multi | _translated() | _controls([*single, "multi"])


def _translated() -> dict[str, Intermediate]:
    """MNLI in one other language a row, the paper's three (x-stilts.md 2.4, from memory)."""
    return {
        f"mnli-{code}": Intermediate(tasks=(TaskUse(task="mnli", languages=(code,), translated="xnli_mt"),))
        for code in ("de", "ru", "sw")
    }


def _controls(rows: Sequence[str]) -> dict[str, Intermediate]:
    shuffled = {
        f"{task}-shuffled": Intermediate(tasks=(TaskUse(task=task),), control="shuffled_labels")
        for task in ("mnli", "squad_v1", "hellaswag")
    }
    alone = Intermediate(tasks=(TaskUse(task="mnli"), TaskUse(task=MLM)), control="mlm_only")
    longer = Intermediate(like="none", finetune=Finetune(length=2))
    grid = {f"{row}-grid": Intermediate(like=row, finetune=Finetune(learning_rates=_GRID)) for row in rows}
    return {**shuffled, "mlm-like-mnli": alone, "none-doubled": longer, **grid}


def _default_targets() -> dict[str, Target]:
    order = ["xnli", "pawsx", "udpos", "panx", "xquad", "mlqa", "tydiqa", "bucc2018", "tatoeba"]
    return {name: Target() for name in order}


def _default_backbones() -> dict[str, Backbone]:
    return {"xlm-roberta-large": Backbone(hub="FacebookAI/xlm-roberta-large", retrieval_layer=14)}


KeepWeights = Literal["all", "intermediates", "none"]


class Study(Model):
    """One study: one validated config file; its name is the top folder of its results."""

    study: Name = Field("x-stilts", description="Name of the study: results go to results/<study>/.")
    data: Data = Field(Data(), description="Where the data comes from.")
    recipe: str = Field("jiant", description="Hyperparameters: jiant, x-stilts-v1, xtreme-2020, or one from `recipes`.")
    recipes: dict[str, Recipe] = Field({}, description="Recipes of your own; see src/xstilts/data/recipes.yaml.")
    backbones: dict[Name, Backbone] = Field(
        default_factory=_default_backbones,
        min_length=1,
        description="Pretrained encoders: `hub` and `revision`, or `path`, or `train`; `pooling`; `retrieval_layer`.",
    )
    intermediates: dict[Name, Intermediate] = Field(
        default_factory=_default_intermediates,
        min_length=1,
        description="Rows of the matrix; `none` is the baseline. `all_matrix` are the rows of one English task, "
        "`all_baselines` the others (docs/baselines.md). CCGbank is licensed: without your copy under `data.root` "
        "the rows that train on it are left out, and said so.",
    )
    mlm: MaskedText = Field(MaskedText(), description="Text of the task `mlm` (masked-language modelling).")
    targets: dict[Name, Target] = Field(
        default_factory=_default_targets,
        min_length=1,
        description="Columns of the matrix: `languages` (none given: XTREME's), `train_set`, `dataset`.",
    )
    external: dict[Name, External] = Field(
        {}, description="Rows of other systems, scored from their test predictions in XTREME's layout."
    )
    seeds: Seeds = Field(Seeds(), description="Repeats of each phase.")
    evaluation: Evaluation = Field(Evaluation(), description="Predicting and scoring.")
    compute: Compute = Field(default_factory=Compute, description="Hardware and resources.")
    budget: Budget = Field(Budget(), description="What a dry run's estimate of time and cost assumes (docs/budget.md).")
    report: Report = Field(Report(), description="Display only.")
    keep_weights: KeepWeights = Field(
        "all",
        description="Weights kept once every prediction that rests on them is there: `all`, those of `intermediates` "
        "(no fine-tunes), or `none` (backbones alone). What needs deleted ones again trains them again.",
    )
    library_changes: Literal["warn", "rerun"] = Field(
        "warn",
        description="A changed version of torch, transformers, …: warn and flag mixed results, or rerun.",
    )

    @model_validator(mode="after")
    def _references(self) -> Study:
        _check_tasks(self)
        _check_languages(self)
        _check_recipe(self)
        _check_backbones(self)
        _check_external(self)
        return self


def _check_tasks(study: Study) -> None:
    for name, arm in study.intermediates.items():
        _check_arm(study, name, arm)
    for name, target in study.targets.items():
        _known(name, tasks.names(), "targets", "target")
        if target.train_set:
            _known(target.train_set, tasks.names(), f"targets.{name}.train_set", "train set")
        _check_train_set(name, target)
    for code in study.mlm.languages:
        _known(code, languages.table(), "mlm.languages", "language")


def _check_arm(study: Study, name: str, arm: Intermediate) -> None:
    key = f"intermediates.{name}"
    if (name == "none") != (not arm.tasks and not arm.like):
        raise ConfigError(f"{key}.tasks", "`none`, and it alone, has no task", "name the row or its task")
    if arm.like:
        _known(arm.like, study.intermediates, f"{key}.like", "row")
        if study.intermediates[arm.like].like:
            raise ConfigError(f"{key}.like", f"{arm.like!r} is itself like another row", "name that row")
    for use in arm.tasks:
        _known(use.task, tasks.names(), f"{key}.tasks", "task")
        if tasks.get(use.task).kind == "retrieval":
            raise ConfigError(f"{key}.tasks", f"{use.task!r} has no training data", "leave it out")
        for code in use.languages:
            _known(code, languages.table(), f"{key}.tasks.{use.task}.languages", "language")
        _check_translation(study, f"{key}.tasks.{use.task}.translated", use)


def _check_translation(study: Study, key: str, use: TaskUse) -> None:
    """Refuse to translate what is not the task's, or what loses its labels by it."""
    given, task = study.data.translations.get(use.translated or ""), tasks.get(use.task)
    if given is None:
        return
    if use.translated in (*study.data.datasets, *known_datasets()):
        raise ConfigError(f"data.translations.{use.translated}", "is a dataset's name too", "give it another")
    if task.kind not in ("pair", "choice"):
        problem = f"{use.task!r} ({task.kind}) has labels that point into its text, which a translation does not keep"
        raise ConfigError(key, problem, "name a dataset of translated files")
    own = use.datasets or task.datasets or (use.task,)
    if given.of not in own:
        problem = f"{use.translated!r} translates {given.of!r}, which {use.task!r} does not train on"
        raise ConfigError(key, problem, f"translate {' or '.join(own)}")


def _check_train_set(name: str, target: Target) -> None:
    task, train_set = tasks.get(name), target.train_set or tasks.get(name).train_set
    if task.kind == MLM:
        raise ConfigError(f"targets.{name}", "is trained on, never evaluated", "name it among `intermediates`")
    if task.kind == "retrieval":
        return
    if train_set is None:
        raise ConfigError(f"targets.{name}", "has no train set", "name one with `train_set`")
    train = tasks.get(train_set)
    if (train.kind, train.labels) != (task.kind, task.labels):
        problem = f"train set {train_set!r} has other labels or another kind"
        raise ConfigError(f"targets.{name}.train_set", problem, "name a train set of the same kind and labels")


def _check_languages(study: Study) -> None:
    for name, target in study.targets.items():
        for code in target.languages:
            _known(code, languages.table(), f"targets.{name}.languages", "language")
            _check_scored(name, code)
        if not target.languages and name not in xtreme_languages():
            raise ConfigError(f"targets.{name}.languages", "XTREME has no languages for it", "name them")
        if len(set(target.languages)) != len(target.languages):
            raise ConfigError(f"targets.{name}.languages", "names a language twice", "remove one")


def _check_scored(target: str, code: str) -> None:
    """Refuse a language that the target's metric cannot score (MLQA's normalises its own seven only)."""
    task = tasks.get(target)
    if task.scores is not None and not task.scores(code):
        problem = f"the metric of {target} has no rules for {code!r}"
        raise ConfigError(f"targets.{target}.languages", problem, "leave it out")


def _check_recipe(study: Study) -> None:
    known = {**named_recipes(), **study.recipes}
    for key in (study.recipe, *(r.based_on for r in study.recipes.values() if r.based_on)):
        _known(key, known, "recipe", "recipe")
    for name, recipe in study.recipes.items():
        for task in (*recipe.intermediate, *recipe.finetune):
            _known(task, tasks.names(), f"recipes.{name}", "task")
        _check_lineage(study, name)


def _check_lineage(study: Study, name: str) -> None:
    seen, base = [name], study.recipes[name].based_on
    while base in study.recipes:
        if base in seen:
            raise ConfigError(
                f"recipes.{name}.based_on", "goes round in a circle", "base one of them on a named recipe"
            )
        seen.append(base)
        base = study.recipes[base].based_on


def _check_backbones(study: Study) -> None:
    for name, backbone in study.backbones.items():
        if backbone.train is None:
            continue
        for code in backbone.train.languages:
            _known(code, languages.table(), f"backbones.{name}.train.languages", "language")
        if backbone.retrieval_layer > backbone.train.layers:
            problem = f"{backbone.retrieval_layer}, but it has {backbone.train.layers} layers"
            raise ConfigError(f"backbones.{name}.retrieval_layer", problem, "name one of them; 0 is the embeddings")


def _check_external(study: Study) -> None:
    for name, given in study.external.items():
        if name in study.intermediates:
            raise ConfigError(f"external.{name}", "is an intermediate's name too", "give it another")
        if given.backbone is not None:
            _known(given.backbone, study.backbones, f"external.{name}.backbone", "backbone")


def _known(value: str, known: Any, key: str, what: str) -> None:
    if value not in known:
        import difflib  # only a mistake pays for it

        near = difflib.get_close_matches(value, list(known), n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
        raise ConfigError(key, f"unknown {what} {value!r}", remedy)


@cache
def named_recipes() -> dict[str, Recipe]:
    """The recipes that ship with xstilts (data/recipes.yaml, each value with its source)."""
    return {name: Recipe.model_validate(value) for name, value in packaged("recipes.yaml").items()}


@cache
def known_datasets() -> dict[str, Dataset]:
    """The datasets that xstilts knows, with their place on the hub and their upstream layout (data/datasets.yaml)."""
    return {name: Dataset.model_validate(value) for name, value in _raw_datasets().items()}


@cache
def _raw_datasets() -> dict[str, Any]:
    raw: dict[str, Any] = packaged("datasets.yaml")
    return raw


def known_rows(dataset: str, language: str) -> int | None:
    """Rows of a known dataset's test part in a language, where they are recorded."""
    hub = known_datasets()[dataset].hub
    return hub.rows.get(f"test.{language}", hub.rows.get("test")) if hub else None


@cache
def xtreme_languages() -> dict[str, tuple[str, ...]]:
    """XTREME's languages of each target, in the order of its evaluate.py."""
    raw = packaged("xtreme_languages.yaml")
    return {target: tuple(codes) for target, codes in raw.items()}


def hyperparameters(study: Study, phase: Literal["intermediate", "finetune"], task: str) -> Hyperparameters:
    """The recipe's values for one training: recipe defaults, then the task's own, then a derived recipe's changes.

    Raises:
        ConfigError: the recipe does not cover the task.
    """
    key = f"recipe.{study.recipe}.{phase}.{task}"
    return _validated(Hyperparameters, _values(study, phase, task), key)


def mixed_hyperparameters(study: Study, arm: Intermediate) -> list[Hyperparameters]:
    """The values of every task of an intermediate; what a training has in common is the same in all of them.

    A lone task keeps its own, several tasks take the recipe's defaults with its `mixed`; with MLM its `with_mlm` go
    over either. What has no English dev part, or must not stop early (controls), keeps the last checkpoint.

    Raises:
        ConfigError: the recipe does not cover a task.
    """
    own = {use.task: _values(study, "intermediate", use.task) for use in arm.tasks}
    common = _in_common(study, arm, own)
    key = f"recipe.{study.recipe}.intermediate"
    return [_validated(Hyperparameters, deep_merge(own[task], common), f"{key}.{task}") for task in own]


def _in_common(study: Study, arm: Intermediate, own: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    lone = arm.supervised[0].task if len(arm.supervised) == 1 else None
    common: dict[str, Any] = dict(own[lone]) if lone else {}
    for recipe in _lineage(study, study.recipe):
        if lone is None:
            common = deep_merge(deep_merge(common, recipe.defaults), recipe.mixed)
        if arm.mlm:
            common = deep_merge(common, recipe.with_mlm)
    # Phase 3 continues one checkpoint of phase 2, so no other is kept.
    last = {"checkpoint": "last"} if arm.control or not arm.supervised else {}
    common = deep_merge(common, {"selection": {"also": (), **last}})
    return {key: value for key, value in common.items() if key in Optimization.model_fields}


def _values(study: Study, phase: Literal["intermediate", "finetune"], task: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    covered = False
    for recipe in _lineage(study, study.recipe):
        own = getattr(recipe, phase).get(task)
        covered |= own is not None
        merged = _over(_over(merged, recipe.defaults), own or {})
    if not covered:
        raise ConfigError(
            f"recipe.{study.recipe}.{phase}.{task}",
            "the recipe has no values for this task",
            f"add them under `recipes` (based_on: {study.recipe})",
        )
    return merged


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values with changes laid over them; `steps` replaces `epochs` that stood before, and the reverse."""
    replaced = {old for new, old in (("steps", "epochs"), ("epochs", "steps")) if changes.get(new) is not None}
    return deep_merge({key: value for key, value in base.items() if key not in replaced}, changes)


def retrieval_length(study: Study) -> int:
    """Tokens per sentence in retrieval, from the recipe."""
    given = [recipe.retrieval for recipe in _lineage(study, study.recipe) if recipe.retrieval]
    return (given or [RetrievalRecipe()])[-1].max_length


def lineage(study: Study) -> list[str]:
    """The study's recipe and those that it is based on, nearest first."""
    known, names = {**named_recipes(), **study.recipes}, [study.recipe]
    while based_on := known[names[-1]].based_on:
        names.append(based_on)
    return names


def _lineage(study: Study, name: str) -> list[Recipe]:
    recipe = {**named_recipes(), **study.recipes}[name]
    return [*(_lineage(study, recipe.based_on) if recipe.based_on else []), recipe]


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, dictionaries merged key by key; neither argument is changed."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = deep_merge(merged[key], value) if both else value
    return merged


def load(raw: Mapping[str, Any]) -> Study:
    """The validated study.

    Raises:
        ConfigError: one line that names key, value and remedy, for the first thing that is wrong.
    """
    return _validated(Study, raw, "")


def _validated(model: type[_M], raw: Mapping[str, Any], key: str) -> _M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _explained(model, error, key) from None


def _explained(model: type[Model], error: ValidationError, prefix: str) -> UserError:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, UserError):
        return cause
    key = ".".join(str(part) for part in (*filter(None, [prefix]), *first["loc"])) or "study"
    if first["type"] == "extra_forbidden":
        import difflib

        near = difflib.get_close_matches(str(first["loc"][-1]), _keys(model, first["loc"][:-1]), n=1)
        return ConfigError(key, "unknown key", f"did you mean {near[0]!r}?" if near else "remove it")
    return ConfigError(
        key, f"{first['msg'].removeprefix('Value error, ')} (got {first['input']!r})", "correct the value"
    )


def _keys(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields at `path` inside a model (through dictionaries and optional fields)."""
    for part in path:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = fields[part].annotation
        model = next((m for m in _models(model)), model)
    return list(getattr(model, "model_fields", {}))


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models(part)]
