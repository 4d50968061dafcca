"""Translating a prepared training part by a sequence-to-sequence model; ids and labels stay as they are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xstilts import parquet, provenance
from xstilts.errors import ConfigError, UserError
from xstilts.files import RECORD, staged, write_json
from xstilts.models import snapshot
from xstilts.translation.seq2seq import Translator

FIELDS = {"pair": ("text_a", "text_b"), "choice": ("context", "question", "choices")}
"""Text columns of a prepared part, by kind; kinds whose labels point into the text are not here."""
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.spm")


def translate(job: dict[str, Any]) -> None:
    """Write `train.{language}.parquet`, the schema that of the original, and the record.

    Args:
        job: `kind`, `hub` and `revision` or `path`, `source` and `target` (the model's codes), `beams`, `max_length`,
            `batch`, `precision`, `train` (the original part), `language`, `compute`, `output`, and what every job has.

    Raises:
        UserError: the model cannot be read, has no safetensors weights, or does not know a language.
    """
    started = time.time()
    folder, commit = _model(job)
    table = parquet.read(job["train"])
    texts = list(dict.fromkeys(text for name in FIELDS[job["kind"]] for text in _texts(table[name].to_pylist())))
    translator = Translator(folder, job, _device(job["compute"]["device"]))
    # Of one length together, so that little is padding.
    texts.sort(key=lambda text: (len(text), text))
    known = dict(zip(texts, translator.translate(texts), strict=True))
    with staged(Path(job["output"])) as directory:
        pq.write_table(_translated(table, job["kind"], known), directory / f"train.{job['language']}.parquet")
        counts = {"rows": table.num_rows, "texts": len(texts), "cut": translator.cut}
        counts["empty"] = sum(not found.strip() for found in known.values())
        model = {"model": job["hub"] or job["path"], "commit": commit}
        write_json(directory / RECORD, provenance.record(job, started, **counts, **model))


def _texts(values: Sequence[Any]) -> Iterator[str]:
    """The texts of a column, those of lists too; an empty one has no translation."""
    for value in values:
        yield from (text for text in ([value] if isinstance(value, str) else value) if text.strip())


def _translated(table: pa.Table, kind: str, known: dict[str, str]) -> pa.Table:
    for name in FIELDS[kind]:
        at = table.schema.get_field_index(name)
        values = [
            known.get(value, value) if isinstance(value, str) else [known.get(text, text) for text in value]
            for value in table[name].to_pylist()
        ]
        table = table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    return table


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device", "cuda, but no GPU is visible to this job", "grant it one, or set cpu")
    return torch.device(name)


def _model(job: dict[str, Any]) -> tuple[Path, str | None]:
    """The model's directory, and its commit if it is the hub's."""
    if job["hub"]:
        folder, commit = snapshot.download("translation model", job["hub"], job["revision"], _WANTED)
    else:
        folder, commit = Path(job["path"]), None
    if not any(folder.glob("model*.safetensors*")):
        remedy = "name a revision or directory that has model.safetensors"
        raise UserError(
            f"translation model {job['hub'] or folder}: no safetensors weights, no others are read; {remedy}"
        )
    return folder, commit
