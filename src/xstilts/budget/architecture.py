"""What a backbone's architecture costs: parameters and floating-point operations, from its config.json alone.

A multiplication and an addition count as two operations, and only matrix products (and convolutions) count, as in
`torch.utils.flop_counter`; tests/unit/test_budget_architecture.py holds both against torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from xstilts.budget import families
from xstilts.budget.families import Decoder, Size, Unfused
from xstilts.budget.missing import Missing
from xstilts.files import packaged
from xstilts.models.stacks import LIKE_BERT, NOTHING_AFTER
from xstilts.schema.training import BackboneTraining

BACKWARD = 2.0
"""Operations of a backward pass for one of the forward pass: gradients of both factors of each product."""

_FAMILIES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"), families.bert),
    "rembert": families.rembert,
    "deberta-v2": families.deberta,
    "modernbert": families.modernbert,
    **dict.fromkeys(("t5", "mt5", "umt5"), families.t5),
    "marian": families.marian,
    "m2m_100": families.m2m100,  # NLLB too
}


@dataclass(frozen=True)
class Architecture:
    """A transformer encoder, or an encoder with a decoder.

    Attributes:
        embeddings: of tokens, and of positions and types where there are such; their norm included.
        size: all parameters, without any task's head (and without BERT's pooler, which the study does not load).
        per_token: operations of the encoder's forward pass per token, attention's products between tokens apart.
        per_pair: operations per pair of tokens of one sequence: scores and weighted sums.
        per_pass: operations of a pass whatever it holds: projections of relative positions.
        unfused: what attention keeps for the backward pass where it is not fused.
        family: whose activations a layer keeps (`memory`).
        model_type: as config.json names it.
    """

    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    embeddings: Size
    size: Size
    per_token: float
    per_pair: float
    per_pass: float = 0.0
    unfused: Unfused = field(default_factory=Unfused)
    family: str = "bert"
    model_type: str = ""
    decoder: Decoder | None = None

    @classmethod
    def of_config(cls, config: Mapping[str, Any], name: str) -> Architecture:
        """From a Hugging Face config.json.

        Raises:
            Missing: an architecture that is not counted here.
        """
        kind = config.get("model_type", "unknown")
        if kind not in _FAMILIES:
            raise Missing(f"{name}: architecture {kind!r} is not counted; known are {', '.join(_FAMILIES)}")
        return cls(**_FAMILIES[kind](config), model_type=kind)

    @classmethod
    def of_training(cls, training: BackboneTraining, special: int) -> Architecture:
        """Of a backbone that the study trains itself; `special` is the number of position ids that stay unused."""
        config = {
            "hidden_size": training.hidden,
            "num_hidden_layers": training.layers,
            "num_attention_heads": training.heads,
            "intermediate_size": training.intermediate,
            "vocab_size": training.vocabulary,
            "max_position_embeddings": training.positions + special,
            "type_vocab_size": 1,
        }
        return cls(**families.bert(config), model_type="xlm-roberta")

    @property
    def all_layers(self) -> int:
        """Those of the decoder too."""
        return self.layers + (self.decoder.layers if self.decoder else 0)

    def forward(self, sequences: float, length: float, target: float = 0) -> float:
        """Operations of a forward pass over sequences of `length` tokens, and `target` tokens for a decoder."""
        decoder = self.decoder.forward(length, target) if self.decoder else 0.0
        return self.per_pass + sequences * (self._encoded(length) + decoder)

    def _encoded(self, length: float) -> float:
        return self.per_token * length + self.per_pair * length**2

    def spared(self, tokens: float, pairs: float, sequences: float) -> float:
        """Operations that a forward pass is spared where first tokens are all that a head reads (`models.packing`).

        The last layer computes keys and values of all tokens and the rest of first tokens.
        """
        if self.model_type not in LIKE_BERT:
            return 0.0
        beside = self.per_token / self.layers - 4.0 * self.width**2
        return beside * (tokens - sequences) + self.per_pair / self.layers * (pairs - tokens)

    def up_to(self, layer: int) -> Architecture:
        """What is left to compute of it where nothing above a layer is wanted (`models.encoder.drop_layers_above`)."""
        if self.model_type not in NOTHING_AFTER:
            return self
        left = min(max(layer, 1), self.layers)
        counts = {name: getattr(self, name) * left / self.layers for name in ("per_token", "per_pair", "per_pass")}
        return replace(self, layers=left, **counts)

    def generated(self, sequences: float, length: float, target: float, beams: int = 1) -> float:
        """Operations of generating `target` tokens for each sequence, one after the other.

        Raises:
            Missing: it has no decoder.
        """
        if self.decoder is None:
            raise Missing("a model without a decoder generates nothing; name a Marian, M2M100 or NLLB model")
        return sequences * (self._encoded(length) + beams * self.decoder.generated(length, target))


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """Hub id: what its config.json says, for models whose files are not at hand (data/architectures.yaml)."""
    raw: dict[str, dict[str, Any]] = packaged("architectures.yaml")
    return raw


# --- heads


def head(kind: str, labels: int, width: int) -> Size:
    """A task's head (`models.heads`): dense and output layer over a pooled vector, or one layer over every token."""
    if kind == "span":
        return families.linear(width, 2)
    if kind == "tagging":
        return families.linear(width, labels)
    return families.linear(width, width) + families.linear(width, 1 if kind == "choice" else labels)


def head_operations(kind: str, labels: int, width: int) -> tuple[float, float]:
    """Operations of a head's forward pass per sequence and per token."""
    if kind in ("span", "tagging"):
        return 0.0, 2.0 * width * (2 if kind == "span" else labels)
    return 2.0 * (width * width + width * (1 if kind == "choice" else labels)), 0.0
