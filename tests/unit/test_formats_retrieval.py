"""Readers of retrieval sets: parallel lines and BUCC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks import formats
from xstilts.tasks.formats.part import Part


def read(form: str, folder: Path, *texts: str) -> tuple[list[Any], Part]:
    """Rows of files with these texts, named 0, 1, …; a text without lines is an empty file."""
    paths = [folder / str(number) for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    part = Part("test", "de")
    layout = FileGroup.model_validate({"format": form, "files": {}})
    return list(formats.reader(form)(paths, layout, part)), part


def test_parallel_lines(tmp_path: Path) -> None:
    rows, _ = read("line_pairs", tmp_path, "eins\n zwei \n", "one\ntwo")
    assert rows == [
        {"side": "foreign", "id": "0", "text": "eins", "gold": ["0"]},
        {"side": "foreign", "id": "1", "text": "zwei", "gold": ["1"]},
        {"side": "english", "id": "0", "text": "one", "gold": []},
        {"side": "english", "id": "1", "text": "two", "gold": []},
    ]


def test_parallel_files_of_different_length(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0: 2 lines, but 1 has 1; line i of one must translate"):
        read("line_pairs", tmp_path, "a\nb\n", "a\n")


def test_an_empty_parallel_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0:2: an empty sentence"):
        read("line_pairs", tmp_path, "a\nb\n", "a\n\n")


def test_a_part_needs_all_its_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 files for a part in the format line_pairs; give 2 patterns"):
        read("line_pairs", tmp_path, "a\n")
    with pytest.raises(ConfigError, match="give 3 patterns: foreign, English, gold"):
        read("bucc", tmp_path, "a\n", "b\n")


FOREIGN = "de-1\teins\nde-2\tzwei\nde-3\tdrei\n"
ENGLISH = "en-1\tthree\nen-2\tdrei (German)\nen-3\tnoise\n"


def test_bucc(tmp_path: Path) -> None:
    rows, part = read("bucc", tmp_path, FOREIGN, ENGLISH, "de-3\ten-1\nde-3\ten-2\nde-3\ten-1\n")
    assert [(r["side"], r["id"], r["text"], r["gold"]) for r in rows] == [
        ("foreign", "de-1", "eins", []),
        ("foreign", "de-2", "zwei", []),
        ("foreign", "de-3", "drei", ["en-1", "en-2"]),
        ("english", "en-1", "three", []),
        ("english", "en-2", "drei (German)", []),
        ("english", "en-3", "noise", []),
    ]
    assert part.counts == {"dropped: repeated gold pair": 1}


@pytest.mark.parametrize(
    ("foreign", "gold", "message"),
    [
        ("de-1 eins\n", "de-1\ten-1\n", r"0:1: 'de-1 eins' is no id and sentence; expected `id TAB sentence`"),
        ("de-1\t \n", "de-1\ten-1\n", r"0:1: .* is no id and sentence"),
        ("de-1\ta\nde-1\tb\n", "de-1\ten-1\n", r"0:2: id 'de-1' is given twice"),
        (FOREIGN, "de-9\ten-1\n", r"2:1: id 'de-9' stands in no corpus"),
        (FOREIGN, "en-1\tde-1\n", r"2:1: id 'en-1' stands in no corpus; expected `foreign id TAB English id`"),
        (FOREIGN, "de-1\n", r"2:1: 1 columns separated by tab, expected 2"),
        (FOREIGN, "", r"2: the file is empty"),
    ],
)
def test_malformed_bucc(tmp_path: Path, foreign: str, gold: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read("bucc", tmp_path, foreign, ENGLISH, gold)
