"""Inputs made once and shared: tables of token ids, content-addressed, mapped into memory by all who read them.

A table is known by what it is made of: the content of the data, of the tokenizer and of the code, and the task's
parameters. So it is never out of date, and any number of jobs may ask for it at once: one makes it, the others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import pyarrow as pa

from xstilts import digest, files, parquet
from xstilts.errors import UserError
from xstilts.tasks import features
from xstilts.tasks.features.common import Encoded, backend

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

    from xstilts.schema.training import Hyperparameters
    from xstilts.tasks.base import Kind

_R = TypeVar("_R")
_CHUNK = 4096  # rows that a process encodes at a time


@dataclass(frozen=True)
class Recipe:
    """What inputs are made of.

    Attributes:
        paths: prepared tables, one after the other.
        labels: the head's; none: those that the rows have.
    """

    kind: Kind
    paths: tuple[Path, ...]
    tokenizer: PreTrainedTokenizerFast
    hyper: Hyperparameters
    labels: tuple[str, ...]

    def key(self) -> str:
        """Digest of all that the inputs depend on."""
        parts = {
            "kind": self.kind,
            "data": [_sha256(path) for path in self.paths],
            "tokenizer": self._tokenizer(),
            "parameters": {name: getattr(self.hyper, name) for name in self._parameters()},
            "labels": self.labels,
            "code": digest.code([f"{features.__name__}.{self.kind}", __name__]),
            "tokenizers": version("tokenizers"),
        }
        return digest.of(parts)

    def _parameters(self) -> tuple[str, ...]:
        return ("max_length", *(("doc_stride", "max_query_length") if self.kind == "span" else ()))

    def _tokenizer(self) -> list[Any]:
        """Its whole content, and what of its wrapper plays a part."""
        known, rust = self.tokenizer, backend(self.tokenizer)
        ids = [known.unk_token_id, known.mask_token_id, known.pad_token_id]
        return [hashlib.sha256(rust.to_str().encode()).hexdigest(), ids, list(known.model_input_names)]

    def encode(self, rows: Sequence[Any], labels: Sequence[str], start: int) -> pa.RecordBatch | None:
        """The inputs of the rows from `start` on, one chunk of them; None where sentences without words give none."""
        made = features.of(self.kind).encode(rows[start : start + _CHUNK], self.tokenizer, self.hyper, labels)
        for one in made:
            one["example"] += start
        columns = {name: _column([one[name] for one in made]) for name in made[0]} if made else None
        return pa.RecordBatch.from_pydict(columns) if columns else None


class Tokens(Sequence[Encoded]):
    """A table of inputs, mapped from its file.

    Attributes:
        rows: number of rows that the inputs were made of.
        labels: the labels given, or those found.
        found: the labels that the rows have.
        lengths: (inputs,) tokens of each.
    """

    def __init__(self, path: Path) -> None:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        about = json.loads(batch.schema.metadata[b"xstilts"])
        self.rows, self.labels, self.found = int(about["rows"]), list(about["labels"]), list(about["found"])
        self._columns = {name: _reader(batch.column(name)) for name in batch.schema.names}
        self.lengths: NDArray[np.int32] = batch.column("tokens").to_numpy()

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return {name: read(index) for name, read in self._columns.items()}


def of(recipe: Recipe, store: Path, processes: int) -> Tokens:
    """The inputs that a recipe gives, made now if nobody has made them.

    Args:
        store: folder of all tables.
        processes: how many may make them.

    Raises:
        UserError: there are no inputs, or as the kind's `encode`.
    """
    path = store / f"{recipe.key()}.arrow"
    if not path.exists():
        with _alone(path.with_suffix(".lock")):
            if not path.exists():
                _make(recipe, path, processes)
    return Tokens(path)


def make(recipes: Sequence[Recipe], store: Path, processes: int) -> None:
    """Make what is not made yet of the inputs of several recipes, a process for each.

    Raises:
        UserError: as `of`.
    """

    def one(place: int) -> None:
        of(recipes[place], store, 1)

    _mapped(one, range(len(recipes)), processes)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock, which ends with its process; where locks do not work, tables are made twice but never mixed."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make(recipe: Recipe, path: Path, processes: int) -> None:
    rows = [row for table in recipe.paths for row in parquet.rows(table)]
    found = features.of(recipe.kind).labels(rows)
    labels = list(recipe.labels) or found
    work = partial(recipe.encode, rows, labels)
    batches = [batch for batch in _mapped(work, range(0, len(rows), _CHUNK), processes) if batch]
    if not batches:
        names = ", ".join(map(str, recipe.paths)) or "no file"
        raise UserError(f"{names}: no rows to make inputs of; check the dataset's source and limits")
    table = pa.Table.from_batches(batches)
    about = json.dumps({"rows": len(rows), "labels": labels, "found": found})
    table = table.combine_chunks().replace_schema_metadata({"xstilts": about})
    for stale in path.parent.glob(f".{path.name}.*"):  # of a killed maker, for the lock is ours
        stale.unlink(missing_ok=True)
    with files.atomic(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as out:
        out.write_table(table)


_work: Callable[[int], Any] | None = None  # in a process that encodes


def _mapped(work: Callable[[int], _R], starts: Sequence[int], processes: int) -> list[_R]:
    """What the work gives of each start, in order; in several processes where there are several."""
    if min(processes, len(starts)) <= 1:
        return [work(start) for start in starts]
    with ProcessPoolExecutor(min(processes, len(starts)), get_context("fork"), _inherit, (work,)) as pool:
        return list(pool.map(_inherited, starts))


def _inherit(work: Callable[[int], Any]) -> None:
    """Take over, by the fork, rows and tokenizer, which would be slow to send."""
    global _work
    _work = work


def _inherited(start: int) -> Any:
    assert _work is not None
    return _work(start)


# --- columns: numbers, sequences of numbers, or (choices) sequences of those, all int32


def _column(values: Sequence[Any]) -> pa.Array:
    if isinstance(values[0], int | np.integer):
        return pa.array(np.fromiter(values, dtype=np.int32, count=len(values)))
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    if len(values[0]) and not isinstance(values[0][0], int | np.integer):
        return pa.ListArray.from_arrays(pa.array(offsets), _column([part for value in values for part in value]))
    flat = np.concatenate([np.asarray(value, dtype=np.int32) for value in values])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _reader(column: pa.Array) -> Callable[[int], Any]:
    """What gives a column's entry at a place: a number, an array, or a list of arrays, none of them copied."""
    if not pa.types.is_list(column.type):
        numbers = column.to_numpy()
        return lambda i: int(numbers[i])
    bounds = column.offsets.to_numpy()
    if pa.types.is_list(column.type.value_type):
        part = _reader(column.values)
        return lambda i: [part(j) for j in range(bounds[i], bounds[i + 1])]
    values = column.values.to_numpy()
    return lambda i: values[bounds[i] : bounds[i + 1]]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
