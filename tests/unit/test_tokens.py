"""Shared tables of inputs: the same inputs as made on the spot, made once, never half, never out of date."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from test_packing import HYPER, rows
from tiny import tokenizer
from torch import Generator

from xstilts.models.encoder import load_tokenizer
from xstilts.tasks import features
from xstilts.tasks.features import pair, tokens
from xstilts.tasks.prepare import SCHEMAS
from xstilts.training import mixing

LABELS = {"pair": ("no", "yes"), "tagging": ("A", "B"), "span": ("answer",), "choice": ()}


def table(path: Path, kind: str, seed: int = 3) -> list[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = rows(kind, Generator().manual_seed(seed))
    pq.write_table(pa.Table.from_pylist(made, schema=SCHEMAS[kind]), path)
    return made


def recipe(path: Path, kind: str = "pair", family: str = "wordpiece", **changes: Any) -> tokens.Recipe:
    hyper, folder = HYPER.model_copy(update=changes), path.parent / family
    if not folder.exists():
        tokenizer(family).save_pretrained(folder)
    return tokens.Recipe(cast(Any, kind), (path, path), load_tokenizer(folder), hyper, LABELS[kind])


def plain(value: Any) -> Any:
    return [plain(one) for one in value] if hasattr(value, "__len__") else int(value)


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("kind", LABELS)
def test_a_table_holds_the_inputs_as_they_are_made(
    kind: str, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From two files, in chunks that end within a file, in one process and in several."""
    monkeypatch.setattr(tokens, "_CHUNK", 4)
    made, one = table(tmp_path / "a.parquet", kind), recipe(tmp_path / "a.parquet", kind)
    found = tokens.of(one, tmp_path, processes)
    expected = features.of(one.kind).encode([*made, *made], one.tokenizer, one.hyper, list(one.labels))
    assert [{k: plain(v) for k, v in x.items()} for x in found] == [
        {k: plain(v) for k, v in x.items()} for x in expected
    ]
    assert found.rows == 22 and found.labels == list(LABELS[kind])
    assert found.lengths.tolist() == [x["tokens"] for x in expected]
    batch = features.of(one.kind).collate(found[2:7], 1)
    for name, value in features.of(one.kind).collate(expected[2:7], 1).items():
        same = batch[name] == value if name == "lengths" else batch[name].equal(value)
        assert same and (name == "lengths" or batch[name].dtype == value.dtype)


@pytest.mark.parametrize("kind", LABELS)
def test_a_look_at_dev_takes_the_first_rows_of_each_table(kind: str, tmp_path: Path) -> None:
    """Of tables that predictions share; the inputs are those of these rows alone."""
    made, one = table(tmp_path / "a.parquet", kind), recipe(tmp_path / "a.parquet", kind, max_length=24)
    rows, encoded = mixing.dev(one, tmp_path, 1, examples=5)
    assert rows == [*made[:3], *made[:3]]
    expected = features.of(one.kind).encode(rows, one.tokenizer, one.hyper, list(one.labels))
    assert len(expected) > 6 or kind in ("pair", "choice")
    assert [{k: plain(v) for k, v in x.items()} for x in encoded] == [
        {k: plain(v) for k, v in x.items()} for x in expected
    ]
    predicted = replace(one, paths=one.paths[:1])
    assert [path.stem for path in tmp_path.glob("*.arrow")] == [predicted.key()]
    whole = mixing.dev(predicted, tmp_path, 1)
    assert whole[0] == made and len(whole[1]) == len(tokens.of(predicted, tmp_path, 1))


def test_what_a_table_depends_on_gives_another_and_nothing_else_does(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", "pair")
    table(tmp_path / "b.parquet", "pair", seed=4)
    (tmp_path / "copy.parquet").write_bytes((tmp_path / "a.parquet").read_bytes())
    key = recipe(tmp_path / "a.parquet").key()
    assert key == recipe(tmp_path / "copy.parquet").key()
    assert key == recipe(tmp_path / "a.parquet", learning_rate=2.0, doc_stride=17, n_best=3).key()
    others = [
        recipe(tmp_path / "b.parquet"),
        recipe(tmp_path / "a.parquet", max_length=63),
        recipe(tmp_path / "a.parquet", family="bpe-metaspace"),
        replace(recipe(tmp_path / "a.parquet"), labels=("yes", "no")),
    ]
    assert len({key, *(other.key() for other in others)}) == 5


def ask(store: Path, seconds: float) -> None:
    """Ask for a table, which takes that long to make; leaves a trace of the making, and the table's size."""
    encode = pair.encode

    def slow(*args: Any) -> Any:
        with (store / "made").open("a") as out:
            print("x", file=out, flush=True)
        time.sleep(seconds)
        return encode(*args)

    pair.encode = slow  # this is a process of its own
    found = tokens.of(recipe(store / "a.parquet"), store, 1)
    (store / f"{os.getpid()}.size").write_text(str(len(found)))


def test_ten_processes_make_a_table_once_after_one_that_was_killed(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", "pair")
    key, forked = recipe(tmp_path / "a.parquet").key(), get_context("fork")
    killed = forked.Process(target=ask, args=(tmp_path, 60))
    killed.start()
    while not (tmp_path / "made").exists():
        assert killed.is_alive()
        time.sleep(0.05)
    (tmp_path / f".{key}.arrow.half").write_bytes(b"ARROW1")
    killed.kill()
    killed.join()
    assert not list(tmp_path.glob("*.arrow"))
    asked = [forked.Process(target=ask, args=(tmp_path, 0.5)) for _ in range(10)]
    for process in asked:
        process.start()
    for process in asked:
        process.join()
    assert [path.read_text() for path in tmp_path.glob("*.size")] == ["22"] * 10
    assert (tmp_path / "made").read_text() == "x\nx\n"
    assert len(list(tmp_path.glob("*.arrow"))) == 1 and not list(tmp_path.glob(".*"))


def test_tables_are_mapped_not_read(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", "tagging")
    found = tokens.of(recipe(tmp_path / "a.parquet", "tagging"), tmp_path, 1)
    assert isinstance(found[0]["input_ids"], np.ndarray) and not found[0]["input_ids"].flags.owndata
