"""What a backbone's architecture costs: parameters and floating-point operations, from its config.json alone.

A multiplication and an addition count as two operations, and only matrix products count, as in
`torch.utils.flop_counter`; tests/unit/test_budget_architecture.py holds both against torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from xstilts.budget.missing import Missing
from xstilts.files import packaged
from xstilts.schema.training import BackboneTraining

BACKWARD = 2.0
"""Operations of a backward pass for one of the forward pass: gradients of both factors of each product."""

_BUCKETS = 32  # relative positions of a T5 attention, unless its config says otherwise
_BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")
_T5_LIKE = ("t5", "mt5", "umt5")


@dataclass(frozen=True)
class Size:
    """Learnt numbers and the tensors that hold them."""

    parameters: int
    tensors: int

    def __add__(self, other: Size) -> Size:
        return Size(self.parameters + other.parameters, self.tensors + other.tensors)

    def times(self, count: int) -> Size:
        """As many copies."""
        return Size(self.parameters * count, self.tensors * count)


@dataclass(frozen=True)
class Architecture:
    """A transformer encoder, or an encoder with a decoder (`decoder_layers` above 0).

    A decoder's output shares the embeddings: so transformers 5 builds every T5, whatever its config.json says.

    Attributes:
        inner: width of all attention heads together.
        gated: the feed-forward network has two projections up (T5 v1.1).
        positions, types: embeddings of their own; 0 where there are none.
    """

    layers: int
    width: int
    inner: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int = 0
    types: int = 0
    decoder_layers: int = 0
    gated: bool = False
    buckets: int = _BUCKETS

    @classmethod
    def of_config(cls, config: Mapping[str, Any], name: str) -> Architecture:
        """From a Hugging Face config.json.

        Raises:
            Missing: an architecture that is not counted here.
        """
        kind = config.get("model_type", "unknown")
        if kind in _BERT_LIKE:
            return _bert(config)
        if kind in _T5_LIKE:
            return _t5(config)
        raise Missing(f"backbone {name}: architecture {kind!r} is not counted; known are {', '.join(_known())}")

    @classmethod
    def of_training(cls, training: BackboneTraining, special: int) -> Architecture:
        """Of a backbone that the study trains itself; `special` is the number of position ids that stay unused."""
        return cls(
            layers=training.layers,
            width=training.hidden,
            inner=training.hidden,
            heads=training.heads,
            feed_forward=training.intermediate,
            vocabulary=training.vocabulary,
            positions=training.positions + special,
            types=1,
        )

    # --- parameters

    @property
    def embeddings(self) -> Size:
        """Of tokens, positions and types, with their norm; T5 has those of tokens alone."""
        if self.decoder_layers:
            return Size(self.vocabulary * self.width, 1)
        rows = self.vocabulary + self.positions + self.types
        return Size((rows + 2) * self.width, 5 if self.types else 4)

    @property
    def size(self) -> Size:
        """All parameters, without any task's head (and without BERT's pooler, which the study does not load)."""
        if not self.decoder_layers:
            return self.embeddings + self._bert_layer().times(self.layers)
        encoder = self._t5_layer(1).times(self.layers) + self._around()
        decoder = self._t5_layer(2).times(self.decoder_layers) + self._around()
        return self.embeddings + encoder + decoder

    def _bert_layer(self) -> Size:
        attention = 4 * (self.width * self.inner) + 3 * self.inner + self.width
        network = 2 * self.width * self.feed_forward + self.feed_forward + self.width
        return Size(attention + network + 4 * self.width, 16)

    def _t5_layer(self, attentions: int) -> Size:
        matrices = 3 if self.gated else 2
        learnt = attentions * (4 * self.width * self.inner + self.width)
        return Size(learnt + matrices * self.width * self.feed_forward + self.width, attentions * 5 + matrices + 1)

    def _around(self) -> Size:
        """A T5 stack's relative positions and last norm."""
        return Size(self.buckets * self.heads + self.width, 2)

    # --- operations

    @property
    def per_token(self) -> float:
        """Operations of the encoder's forward pass per token, attention's products between tokens apart."""
        return self.layers * (8.0 * self.width * self.inner + self._network())

    @property
    def per_pair(self) -> float:
        """Operations per pair of tokens of one sequence: scores and weighted sums."""
        return self.layers * 4.0 * self.inner

    def _network(self) -> float:
        return (3 if self.gated else 2) * 2.0 * self.width * self.feed_forward

    def forward(self, sequences: float, length: float, target: float = 0) -> float:
        """Operations of a forward pass over sequences of `length` tokens, and `target` tokens for a decoder."""
        encoder = self.per_token * length + self.per_pair * length**2
        return sequences * (encoder + (self._decoder(length, target) if self.decoder_layers else 0.0))

    def _decoder(self, source: float, target: float) -> float:
        projections = (
            target * (12.0 * self.width * self.inner + self._network()) + source * 4.0 * self.width * self.inner
        )
        attention = 4.0 * self.inner * target * (target + source)
        return self.decoder_layers * (projections + attention) + 2.0 * target * self.width * self.vocabulary


def _bert(config: Mapping[str, Any]) -> Architecture:
    width = int(config["hidden_size"])
    return Architecture(
        layers=int(config["num_hidden_layers"]),
        width=width,
        inner=width,
        heads=int(config["num_attention_heads"]),
        feed_forward=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        positions=int(config["max_position_embeddings"]),
        types=int(config.get("type_vocab_size", 2)),
    )


def _t5(config: Mapping[str, Any]) -> Architecture:
    heads, layers = int(config["num_heads"]), int(config["num_layers"])
    return Architecture(
        layers=layers,
        width=int(config["d_model"]),
        inner=heads * int(config["d_kv"]),
        heads=heads,
        feed_forward=int(config["d_ff"]),
        vocabulary=int(config["vocab_size"]),
        decoder_layers=int(config.get("num_decoder_layers") or layers),
        gated=str(config.get("feed_forward_proj", "gated-gelu")).startswith("gated"),
        buckets=int(config.get("relative_attention_num_buckets", _BUCKETS)),
    )


def _known() -> tuple[str, ...]:
    return (*_BERT_LIKE, *_T5_LIKE)


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """Hub id: what its config.json says, for models whose files are not at hand (data/architectures.yaml)."""
    raw: dict[str, dict[str, Any]] = packaged("architectures.yaml")
    return raw


# --- heads


def head(kind: str, labels: int, width: int) -> Size:
    """A task's head (`models.heads`): dense and output layer over a pooled vector, or one layer over every token."""
    if kind == "span":
        return Size(2 * width + 2, 2)
    if kind == "tagging":
        return Size((width + 1) * labels, 2)
    outputs = 1 if kind == "choice" else labels
    return Size(width * width + width + (width + 1) * outputs, 4)


def head_operations(kind: str, labels: int, width: int) -> tuple[float, float]:
    """Operations of a head's forward pass per sequence and per token."""
    if kind in ("span", "tagging"):
        return 0.0, 2.0 * width * (2 if kind == "span" else labels)
    return 2.0 * (width * width + width * (1 if kind == "choice" else labels)), 0.0
