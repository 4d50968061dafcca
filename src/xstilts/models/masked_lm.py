"""The masked-language-modelling head that a model was pretrained with, read from its safetensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import save_file

from xstilts.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

    from xstilts.models.heads import MaskedLMHead

FILE = "mlm_head.safetensors"
"""A backbone's head beside its bare encoder; its weights keep their names."""

# Architecture: where its head, of the shape of `heads.MaskedLMHead`, keeps dense layer, norm and bias.
_NAMES = (
    ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),  # RoBERTa, XLM-R
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),  # BERT
    ("lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm", "lm_predictions.lm_head.bias"),  # DeBERTa-v2
)


def keep(source: Path, directory: Path) -> None:
    """Write a model's head, if it has one, beside its bare encoder."""
    found = _found(source)
    if found:
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, directory / FILE)


def check(config: PreTrainedConfig, backbone: Path) -> None:
    """Refuse an encoder whose token embeddings cannot be the output layer.

    Raises:
        ConfigError: they are not as wide as its hidden states.
    """
    width = getattr(config, "embedding_size", None) or getattr(config, "input_embedding_size", config.hidden_size)
    if width != config.hidden_size:
        problem = f"{backbone}: token embeddings of {width}, hidden states of {config.hidden_size}"
        raise ConfigError("intermediates.*.tasks", problem, "leave `mlm` out for this backbone")


def load(head: MaskedLMHead, backbone: Path) -> None:
    """Give a head the weights that the backbone was pretrained with.

    Raises:
        ConfigError: the backbone's directory holds none that fit.
    """
    state = {_ours(name): tensor for name, tensor in _found(backbone).items()}
    fits = {name: tuple(t.shape) for name, t in state.items()} == {
        n: tuple(p.shape) for n, p in head.state_dict().items()
    }
    if not fits:
        problem = f"{backbone} holds no masked-language-modelling head that fits its encoder"
        raise ConfigError("mlm.head", problem, "set it to `fresh`, or take a backbone that has one")
    head.load_state_dict(state)


def _found(directory: Path) -> dict[str, torch.Tensor]:
    """The head's weights under their own names; none if they are not all there."""
    for names in _NAMES:
        wanted = set(_of(*names))
        found = dict(_tensors(sorted(directory.glob("*.safetensors")), wanted))
        if set(found) == wanted:
            return found
    return {}


def _of(dense: str, norm: str, bias: str) -> Iterator[str]:
    yield from (f"{layer}.{part}" for layer in (dense, norm) for part in ("weight", "bias"))
    yield bias


def _ours(name: str) -> str:
    """The weight's name in `heads.MaskedLMHead`."""
    for dense, norm, bias in _NAMES:
        for theirs, ours in ((dense, "dense"), (norm, "layer_norm"), (bias, "bias")):
            if name == theirs or name.startswith(f"{theirs}."):
                return ours + name.removeprefix(theirs)
    raise KeyError(name)


def _tensors(paths: Iterable[Path], wanted: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
    for path in paths:
        with safe_open(path, framework="pt") as weights:
            for name in wanted & set(weights.keys()):
                yield name, weights.get_tensor(name)
