"""Overlap of training and test sets, counted by hand."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.analysis.overlap import normalise, overlap
from xstilts.errors import DataError
from xstilts.tasks.prepare import SCHEMAS


def write(folder: Path, name: str, kind: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"{name}.parquet"
    blank = {"id": "1", "label": "x", "title": "", "question": "?", "answers": [], "starts": [], "tags": [], "gold": []}
    filled = [{n: row.get(n, blank.get(n)) for n in SCHEMAS[kind].names} for row in rows]
    pq.write_table(pa.Table.from_pylist(filled, schema=SCHEMAS[kind]), path)
    return str(path)


def pair(text_a: str, text_b: str) -> dict[str, Any]:
    return {"text_a": text_a, "text_b": text_b}


def run(folder: Path, training: dict[str, str], tests: dict[str, dict[str, str]]) -> list[list[str]]:
    """The rows of overlap.csv below its header."""
    job = {"name": "overlap", "digest": "0", "plan": {}, "training": training, "tests": tests}
    overlap(job | {"table": str(folder / "overlap.csv"), "output": str(folder / "made" / "0")})
    with (folder / "overlap.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["training", "test", "language", "n", "overlapping", "share", "share_any_text"]
    assert json.loads((folder / "made" / "0" / "record.json").read_text(encoding="utf-8"))["rows"] == len(rows)
    return rows


def test_every_kind_by_hand(tmp_path: Path) -> None:
    """Four pairs: both texts (in two examples), one, none, and none because nothing is left of them."""
    training = {
        "mnli": write(tmp_path, "mnli", "pair", [pair("A man  sleeps.", "He rests"), pair("Rain falls", "")]),
        "squad": write(tmp_path, "squad", "span", [{"context": "Rome is old. It is big."}]),
        "swag": write(tmp_path, "swag", "choice", [{"context": "New York", "choices": ["a"], "label": 0}]),
        "pos": write(tmp_path, "pos", "tagging", [{"tokens": ["Rain", "falls", "!"]}]),
    }
    pairs = [pair("a man sleeps", "rain falls!"), pair("He rests", "no"), pair("x", "y"), pair("", "?!")]
    passages = [{"context": "Rome is old; it is big"}, {"context": "Rome is old."}]
    found = [{"side": "foreign", "text": "Ｎｅｗ york"}, {"side": "english", "text": "rain falls"}]
    tests = {
        "xnli": {"en": write(tmp_path, "xnli", "pair", pairs)},
        "xquad": {"en": write(tmp_path, "xquad", "span", passages)},
        "panx": {"en": write(tmp_path, "panx", "tagging", [{"tokens": ["New", "York"]}])},
        "tatoeba": {"de": write(tmp_path, "tatoeba", "retrieval", found)},
    }
    rows = run(tmp_path, training, tests)
    assert len(rows) == 4 * 4
    shares = {(row[0], row[1]): row[2:] for row in rows if row[6] != "0"}
    assert shares == {
        ("mnli", "xnli"): ["en", "4", "1", "25", "50"],
        ("pos", "xnli"): ["en", "4", "0", "0", "25"],
        ("squad", "xquad"): ["en", "2", "1", "50", "50"],
        ("swag", "panx"): ["en", "1", "1", "100", "100"],
        ("mnli", "tatoeba"): ["de", "2", "1", "50", "50"],
        ("swag", "tatoeba"): ["de", "2", "1", "50", "50"],
        ("pos", "tatoeba"): ["de", "2", "1", "50", "50"],
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("It's 5 o'clock!", "its 5 OCLOCK", True),
        ("Straße", "STRASSE", True),
        ("ﬁn", "fin", True),
        ("中国，北京。", "中国 北京", True),
        ("zero\u200bwidth", "zerowidth", True),
        ("कि", "की", False),  # vowel signs are marks: they are kept
        ("page 1", "page 2", False),
    ],
)
def test_what_counts_as_the_same_text(one: str, other: str, same: bool) -> None:
    assert (normalise(one) == normalise(other)) is same


def test_the_receipts_of_other_configurations_go(tmp_path: Path) -> None:
    (tmp_path / "made" / "earlier").mkdir(parents=True)
    data = write(tmp_path, "pos", "tagging", [{"tokens": ["a"]}])
    assert run(tmp_path, {"pos": data}, {"pos": {"en": data}}) == [["pos", "pos", "en", "1", "1", "100", "100"]]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["0"]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.parquet: cannot be read"):
        run(tmp_path, {"pos": str(tmp_path / "absent.parquet")}, {})
    assert not (tmp_path / "overlap.csv").exists()


def test_it_loads_nothing_heavy() -> None:
    code = "import sys, xstilts.analysis.overlap; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
