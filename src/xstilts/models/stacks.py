"""What is known of the layers of encoders, by architecture (`model_type`); for plans too."""

from __future__ import annotations

from typing import Any

LIKE_BERT = ("bert", "electra", "roberta", "camembert", "xlm-roberta")
"""BERT's layers: the last one can be left at the tokens that are wanted."""

NOTHING_AFTER = (*LIKE_BERT, "rembert", "deberta-v2")
"""No norm after the last layer, so that it gives the hidden states that any other layer would give in its place."""


def layers(encoder: Any) -> Any:
    """The layers of an encoder of these architectures, first to last (a `ModuleList`)."""
    return encoder.encoder.layer
