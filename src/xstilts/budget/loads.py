"""The work of trainings and predictions: their passes, as trainer and predictor make them, operations and bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xstilts.budget import architecture as arch
from xstilts.budget.architecture import BACKWARD, Architecture
from xstilts.budget.devices import Load
from xstilts.budget.families import Size
from xstilts.budget.lengths import Array, Inputs
from xstilts.training.steps import split

_LONGEST = 1.5  # the longest translation of a batch, which all others wait for, by the usual one (estimated)
_DEV_BATCH = 32  # inputs of a pass over dev (training.selection)
_UNIT = {"fp32": 4, "bf16": 2, "fp16": 2}  # bytes

# Measured on a CPU (data/devices.yaml): operations launched per layer forward and backward, per pass and per step
# beside; numbers read or written per token, layer and unit of width, forward and backward.
_LAUNCHES_LAYER, _LAUNCHES_PASS, _LAUNCHES_STEP = 45, 60, 100
_TRAFFIC = 160
# Bytes per parameter: a pass casts weights, reads them twice and adds up gradients; a step clips these and updates.
_PASS_BYTES, _STEP_BYTES = 20, 40


@dataclass(frozen=True)
class Passes:
    """One device's passes of one optimizer step, on average.

    Attributes:
        number: forward passes.
        tokens, pairs: tokens, and pairs of tokens of one sequence.
        sequences: sequences.
        longest: tokens of the largest pass that there may be; `widest`: of its longest sequence.
    """

    number: int
    tokens: float
    pairs: float
    sequences: float
    longest: float
    widest: float = 0.0


def passes(inputs: Inputs, batch: int, compute: Mapping[str, Any]) -> Passes:
    """How a step's inputs fall into passes: dealt out so that all ranks have much the same, without padding.

    So `training.batching` and `models.packing` do it; a backbone that cannot be packed pads as well.
    """
    ranks = int(compute["ranks"])
    micro, number = split(batch, ranks, compute["micro_batch"])
    sequences = micro * number * inputs.sequences
    tokens, widest = sequences * float(inputs.longest.mean()), float(inputs.longest.max())
    longest = micro * inputs.sequences * widest
    if room := compute.get("micro_tokens"):
        number = max(number, math.ceil(tokens / room))
        longest = min(longest, max(float(room), inputs.sequences * widest))
    pairs = sequences * float((inputs.longest**2).mean())
    return Passes(number=number, tokens=tokens, pairs=pairs, sequences=sequences, longest=longest, widest=widest)


@dataclass(frozen=True)
class Model:
    """A backbone with one task's head, in one precision.

    Attributes:
        pooling: what a pair or choice head reads (`models.heads`).
    """

    architecture: Architecture
    kind: str
    labels: int
    precision: str
    pooling: str = "cls"

    @property
    def size(self) -> Size:
        """Parameters, head included."""
        if self.kind == "retrieval":
            return self.architecture.size
        return self.architecture.size + arch.head(self.kind, self.labels, self.architecture.width)

    def forward(self, tokens: float, pairs: float, sequences: float, number: float) -> Load:
        """Forward passes without gradients."""
        return Load(
            operations=self.operations(tokens, pairs, sequences) + self.architecture.per_pass * number,
            traffic=self._activations(tokens) / (1 + BACKWARD) + number * self._weights(),
            launches=number * (self.architecture.all_layers * _LAUNCHES_LAYER + _LAUNCHES_PASS) / (1 + BACKWARD),
        )

    def operations(self, tokens: float, pairs: float, sequences: float) -> float:
        """Of forward passes, without what each costs whatever it holds (`Architecture.per_pass`)."""
        per_sequence, per_token = arch.head_operations(self.kind, self.labels, self.architecture.width)
        encoder = self.architecture.per_token * tokens + self.architecture.per_pair * pairs
        if self.kind in ("pair", "choice") and self.pooling == "cls":
            encoder -= self.architecture.spared(tokens, pairs, sequences)
        return encoder + per_sequence * sequences + per_token * tokens

    def step(self, made: Passes, compute: Mapping[str, Any]) -> Load:
        """One optimizer step on one device."""
        forward = self.forward(made.tokens, made.pairs, made.sequences, made.number)
        parameters = self.size.parameters
        updated = parameters * (_PASS_BYTES * made.number + _STEP_BYTES)
        backward = BACKWARD + bool(compute.get("activation_checkpointing"))  # which computes the forward pass again
        return forward * (1 + backward) + Load(0.0, updated, _LAUNCHES_STEP, self._exchanged(made.number, compute))

    def _activations(self, tokens: float) -> float:
        return _TRAFFIC * _UNIT[self.precision] * self.architecture.width * self.architecture.all_layers * tokens

    def _weights(self) -> float:
        return 4.0 * (self.size.parameters - self.architecture.embeddings.parameters)

    def _exchanged(self, number: int, compute: Mapping[str, Any]) -> float:
        """Bytes of a step between ranks: gradients in a ring; ZeRO 3 gathers the weights twice a pass."""
        ranks = int(compute["ranks"])
        if ranks == 1:
            return 0.0
        zero = compute.get("deepspeed") or {}
        unit = 2 if zero and self.precision != "fp32" else 4
        gathered = 2 * number if zero.get("zero_stage") == 3 else 0
        return (2 + gathered) * unit * self.size.parameters * (ranks - 1) / ranks

    def looks(self, dev: Inputs, examples: float) -> Load:
        """One look at dev during training: batches of like lengths."""
        tokens = examples * dev.sequences * float(dev.longest.mean())
        pairs = examples * dev.sequences * float((dev.longest**2).mean())
        return self.forward(tokens, pairs, examples * dev.sequences, math.ceil(examples / _DEV_BATCH))

    def predictions(self, inputs: Inputs, batch_tokens: int) -> Load:
        """Inference over all inputs, in batches of like lengths by tokens."""
        sequences = inputs.count * inputs.sequences
        pairs = sequences * float((inputs.longest**2).mean())
        return self.forward(inputs.tokens, pairs, sequences, math.ceil(inputs.tokens / batch_tokens))


def mining(foreign: float, english: float, width: int) -> Load:
    """Exact search between two sets of vectors, as they are and centred: products, each read back to be ranked."""
    pairs = 2.0 * foreign * english
    return Load(operations=2.0 * width * pairs, traffic=4.0 * 4.0 * pairs)


@dataclass(frozen=True)
class Translator:
    """A translation model and how it is asked.

    Attributes:
        batch: texts at once.
        ratio: tokens of a translation per token of its text.
        limit: tokens of a text, and of its translation, at most.
    """

    architecture: Architecture
    precision: str
    batch: int
    beams: int
    ratio: float
    limit: int

    def load(self, texts: Array) -> Load:
        """Translating texts of these lengths in tokens, those of one length together."""
        total = Load()
        for source in np.minimum(texts, self.limit):
            total += self._one(float(source), min(self.limit, _LONGEST * self.ratio * float(source)))
        return total

    def _one(self, source: float, made: float) -> Load:
        """One text's share of its batch, which takes a pass over the weights for every token of the longest."""
        model, passes = self.architecture, made / self.batch
        return Load(
            operations=model.generated(1, source, made, self.beams),
            traffic=_UNIT[self.precision] * model.size.parameters * passes,
            launches=passes * (model.all_layers * _LAUNCHES_LAYER + _LAUNCHES_PASS) / (1 + BACKWARD),
        )

    @property
    def held(self) -> float:
        """Bytes at the peak: weights, and of every text's beams keys and values of both sides and scores of words."""
        model, kept = self.architecture, self.architecture.decoder.kept if self.architecture.decoder else 0.0
        inside = 6 * model.width + 2 * model.feed_forward
        each = self.limit * (2 * kept + inside) + 4.0 * model.vocabulary
        return _UNIT[self.precision] * (model.size.parameters + self.batch * self.beams * each)
