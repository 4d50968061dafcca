"""Predictions of one checkpoint for every target, split and language that it serves, loaded once."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from xstilts import files, parquet, provenance
from xstilts.errors import ConfigError, UserError
from xstilts.evaluation.inference import autocast, by_tokens
from xstilts.job import terminal
from xstilts.models import checkpoint
from xstilts.models.encoder import check_length, drop_layers_above
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel
from xstilts.tasks.base import Kind
from xstilts.tasks.features import tokens
from xstilts.tasks.features.common import moved
from xstilts.tasks.features.tokens import Tokens

_SCORES = pa.list_(pa.float32())
_SCHEMAS = {
    "pair": pa.schema({"id": pa.string(), "gold": pa.string(), "prediction": pa.string(), "logits": _SCORES}),
    "tagging": pa.schema(
        {
            "id": pa.string(),
            "gold": pa.list_(pa.string()),
            "prediction": pa.list_(pa.string()),
            "log_probabilities": pa.list_(_SCORES),
        }
    ),
    "span": pa.schema(
        {
            "id": pa.string(),
            "gold": pa.list_(pa.string()),
            "prediction": pa.string(),
            "start": pa.int32(),
            "end": pa.int32(),
            "log_probability": pa.float32(),
            "log_normaliser": pa.float32(),
            "n_best": pa.list_(
                pa.struct(
                    {
                        "text": pa.string(),
                        "start": pa.int32(),
                        "end": pa.int32(),
                        "log_probability": pa.float32(),
                    }
                )
            ),
        }
    ),
}

Part = dict[str, Any]
Predictor = Callable[[Part, Path], pa.Table]


def predict(job: dict[str, Any]) -> None:
    """Write one prediction table per task and language, each as soon as it is finished, and the job's record last.

    A table holds the dev and the test part, told apart by its column `split`.

    Tables are kept in the job's store under their digests; a part that is there already is not predicted again, and a
    checkpoint none of whose parts is to be predicted is not loaded.

    Args:
        job: a PredictJob: name, digest, plan, checkpoint, precision, hyper (lengths; None for retrieval), retrieval
            (layers, max_length, neighbours), batch_tokens, compute, parts (name, task, kind, labels, language, variant
            (of a further checkpoint, else None), data by split, digest), store and output (directories).

    Raises:
        UserError: the checkpoint cannot be read, does not fit a part's task, or gives no numbers.
    """
    started = time.time()
    torch.set_num_threads(job["compute"]["threads"])
    loaded: tuple[Path, Predictor] | None = None
    counts = {"parts": len(job["parts"]), "predicted": 0, "rows": 0}
    parts = sorted(job["parts"], key=lambda part: str(_checkpoint(job, part)))
    for part in tqdm(parts, desc="predict", unit="part", file=terminal(), disable=terminal() is None):
        kept, directory = Path(job["store"]) / f"{part['digest']}.parquet", _checkpoint(job, part)
        if not _intact(kept):
            if loaded is None or loaded[0] != directory:
                loaded = directory, _loaded(job, directory)
            counts["rows"] += _predict_part(loaded[1], part, kept)
            counts["predicted"] += 1
        _publish(kept, Path(job["output"]) / f"{part['name']}.parquet")
    files.write_json(Path(job["output"]) / files.RECORD, provenance.record(job, started, **counts))


def _checkpoint(job: dict[str, Any], part: Part) -> Path:
    """The directory of the checkpoint that predicts a part."""
    directory = Path(job["checkpoint"])
    if part["variant"] is None:
        return directory
    return checkpoint.of_rule(directory, part["variant"], f"{part['task']}/{part['language']}")


def _predict_part(predictor: Predictor, part: Part, kept: Path) -> int:
    started = time.time()
    table = pa.concat_tables(_split(predictor, part, split, path) for split, path in part["data"].items())
    with files.atomic(kept) as temporary:
        pq.write_table(table, temporary)
    files.write_text(_checksum(kept), _sha256(kept))
    seconds = time.time() - started
    print(f"{part['task']} {part['language']}: {table.num_rows} rows, {seconds:.1f} s", file=sys.stderr)
    return int(table.num_rows)


def _split(predictor: Predictor, part: Part, split: str, path: str) -> pa.Table:
    table = predictor(part, Path(path))
    return table.add_column(0, "split", pa.array([split] * table.num_rows, type=pa.string()))


def _checksum(kept: Path) -> Path:
    return kept.with_suffix(".sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _intact(kept: Path) -> bool:
    """Is the stored table there, as it was written? One that was damaged is predicted again."""
    return kept.is_file() and _checksum(kept).is_file() and _checksum(kept).read_text() == _sha256(kept)


def _publish(kept: Path, output: Path) -> None:
    """Put a stored table into its place, without a second copy where the file system can."""
    with files.atomic(output) as temporary:
        try:
            os.link(kept, temporary)
        except OSError:
            shutil.copyfile(kept, temporary)


def _loaded(job: dict[str, Any], directory: Path) -> Predictor:
    """A checkpoint, ready to predict: with its trained head, or as a bare encoder for retrieval."""
    device = _device(job["compute"]["device"])
    tokenizer = checkpoint.load_tokenizer(directory)
    inputs, run = partial(_inputs, job, tokenizer), (job["batch_tokens"], job["precision"])
    if job["hyper"] is not None:
        model = checkpoint.load(directory).to(device)
        return _Trained(directory, model, tokenizer, inputs, SimpleNamespace(**job["hyper"]), *run)
    embed = importlib.import_module("xstilts.evaluation.embed")
    encoder: Any = checkpoint.load_encoder(directory)
    check_length(encoder.config, job["retrieval"]["max_length"], "recipe.retrieval.max_length")
    if (layers := job["retrieval"]["layers"]) != "all":
        drop_layers_above(encoder, max(layers))
    embedder = embed.Embedder(encoder.to(device).eval(), tokenizer.pad_token_id, *run)
    return lambda part, path: embed.table(
        part["task"], parquet.rows(path), inputs("retrieval", path, ()), embedder, job["retrieval"]
    )


def _inputs(job: dict[str, Any], tokenizer: Any, kind: Kind, path: Path, labels: tuple[str, ...]) -> Tokens:
    """A prepared table as model inputs, made once for all checkpoints that share a tokenizer."""
    hyper: Any = SimpleNamespace(**(job["hyper"] or job["retrieval"]))
    recipe = tokens.Recipe(kind, (path,), tokenizer, hyper, labels)
    return tokens.of(recipe, Path(job["tokens"]), job["compute"]["threads"])


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device", "cuda, but no GPU is visible to this job", "grant it one, or set cpu")
    return torch.device(name)


@dataclass(frozen=True)
class _Trained:
    """A trained checkpoint and how it is run; `hyper` holds the lengths of `config.Hyperparameters`."""

    directory: Path
    model: TaskModel
    tokenizer: Any
    inputs: Callable[[Kind, Path, tuple[str, ...]], Tokens]
    hyper: SimpleNamespace
    batch_tokens: int
    precision: str

    def __call__(self, part: Part, path: Path) -> pa.Table:
        """The prediction table of one part; its metadata holds the labels in the order of the head's outputs."""
        (spec,) = self.model.specs.values()
        self._check(spec, part)
        features = importlib.import_module(f"xstilts.tasks.features.{part['kind']}")
        rows, encoded = parquet.rows(path), self.inputs(part["kind"], path, spec.labels)
        results: list[Any] = [None] * len(encoded)
        for batch in by_tokens(encoded.lengths.tolist(), self.batch_tokens):
            decoded = self._run(features, [encoded[i] for i in batch])
            for place, result in zip(batch, decoded, strict=True):
                results[place] = result
        predictions = features.rejoin(results, encoded, rows, spec.labels)
        schema = _SCHEMAS[part["kind"]].with_metadata({"labels": json.dumps(spec.labels)})
        return pa.table({name: _column(predictions, schema.field(name)) for name in schema.names}, schema=schema)

    @torch.inference_mode()
    def _run(self, features: Any, batch: list[Any]) -> list[Any]:
        inputs = features.collate(batch, self.tokenizer.pad_token_id)
        inputs.pop("labels")
        device = self.model.encoder.device
        with autocast(self.precision, device):
            logits = self.model(**moved(inputs, device))["logits"]
        if bool(logits.isnan().any()):
            raise UserError(f"{self.directory}: gives scores that are not numbers (NaN); train it again or use fp32")
        decoded: list[Any] = features.decode(logits, batch, self.hyper)
        return decoded

    def _check(self, spec: HeadSpec, part: Part) -> None:
        """Refuse a head of another kind or with other labels than the task's (span heads have no task labels)."""
        if spec.kind != part["kind"]:
            problem = f"its head is of kind {spec.kind!r}, {part['task']} needs {part['kind']!r}"
        elif part["kind"] != "span" and set(spec.labels) != set(part["labels"]):
            problem = f"its head's labels are {_listed(spec.labels)}, those of {part['task']} {_listed(part['labels'])}"
        else:
            return
        raise UserError(f"{self.directory}: {problem}; give a checkpoint trained for this task")


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "none"


def _column(predictions: list[dict[str, Any]], field: pa.Field) -> pa.Array:
    values = [prediction[field.name] for prediction in predictions]
    if field.name == "log_probabilities":
        values = [list(words) for words in values]  # Arrow takes lists of vectors, not matrices
    return pa.array(values, type=field.type)
