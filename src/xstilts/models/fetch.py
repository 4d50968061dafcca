"""A pretrained encoder from the hub or a directory, published as a checkpoint like any other (phase 1)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from xstilts import provenance
from xstilts.errors import UserError
from xstilts.files import RECORD, staged, write_json
from xstilts.models import checkpoint, masked_lm, snapshot

_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "tokenizer*", "*.tiktoken")


def fetch(job: dict[str, Any]) -> None:
    """Publish the bare encoder, its masked-LM head if it has one, and the tokenizer of a hub repository or a directory.

    Only safetensors weights are read and no remote code is run. An `unpinned` revision is resolved to the commit that
    was found, and the record says both.

    Raises:
        UserError: the repository or directory cannot be read, or holds no safetensors weights.
    """
    started = time.time()
    if job["hub"]:
        source, commit = snapshot.download("backbone", job["hub"], job["revision"], _WANTED)
    else:
        source, commit = Path(job["path"]), None
    _require_safetensors(source, job["hub"] or job["path"])
    encoder, tokenizer = checkpoint.load_encoder(source), checkpoint.load_tokenizer(source)
    with staged(Path(job["output"])) as directory:
        checkpoint.save_encoder(encoder, tokenizer, directory)
        masked_lm.keep(source, directory)
        measured = {"source": job["hub"] or job["path"], "revision": job["revision"], "commit": commit}
        write_json(directory / RECORD, provenance.record(job, started, **measured))


def _require_safetensors(folder: Path, name: str) -> None:
    """Refuse a model that has no safetensors weights, and say what makes one of pickled weights."""
    if folder.is_dir() and not any(folder.glob("model*.safetensors*")):
        command = f"`python -m xstilts.models.convert {name} DIRECTORY`"
        remedy = (
            f"if its weights are pickled (pytorch_model.bin), convert them once with {command} and name it as `path`"
        )
        raise UserError(f"backbone {name}: no safetensors weights, and no others are read; {remedy}")
