"""Readers of pair tables and JSON lines: what they yield, what they count, what they refuse and how they say so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks import formats
from xstilts.tasks.base import NLI_LABELS
from xstilts.tasks.formats.part import Part

NAMED = {"text_a": "s1", "text_b": "s2", "label": "gold"}


def group(form: str, **given: Any) -> FileGroup:
    return FileGroup.model_validate({"format": form, "files": {}, **given})


def rows_of(path: Path | Sequence[Path], layout: FileGroup, part: Part) -> list[Any]:
    paths = [path] if isinstance(path, Path) else list(path)
    return list(formats.reader(layout.format)(paths, layout, part))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def nli(layout: FileGroup | None = None, language: str = "en") -> Part:
    renamed, dropped = (layout.labels, layout.drop_labels) if layout else ({}, ())
    return Part("dev", language, NLI_LABELS, renamed, dropped)


# --- pairs


def test_xtreme_table_has_no_header_and_no_quoting(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", 'He said "hi\t ""yes""\u2028, she said \tneutral\r\nA\tB\tentailment')
    assert rows_of(path, group("pairs"), nli()) == [
        {"id": "0", "text_a": 'He said "hi', "text_b": '""yes""\u2028, she said', "label": "neutral"},
        {"id": "1", "text_a": "A", "text_b": "B", "label": "entailment"},
    ]


def test_columns_by_name_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "\ufeffgold\tx\ts2\ts1\nE\t?\tb\ta\n")
    layout = group("pairs", header=True, columns=NAMED, labels={"E": "entailment"})
    assert rows_of(path, layout, nli(layout)) == [{"id": "0", "text_a": "a", "text_b": "b", "label": "entailment"}]


def test_columns_by_position_and_ids_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "pair_ID\tA\tB\tscore\tjudgment\n7\ta\tb\t4.5\tNEUTRAL\n")
    columns = {"id": 0, "text_a": 1, "text_b": 2, "label": 4}
    layout = group("pairs", header=True, columns=columns, labels={"NEUTRAL": "neutral"})
    assert rows_of(path, layout, nli(layout))[0] == {"id": "7", "text_a": "a", "text_b": "b", "label": "neutral"}


def test_one_file_with_all_languages(tmp_path: Path) -> None:
    header = "language\tgold\ts1\ts2\n"
    path = write(tmp_path / "x.tsv", header + "ar\tneutral\ta\tb\nde\tneutral\tc\td\nar\tneutral\te\tf\n")
    layout = group("pairs", header=True, columns={**NAMED, "language": "language"})
    assert [(r["id"], r["text_a"]) for r in rows_of(path, layout, nli(language="ar"))] == [("0", "a"), ("1", "e")]
    with pytest.raises(DataError, match=r"x\.tsv: no row of language 'sw'; it has ar, de"):
        rows_of(path, layout, nli(language="sw"))


def test_ids_count_on_over_several_files_and_over_dropped_rows(tmp_path: Path) -> None:
    first = write(tmp_path / "1.tsv", "a\tb\t-\nc\td\tneutral\n")
    second = write(tmp_path / "2.tsv", "e\tf\tneutral\n")
    layout = group("pairs", drop_labels=["-"])
    part = nli(layout)
    assert [r["id"] for r in rows_of([first, second], layout, part)] == ["1", "2"]
    assert part.counts == {"dropped: label -": 1}


def test_short_rows_are_dropped_only_where_the_dataset_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "a\tb\tneutral\nbroken\nc\td\tneutral\n")
    layout = group("pairs", drop_short_rows=True)
    part = nli(layout)
    assert [r["text_a"] for r in rows_of(path, layout, part)] == ["a", "c"]
    assert part.counts == {"dropped: too few columns": 1}
    with pytest.raises(DataError, match=r"t\.tsv:2: 1 columns, expected 3; correct the line"):
        rows_of(path, group("pairs"), nli())


def test_too_many_columns_are_refused_even_then(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "a\tb\tneutral\na\tb\tc\tneutral\n")
    with pytest.raises(DataError, match=r":2: 4 columns, expected 3"):
        rows_of(path, group("pairs", drop_short_rows=True), nli())


def test_comma_tables_are_real_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 's1,s2,gold\n"a, ""b""\nc",d,neutral\n')
    layout = group("pairs", header=True, delimiter="comma", columns=NAMED)
    assert rows_of(path, layout, nli())[0]["text_a"] == 'a, "b"\nc'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.tsv: the file is empty"),
        (b"a\tb\tneutral\nc\xff\td\tneutral\n", r"t\.tsv:2: byte 2 of the line \(0xff\) is not UTF-8; convert"),
        ("a\tb\tmaybe\n", r"t\.tsv:1: unknown label 'maybe'; known are entailment, neutral, .*`labels:`"),
        ("a\tneutral\n", r"t\.tsv:1: no column 2: there are 2; correct the dataset's `columns:`"),
        ("a\tb\tneutral\n\nc\td\tneutral\n", r"t\.tsv:2: 1 columns, expected 3"),
    ],
)
def test_malformed_tables(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(write(tmp_path / "t.tsv", text), group("pairs"), nli())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.tsv: no such file; put it there"):
        rows_of(tmp_path / "nowhere.tsv", group("pairs"), nli())


def test_a_header_without_the_named_column(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "s1\ts2\tlabel\na\tb\tneutral\n")
    with pytest.raises(DataError, match=r"t\.tsv:1: no column 'gold' \(there is s1, s2, label\)"):
        rows_of(path, group("pairs", header=True, columns=NAMED), nli())


def test_a_header_without_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "s1\ts2\tgold\n")
    with pytest.raises(DataError, match=r"t\.tsv: no row of language 'en'; it has no rows"):
        rows_of(path, group("pairs", header=True, columns=NAMED), nli())


def test_an_id_given_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "1\ta\tb\tneutral\n1\tc\td\tneutral\n")
    layout = group("pairs", columns={"id": 0, "text_a": 1, "text_b": 2, "label": 3})
    with pytest.raises(DataError, match=r"t\.tsv:2: id '1' is given twice"):
        rows_of(path, layout, nli())


def test_unbalanced_quotes_in_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 's1,s2,gold\n"a,b,neutral\n')
    layout = group("pairs", header=True, delimiter="comma", columns=NAMED)
    with pytest.raises(DataError, match=r"t\.csv:2: not CSV"):
        rows_of(path, layout, nli())


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"text_a": 0, "text_b": 1}, "no column given for label"), ({**NAMED, "labl": 3}, "unknown field labl")],
)
def test_columns_of_the_config_are_checked(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "t.tsv", "s1\ts2\tgold\na\tb\tneutral\n")
    with pytest.raises(ConfigError, match=message):
        rows_of(path, group("pairs", header=True, columns=columns), nli())


# --- pairs_jsonl


def jsonl(path: Path, *records: Any) -> Path:
    return write(path, "".join(json.dumps(record) + "\n" for record in records))


def test_multinli(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "m.jsonl",
        {"gold_label": "-", "sentence1": "x", "sentence2": "y", "pairID": "1"},
        {"gold_label": "neutral", "sentence1": "a", "sentence2": "b", "pairID": "2"},
    )
    layout = group("pairs_jsonl", drop_labels=["-"])
    part = nli(layout)
    assert rows_of(path, layout, part) == [{"id": "1", "text_a": "a", "text_b": "b", "label": "neutral"}]
    assert part.counts == {"dropped: label -": 1}


def test_anli(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"uid": "u", "context": "a", "hypothesis": "b", "label": "c", "reason": ""})
    columns = {"text_a": "context", "text_b": "hypothesis", "label": "label", "id": "uid"}
    layout = group("pairs_jsonl", columns=columns, labels={"c": "contradiction"})
    assert rows_of(path, layout, nli(layout)) == [{"id": "u", "text_a": "a", "text_b": "b", "label": "contradiction"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"gold_label": "neutral"', r":1: not JSON \(.* at column \d+\); expected one JSON object a line"),
        ("[1]\n", r":1: '\[1\]' is no object"),
        ('{"a":' * 100_000, r":1: not JSON \(nested too deep\)"),
        ('{"a": ' + "9" * 5000 + "}", r":1: not JSON \(Exceeds the limit .*\); expected"),
        ('{"sentence1": "a\\ud800", "sentence2": "b", "gold_label": "neutral"}', r":1: 'sentence1' holds half a char"),
        (
            '{"sentence1": "a", "gold_label": "neutral"}\n',
            r":1: no field 'sentence2' \(there are sentence1, gold_label\)",
        ),
        ('{"sentence1": 1, "sentence2": "b", "gold_label": "neutral"}\n', r":1: 'sentence1' is 1, expected a text"),
        ('{"sentence1": "a", "sentence2": "b", "gold_label": "-"}\n', r":1: unknown label '-'"),
    ],
)
def test_malformed_json_lines(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(write(tmp_path / "m.jsonl", text), group("pairs_jsonl"), nli())


@pytest.mark.parametrize("name", ["pairs", "squad", "conllu", "columns", "line_pairs", "bucc", "cosmosqa"])
def test_every_reader_names_a_missing_file(tmp_path: Path, name: str) -> None:
    number = {"line_pairs": 2, "bucc": 3}.get(name, 1)
    reader: Callable[..., Any] = formats.reader(name)
    with pytest.raises(DataError, match="no such file"):
        list(reader([tmp_path / f"{i}" for i in range(number)], group(name), nli()))
