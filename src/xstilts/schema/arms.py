"""What phase 2 trains on: the arms of a study."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from xstilts.schema.base import Model, Name, Number

MLM = "mlm"
"""The task of masked-language modelling, which mixes like any other."""

Block = Literal["none", "single", "multi-task", "translated", "control"]


class TaskUse(Model):
    """One task of an intermediate; its name alone will do."""

    task: str = Field(description="Name of the task.")
    datasets: tuple[Name, ...] = Field((), description="English datasets to train it on, if not its own.")
    languages: tuple[str, ...] = Field(
        ("en",), min_length=1, description="Languages of its training data; others than English are translations."
    )
    translated: Name | None = Field(None, description="The dataset that has them in languages other than English.")

    @model_validator(mode="after")
    def _source(self) -> TaskUse:
        if (self.translated is None) != (self.languages == ("en",)):
            raise ValueError("`languages` other than English, and they alone, need `translated`, the dataset with them")
        return self

    @model_serializer(mode="wrap")
    def _short(self, dump: SerializerFunctionWrapHandler) -> Any:
        long: dict[str, Any] = dump(self)
        return long if {"datasets", "languages", "translated"} & self.model_fields_set else self.task


def _task_use(value: Any) -> Any:
    return {"task": value} if isinstance(value, str) else value


class Mixture(Model):
    """How several tasks share a training: each step trains one task, drawn at a rate that its size defines."""

    sampling: Literal["capped", "proportional", "uniform", "temperature"] = Field(
        "capped", description="Rates by size: min(e, cap); e; 1; min(e, cap) ** (1 / temperature)."
    )
    cap: int = Field(2**17, gt=0, description="Size at which a task counts no more (capped, temperature, length).")
    temperature: Number = Field(2.0, gt=0, description="1 is proportional to the capped sizes, infinity uniform.")
    length: Literal["own_epochs", "capped_counts"] = Field(
        "own_epochs",
        description="Total steps. own_epochs: as many of the tasks' steps as they take alone, MLM's on top; "
        "capped_counts: `epochs` times min(e, cap) of every task, in its own batches (jiant).",
    )
    epochs: Number = Field(3, gt=0, description="Passes over the capped counts (length: capped_counts).")


class Finetune(Model):
    """Phase 3 changed, for every train set alike."""

    length: Number = Field(1, gt=0, description="Times the recipe's epochs or steps.")
    learning_rates: tuple[Annotated[Number, Field(gt=0)], ...] = Field(
        (), description="A grid: each is trained, the best on English dev is kept."
    )


class Intermediate(Model):
    """One row of the matrix: what phase 2 trains on; no task is no phase 2."""

    tasks: tuple[Annotated[TaskUse, BeforeValidator(_task_use)], ...] = Field((), description="Its tasks.")
    mixture: Mixture = Field(Mixture(), description="How several tasks share the training.")
    control: Literal["shuffled_labels", "mlm_only"] | None = Field(
        None,
        description="shuffled_labels: the same training on permuted labels; mlm_only: the steps of its other tasks, "
        "all of them MLM. Either keeps the last checkpoint.",
    )
    like: Name | None = Field(None, description="The row whose phase 2 this one shares; `finetune` tells them apart.")
    finetune: Finetune = Field(Finetune(), description="What differs in phase 3 (with `like`).")

    @model_validator(mode="after")
    def _whole(self) -> Intermediate:
        names = [use.task for use in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError("names a task twice; its datasets and languages go under one entry")
        if self.control == "shuffled_labels" and not self.supervised:
            raise ValueError("shuffled_labels needs a task with labels")
        if self.control == "mlm_only" and not (self.mlm and self.supervised):
            raise ValueError(f"mlm_only needs `{MLM}` and the task whose steps it takes")
        if self.like and (self.tasks or self.control):
            raise ValueError("`like` takes the tasks of another row; give one of `like` and `tasks`")
        if not self.like and self.finetune != Finetune():
            raise ValueError("`finetune` needs `like`, so that both rows share one phase 2")
        return self

    @property
    def supervised(self) -> tuple[TaskUse, ...]:
        """Its tasks but MLM."""
        return tuple(use for use in self.tasks if use.task != MLM)

    @property
    def mlm(self) -> bool:
        """Is masked-language modelling one of its tasks?"""
        return len(self.supervised) < len(self.tasks)

    @property
    def block(self) -> Block:
        """Its place in the paper's table; with and without MLM stand apart besides."""
        if self.control or self.like or (self.mlm and not self.supervised):
            return "control"
        if any(use.languages != ("en",) for use in self.tasks):
            return "translated"
        return ("none", "single", "multi-task")[min(2, len(self.supervised))]

    @property
    def in_matrix(self) -> bool:
        """Is it a row of the zero-shot block, the baseline and single English tasks?"""
        return self.block in ("none", "single") and not self.mlm


class MaskedText(Model):
    """Multilingual text for masked-language modelling: the dataset `mlm`, sampled."""

    sentences: int = Field(2_000_000, gt=0, description="Sentences (lines) of the sample, over all languages.")
    languages: tuple[str, ...] = Field((), description="Languages; none given: all of the study's targets.")
    alpha: Number = Field(0.3, gt=0, le=1, description="Exponent of the languages' sampling shares.")
    mask_probability: Number = Field(0.15, gt=0, lt=1, description="Share of masked tokens (80 % mask, 10 % random).")
    head: Literal["backbone", "fresh"] = Field("backbone", description="MLM head: the backbone's own, or a new one.")
