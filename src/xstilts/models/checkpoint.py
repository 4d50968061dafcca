"""Checkpoints: ordinary Hugging Face directories of the encoder, with one head beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xstilts import files
from xstilts.errors import UserError
from xstilts.models.encoder import load_encoder, load_tokenizer
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    State = dict[str, torch.Tensor]

__all__ = [
    "ALSO",
    "CHOICE",
    "HEAD",
    "HEAD_SPEC",
    "load",
    "load_encoder",
    "load_tokenizer",
    "of_rule",
    "save",
    "save_encoder",
    "spec",
]

HEAD, HEAD_SPEC = "head.safetensors", "head.json"
ALSO, CHOICE = "also", "choice.json"


def of_rule(directory: Path, variant: str, part: str) -> Path:
    """Directory of a training's further checkpoint.

    Args:
        directory: of the training's output.
        variant: the rule's name, as `Selection.variant` gives it.
        part: `target/language`; the oracle has chosen a checkpoint for each.
    """
    folder = directory / ALSO / variant
    chosen = folder / CHOICE
    return folder / json.loads(chosen.read_text(encoding="utf-8"))[part] if chosen.is_file() else folder


def save_encoder(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write a bare encoder (config.json, model.safetensors) and its tokenizer into a directory."""
    encoder.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def save(model: TaskModel, state: State, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write encoder, tokenizer and heads (head.safetensors, head.json) into a directory.

    head.json describes every head; the weights of head.safetensors are named `<task>.<weight>`.

    Args:
        state: the model's weights by name; given apart because a sharded model does not hold them.
    """
    model.encoder.save_pretrained(directory, state_dict=_part(state, "encoder."))
    _name_float32(directory / "config.json")
    tokenizer.save_pretrained(directory)
    save_file(_part(state, "heads."), directory / HEAD)
    files.write_json(directory / HEAD_SPEC, [asdict(spec) for spec in model.specs.values()])


def _name_float32(path: Path) -> None:
    """A model trained in 16 bits would name those, and be opened in them, though its weights are written in 32."""
    config = json.loads(path.read_text(encoding="utf-8"))
    files.write_json(path, {**config, "dtype": "float32"})


def _part(state: State, prefix: str) -> State:
    """The weights under a prefix, each with storage of its own, as safetensors wants them."""
    return {k.removeprefix(prefix): v.detach().cpu().clone() for k, v in state.items() if k.startswith(prefix)}


def spec(directory: Path) -> HeadSpec:
    """The head of a checkpoint that was trained on one task.

    Raises:
        UserError: the checkpoint has no head or several, or a head.json of another shape.
    """
    path = directory / HEAD_SPEC
    try:
        (raw,) = json.loads(path.read_text(encoding="utf-8"))
        return HeadSpec(**{**raw, "labels": tuple(raw["labels"])})
    except FileNotFoundError:
        raise UserError(f"{directory}: no {HEAD_SPEC}; give a checkpoint that was trained on a task") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a head's description ({error}); train the checkpoint again") from None


def load(directory: Path) -> TaskModel:
    """The model of a trained checkpoint, in float32 and evaluation mode on the CPU; its one head is `spec(directory)`.

    Raises:
        UserError: as `spec` and `load_encoder`, or weights that do not fit.
    """
    described = spec(directory)
    model = TaskModel(load_encoder(directory), [described])
    try:
        model.heads.load_state_dict(load_file(directory / HEAD))
    except (RuntimeError, OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{directory / HEAD}: does not hold the head ({reason}); train the checkpoint again") from None
    return model.eval()
