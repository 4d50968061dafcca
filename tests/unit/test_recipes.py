"""The recipes that ship: they cover every training of the study and hold the values of their sources."""

from __future__ import annotations

from math import ceil
from typing import Literal

import pytest

from xstilts import config
from xstilts.errors import ConfigError
from xstilts.schema.training import Hyperparameters, Selection

Phase = Literal["intermediate", "finetune"]

WHOLE = ("jiant", "x-stilts-v1", "xtreme-2020")
INTERMEDIATES = (
    "anli_plus",
    "mnli",
    "qqp",
    "squad_v2",
    "squad_v1",
    "hellaswag",
    "ccg",
    "cosmosqa",
    "commonsenseqa",
)
TRAIN_SETS = ("mnli", "xnli", "pawsx", "udpos", "panx", "squad_v1", "tydiqa")


def hyper(recipe: str, phase: Phase, task: str) -> Hyperparameters:
    study = config.load({"recipe": recipe, "targets": {"xnli": {}}})
    return config.hyperparameters(study, phase, task)


@pytest.mark.parametrize("recipe", WHOLE)
def test_every_training_is_covered(recipe: str) -> None:
    for task in INTERMEDIATES:
        assert hyper(recipe, "intermediate", task).epochs is not None
    for task in TRAIN_SETS:
        assert hyper(recipe, "finetune", task).epochs is not None


@pytest.mark.parametrize("recipe", WHOLE)
def test_xnli_is_fine_tuned_like_mnli(recipe: str) -> None:
    assert hyper(recipe, "finetune", "xnli") == hyper(recipe, "finetune", "mnli")


def test_a_recipe_without_the_task_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.jiant\.finetune\.ccg"):
        hyper("jiant", "finetune", "ccg")


@pytest.mark.parametrize(
    ("recipe", "phase", "task", "rate", "batch", "epochs", "length"),
    [
        ("jiant", "finetune", "mnli", 1e-5, 32, 2, 256),
        ("jiant", "finetune", "pawsx", 1e-5, 32, 5, 256),
        ("jiant", "finetune", "udpos", 1e-5, 32, 10, 256),
        ("jiant", "finetune", "panx", 1e-5, 32, 10, 256),
        ("jiant", "finetune", "squad_v1", 1e-5, 16, 2, 384),
        ("jiant", "finetune", "tydiqa", 1e-5, 16, 2, 384),
        ("jiant", "intermediate", "squad_v2", 1e-5, 8, 3, 384),
        ("x-stilts-v1", "intermediate", "squad_v1", 1e-5, 8, 3, 384),
        ("x-stilts-v1", "finetune", "mnli", 3e-6, 4, 2, 256),
        ("x-stilts-v1", "finetune", "panx", 3e-6, 32, 10, 256),
        ("x-stilts-v1", "finetune", "tydiqa", 3e-6, 16, 2, 384),
        ("xtreme-2020", "finetune", "mnli", 2e-5, 32, 5, 128),
        ("xtreme-2020", "finetune", "udpos", 2e-5, 32, 10, 128),
        ("xtreme-2020", "finetune", "squad_v1", 3e-5, 32, 2, 384),
    ],
)
def test_values_of_the_sources(
    recipe: str, phase: Phase, task: str, rate: float, batch: int, epochs: float, length: int
) -> None:
    found = hyper(recipe, phase, task)
    assert (found.learning_rate, found.batch, found.epochs, found.max_length) == (rate, batch, epochs, length)


def test_jiant_optimizer_and_selection() -> None:
    found = hyper("jiant", "finetune", "pawsx")
    assert (found.adam_epsilon, found.weight_decay) == (1e-8, 0.01)
    assert (found.warmup, found.schedule, found.max_grad_norm) == (0.1, "linear", 1.0)
    assert found.selection == Selection(checkpoint="best", every_steps=1000, patience=30, examples=500)


def test_xtreme_selects_by_task() -> None:
    every = {task: hyper("xtreme-2020", "finetune", task).selection.every_steps for task in TRAIN_SETS[:5]}
    assert every == {"mnli": 100, "xnli": 100, "pawsx": 200, "udpos": 500, "panx": 1000}
    qa = hyper("xtreme-2020", "finetune", "tydiqa")
    assert (qa.selection.checkpoint, qa.warmup, qa.weight_decay) == ("last", 500, 1e-4)


def test_retrieval_lengths() -> None:
    studies = {r: config.load({"recipe": r, "targets": {"tatoeba": {}}}) for r in WHOLE}
    lengths = {recipe: config.retrieval_length(study) for recipe, study in studies.items()}
    assert lengths == {"jiant": 512, "x-stilts-v1": 256, "xtreme-2020": 512}


@pytest.mark.parametrize(
    ("phase", "task", "train", "steps"),  # sizes: v1 Table 1 as printed; steps: the spec's own arithmetic
    [
        ("intermediate", "anli_plus", 1_104_934, 92_078),
        ("intermediate", "ccg", 38_015, 23_760),
        ("intermediate", "commonsenseqa", 9_741, 24_360),
        ("intermediate", "cosmosqa", 25_588, 95_955),
        ("intermediate", "hellaswag", 39_905, 11_641),
        ("intermediate", "qqp", 363_846, 45_483),
        ("intermediate", "squad_v1", 87_599, 32_850),
        ("finetune", "mnli", 392_702, 196_352),
    ],
)
def test_steps_of_the_first_version(phase: Phase, task: str, train: int, steps: int) -> None:
    found = hyper("x-stilts-v1", phase, task)
    assert found.epochs is not None
    assert found.epochs * ceil(train / found.batch) == steps
