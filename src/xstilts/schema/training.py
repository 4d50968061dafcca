"""What defines a training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from xstilts.schema.base import Model, Number, Seed


class BackboneTraining(Model):
    """A tokenizer and a small masked language model trained from raw text (mini and local studies)."""

    text: str = Field("pretrain/{lang}.txt", description="One text a line; a tab separates two segments of one input.")
    parallel: str | None = Field(None, description="English and its translation, tab separated, one pair a line.")
    aligned_lines: int = Field(
        0, ge=0, description="The first lines of `text` are translations of each other, line by line."
    )
    languages: tuple[str, ...] = Field(description="Languages of the text.")
    vocabulary: int = Field(1500, gt=100, description="BPE vocabulary size at most.")
    layers: int = Field(3, gt=0)
    hidden: int = Field(64, gt=0)
    heads: int = Field(4, gt=0)
    intermediate: int = Field(256, gt=0, description="Width of the feed-forward layers.")
    positions: int = Field(130, gt=16, description="Longest input in tokens.")
    steps: int = Field(5000, gt=0)
    batch: int = Field(32, gt=0, description="Sequences per step.")
    max_length: int = Field(64, gt=8, description="Sequences are cut to this many tokens.")
    learning_rate: Number = Field(3.0e-3, gt=0)
    mask_probability: Number = Field(0.25, gt=0, lt=1)
    parallel_share: Number = Field(0.3, ge=0, le=1, description="Share of translation pairs among the sequences.")
    alpha: Number = Field(0.3, gt=0, le=1, description="Exponent of the languages' sampling shares.")
    seed: Seed = 0
    threads: int | None = Field(
        None, gt=0, description="Its threads on a CPU, in place of `compute.threads`; other numbers give other bits."
    )


Rule = Literal["last", "best", "average", "oracle"]


class Selection(Model):
    """Which checkpoints of a training are kept; all but the oracle's see the English dev part at most."""

    checkpoint: Literal["last", "best", "average"] = Field(
        "best", description="The one that counts: the last, the best on English dev, or the mean of the last looks."
    )
    also: tuple[Rule, ...] = Field(
        (),
        description="Fine-tuning: rules whose checkpoints are scored beside it, told apart by `variant`; `oracle` is "
        "the best on each target language's own dev part, which is not zero-shot, so it never counts.",
    )
    average_of: int = Field(5, gt=0, description="`average`: looks whose weights are averaged, the last ones.")
    every_steps: int = Field(1000, gt=0, description="Steps between looks (`last` alone needs none).")
    patience: int | None = Field(
        30, gt=0, description="Looks without improvement before training stops (where `checkpoint` is `best`)."
    )
    examples: int | None = Field(500, gt=0, description="Look at the first dev examples only; null: all.")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule that is wanted, once; the one that counts first."""
        return tuple(dict.fromkeys((self.checkpoint, *sorted(self.also))))

    def variant(self, rule: Rule) -> str:
        """The name of a rule's scores."""
        return f"average{self.average_of}" if rule == "average" else rule


class Optimization(Model):
    """What a whole training has in common, whatever its tasks."""

    learning_rate: Number = Field(gt=0)
    warmup: Number = Field(0.1, ge=0, description="Share of all steps if below 1, else steps.")
    schedule: Literal["linear", "constant"] = "linear"
    weight_decay: Number = Field(0.01, ge=0)
    adam_betas: tuple[Number, Number] = (0.9, 0.999)
    adam_epsilon: Number = Field(1.0e-8, gt=0)
    max_grad_norm: Number = Field(1.0, gt=0)
    selection: Selection = Selection()


class Hyperparameters(Optimization):
    """Everything that defines one training, besides data, model and seed; of a mixed one, a task's part in it."""

    batch: int = Field(gt=0, description="Examples per optimizer step, whatever the number of devices.")
    epochs: Number | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0, description="Optimizer steps, instead of epochs.")
    max_length: int = Field(gt=8, description="Tokens per input, special tokens included.")
    doc_stride: int = Field(128, gt=0, description="QA: tokens from the beginning of a window to that of the next.")
    max_query_length: int = Field(64, gt=0, description="QA: questions are cut to this many tokens.")
    max_answer_length: int = Field(30, gt=0, description="QA: longest answer in tokens.")
    n_best: int = Field(20, gt=0, description="QA: spans kept per question.")

    @model_validator(mode="after")
    def _one_length(self) -> Hyperparameters:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of `epochs` and `steps`")
        return self


class DeepSpeed(Model):
    """DeepSpeed's optimizer-state sharding."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    offload: bool = Field(False, description="Keep the optimizer state in the memory of the host.")
