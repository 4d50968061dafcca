"""XTREME's files: what is written is read back, and what is broken is named with its file and line."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts.errors import DataError, UserError
from xstilts.evaluation import submission

TAGS = ("O", "B-PER", "I-PER")
WORDS = st.text(min_size=1, max_size=6).filter(lambda text: text.split() == [text] and text[0] != "\ufeff")
# Lone surrogates cannot be written as UTF-8; no tokenizer decodes to one.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def there_and_back(write: Callable[[Path], None], read: Callable[[Path], object]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task" / "test-xx.any"
        write(path)
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        return read(path)


def test_places() -> None:
    assert submission.place(Path("p"), "xnli", "de") == Path("p/xnli/test-de.tsv")
    assert submission.place(Path("p"), "tydiqa", "te") == Path("p/tydiqa/test-te.json")


@given(st.lists(st.lists(st.sampled_from(TAGS))))
def test_tags_come_back_empty_sentences_included(sentences: list[list[str]]) -> None:
    write = lambda path: submission.write_tags(path, sentences)  # noqa: E731
    assert there_and_back(write, lambda path: submission.read_tags(path, TAGS)) == sentences


@given(st.dictionaries(TEXTS, TEXTS))
def test_answers_come_back(answers: dict[str, str]) -> None:
    write = lambda path: submission.write_answers(path, answers)  # noqa: E731
    assert there_and_back(write, submission.read_answers) == answers


@given(st.lists(st.tuples(WORDS, WORDS)))
def test_pairs_come_back(pairs: list[tuple[str, str]]) -> None:
    write = lambda path: submission.write_pairs(path, pairs)  # noqa: E731
    assert there_and_back(write, submission.read_pairs) == pairs


@given(st.lists(st.integers(0, 10**6)))
def test_indices_come_back(indices: list[int]) -> None:
    write = lambda path: submission.write_indices(path, indices)  # noqa: E731
    assert there_and_back(write, submission.read_indices) == indices


def test_files_look_as_in_the_mock_data(tmp_path: Path) -> None:
    submission.write_labels(tmp_path / "labels", ["entailment", "neutral"])
    submission.write_tags(tmp_path / "tags", [["O", "B-PER"], ["O"]])
    submission.write_pairs(tmp_path / "pairs", [("de-000413461", "en-000091985")])
    submission.write_indices(tmp_path / "indices", [308, 0])
    submission.write_answers(tmp_path / "answers", {"arabic-1-1": "بطولتين"})
    assert (tmp_path / "labels").read_bytes() == b"entailment\nneutral\n"
    assert (tmp_path / "tags").read_bytes() == b"O\nB-PER\n\nO\n\n"
    assert (tmp_path / "pairs").read_bytes() == b"de-000413461\ten-000091985\n"
    assert (tmp_path / "indices").read_bytes() == b"308\n0\n"
    assert json.loads((tmp_path / "answers").read_text(encoding="utf-8")) == {"arabic-1-1": "بطولتين"}


def test_what_no_line_can_hold_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(UserError, match="'two words' cannot stand in a TSV file"):
        submission.write_labels(path, ["two words"])
    with pytest.raises(UserError, match="'' cannot stand"):
        submission.write_tags(path, [["O", ""]])
    with pytest.raises(UserError, match=r"'de\\t1' cannot stand"):
        submission.write_pairs(path, [("de\t1", "en-1")])
    with pytest.raises(UserError, match="index -1 is no line number"):
        submission.write_indices(path, [0, -1])
    assert list(tmp_path.iterdir()) == []


def test_blanks_and_windows_line_ends_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "tags"
    path.write_bytes(b"O\r\n B-PER \r\n\r\n \t\nO")
    assert submission.read_tags(path, TAGS) == [["O", "B-PER"], [], ["O"]]


def test_a_line_ends_at_a_newline_only(tmp_path: Path) -> None:
    path = tmp_path / "pairs"
    path.write_text("de\u20281\ten-1\n", encoding="utf-8")
    assert submission.read_pairs(path) == [("de\u20281", "en-1")]


def test_questions_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "questions"
    qas = [
        {"id": "q2", "answers": [{"text": "b", "answer_start": 0}, {"text": "c"}]},
        {"id": "q1", "answers": [{"text": ""}]},
    ]
    articles = [{"paragraphs": [{"context": "b c", "qas": qas}]}]
    for content in ({"version": "1.1", "data": articles}, articles):
        path.write_text(json.dumps(content), encoding="utf-8")
        assert submission.read_questions(path) == [("q2", ["b", "c"]), ("q1", [""])]


BROKEN: list[tuple[Callable[[Path], object], bytes, str]] = [
    (lambda path: submission.read_labels(path, ("0", "1")), b"0\n2\n", ":2: unknown label '2'; use one of 0 1"),
    (lambda path: submission.read_labels(path, ("0", "1")), b"0\n\n", ":2: unknown label ''"),
    (lambda path: submission.read_labels(path, ("0", "1")), b"\xff\n", ": is not UTF-8 (byte 0)"),
    (lambda path: submission.read_labels(path, ("0", "1")), b"\xef\xbb\xbf0\n", ": starts with a byte-order mark"),
    (lambda path: submission.read_tags(path, TAGS), b"O\n\nword\tO\n", r":3: unknown label 'word\tO'"),
    (submission.read_pairs, b"de-1\ten-1\nde-2 en-2\n", ":2: found 'de-2 en-2'; write: foreign id, tab, English id"),
    (submission.read_pairs, b"de-1\ten-1\t0.9\n", r":1: found 'de-1\ten-1\t0.9'"),
    (submission.read_pairs, b"de-1\t\n", ":1: found 'de-1'"),
    (submission.read_indices, b"1\n[2]\n", ":2: found '[2]'"),
    (submission.read_indices, b"-1\n", ":1: found '-1'"),
    (submission.read_indices, b"007\n", ":1: found '007'"),
    (submission.read_indices, b"9" * 5000, ":1: found '9999"),
    (submission.read_answers, b'{"q1": "a", "q1": "b"}', ": the key 'q1' occurs twice"),
    (submission.read_answers, b'["q1"]', ": holds a JSON array; write one object"),
    (submission.read_answers, b'{"q1": 5}', ": the answer to 'q1' is a JSON number"),
    (submission.read_answers, b'{"q1": null}', ": the answer to 'q1' is a JSON null"),
    (submission.read_answers, b'{"q1": "a"', ": is not JSON ("),
    (submission.read_answers, b"", ": is not JSON ("),
    (submission.read_answers, b"[" * 100_000, ": is not JSON ("),
    (
        submission.read_questions,
        b'{"data": [{"paragraphs": [{"qas": [{"id": "q"}]}]}]}',
        ": is not in SQuAD format (KeyError",
    ),
    (submission.read_questions, b'{"data": 5}', ": is not in SQuAD format (TypeError"),
    (submission.read_questions, b'{"q1": "a"}', ": is not in SQuAD format (KeyError: 'data')"),
    (
        submission.read_questions,
        b'{"data": [{"paragraphs": [{"qas": [{"id": 5, "answers": []}]}]}]}',
        ": is not in SQuAD format (TypeError: id and answer texts must be strings)",
    ),
    (
        submission.read_questions,
        b'{"data": [{"paragraphs": [{"qas": [{"id": "q", "answers": []}]}]}]}',
        ": question 'q' has no gold answer",
    ),
]


@pytest.mark.parametrize(("read", "content", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken_files_are_named_in_one_line(
    tmp_path: Path, read: Callable[[Path], object], content: bytes, message: str
) -> None:
    path = tmp_path / "test-de"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}{message}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300 + len(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.tsv: cannot be read \(No such file or directory\)"):
        submission.read_pairs(tmp_path / "gone.tsv")
