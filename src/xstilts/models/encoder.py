"""Pretrained encoders and tokenizers from local directories: safetensors only, never remote code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.initialization import no_init_weights
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.utils import logging

from xstilts.errors import ConfigError, UserError
from xstilts.models.stacks import NOTHING_AFTER, layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

_VOCABULARIES = (
    "tokenizer.json",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spiece.model",
    "spm.model",
    "vocab.txt",
    "vocab.json",
)
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def load_encoder(directory: Path) -> PreTrainedModel:
    """The bare encoder of a Hugging Face directory in float32, without a pooler, with fused attention where it has it.

    Raises:
        UserError: the directory has no config or no safetensors weights, its architecture needs code of its own, or
            the weights do not hold every parameter of the encoder.
    """
    _check(directory)
    _quieten()
    config, kind = _architecture(directory)
    options = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
    try:
        with no_init_weights():  # what would be drawn is read right after; what is missing is refused
            return _as_saved_here(directory, config, options) or _as_saved_anywhere(directory, kind, options)
    except SafetensorError as error:
        raise UserError(f"{directory}: its safetensors weights cannot be read ({error}); get them again") from None


def _as_saved_here(directory: Path, config: PreTrainedConfig, options: dict[str, Any]) -> PreTrainedModel | None:
    """The encoder of weights with its own names (alone, or within a masked LM), shapes and type; None for others.

    All that a workflow has saved in one file is such. `from_pretrained` knows other releases' names, for which it
    compiles some thousand expressions, and builds the model without memory, for which torch loads a library of algebra:
    half a second and more.
    """
    path = directory / _WEIGHTS[0]
    if not path.is_file():
        return None
    model: PreTrainedModel = AutoModel.from_config(config, dtype=torch.float32, **options)  # type: ignore[no-untyped-call]
    saved, within = load_file(path), f"{model.base_model_prefix}."
    weights = {k.removeprefix(within): v for k, v in saved.items() if k.startswith(within)} or saved
    if _described(weights) != _described(model.state_dict()):
        return None
    model.load_state_dict(weights, assign=True)  # they stay in the file until they are read
    model.tie_weights()
    model.train(False)
    return model


def _described(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (weight.shape, weight.dtype) for name, weight in weights.items()}


def _as_saved_anywhere(directory: Path, kind: type[PreTrainedModel], options: dict[str, Any]) -> PreTrainedModel:
    loaded: Any = kind.from_pretrained(
        directory,
        dtype=torch.float32,
        output_loading_info=True,
        local_files_only=True,
        use_safetensors=True,
        **options,
    )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        problem = f"the weights lack {len(missing)} parameters of {kind.__name__}, first {missing[0]}"
        raise UserError(f"{directory}: {problem}; give a directory whose weights fit its config.json")
    encoder: PreTrainedModel = model
    return encoder


def _quieten() -> None:
    """No bars and no report of unused heads in the log: what matters, parameters without weights, is an error here."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def _check(directory: Path) -> None:
    present = ", ".join(sorted(p.name for p in directory.iterdir())) if directory.is_dir() else "no such directory"
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory}: no config.json (found: {present}); give a Hugging Face model directory")
    if not any((directory / name).is_file() for name in _WEIGHTS):
        problem = f"no safetensors weights ({_WEIGHTS[0]}; found: {present})"
        raise UserError(f"{directory}: {problem}; convert them to safetensors, other formats are never read")


def _architecture(directory: Path) -> tuple[PreTrainedConfig, type[PreTrainedModel]]:
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        kind: Any = MODEL_MAPPING[type(config)]
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        remedy = "use an architecture that transformers itself contains"
        raise UserError(f"{directory}: not an encoder that can be loaded ({reason}); {remedy}") from None
    return config, cast("type[PreTrainedModel]", kind)


def drop_layers_above(encoder: PreTrainedModel, layer: int) -> None:
    """Leave out the layers whose output nobody reads: `hidden_states` then end with those of `layer` (0: embeddings).

    An architecture with a norm after the last layer keeps all.
    """
    if encoder.config.model_type in NOTHING_AFTER:
        del layers(encoder)[max(layer, 1) :]  # transformers finds the embeddings before the first layer


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a Hugging Face directory.

    Raises:
        UserError: there is none (transformers itself would make one without a vocabulary), or it has no padding token.
    """
    if not any((directory / name).is_file() for name in _VOCABULARIES):
        raise UserError(f"{directory}: no tokenizer (none of {', '.join(_VOCABULARIES)}); add its files")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{directory}: no tokenizer ({reason}); add its files, tokenizer.json best") from None
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        problem = "has no padding token" if tokenizer.is_fast else "is not a fast one (no tokenizer.json)"
        raise UserError(f"{directory}: the tokenizer {problem}; add it")
    fast: PreTrainedTokenizerFast = tokenizer
    return fast


def check_length(config: PreTrainedConfig, max_length: int, key: str) -> None:
    """Refuse inputs longer than the encoder has positions; RoBERTa's first position is its padding token's plus one.

    Raises:
        ConfigError: `max_length` is too long.
    """
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return
    offset = config.pad_token_id + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    if max_length > positions - offset:
        problem = f"{max_length} tokens, but the backbone has {positions - offset} positions"
        raise ConfigError(key, problem, "lower it")
