"""XTREME's prediction and label files, `<folder>/<task>/test-<language>.{tsv,json}`: writing and reading.

Formats: README and mock_test_data of google-research/xtreme. Whatever a writer here accepts, its reader
gives back. Readers are strict where evaluate.py would score rubbish: every complaint names the file and,
where there is one, the line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from xstilts import files
from xstilts.errors import DataError, UserError
from xstilts.metrics.retrieval import Pair
from xstilts.metrics.xtreme import GROUPS

Question = tuple[str, list[str]]

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def place(folder: Path, task: str, language: str) -> Path:
    """Where XTREME keeps a task's test predictions or labels for one language."""
    return folder / task / f"test-{language}.{suffix(task)}"


def suffix(task: str) -> str:
    """`json` for the question-answering tasks, `tsv` for the others."""
    return "json" if task in GROUPS["qa"] else "tsv"


def write_labels(path: Path, labels: Iterable[str]) -> None:
    """Write one label a line (XNLI, PAWS-X).

    Raises:
        UserError: a label is empty or holds a space.
    """
    files.write_text(path, "".join(f"{_word(label)}\n" for label in labels))


def write_tags(path: Path, sentences: Iterable[Sequence[str]]) -> None:
    """Write one tag a line and a blank line after each sentence (PAN-X, UDPOS).

    Raises:
        UserError: a tag is empty or holds a space.
    """
    blocks = ("".join(f"{_word(tag)}\n" for tag in tags) for tags in sentences)
    files.write_text(path, "".join(f"{block}\n" for block in blocks))


def write_answers(path: Path, answers: Mapping[str, str]) -> None:
    """Write question ids and their answers as one JSON object (XQuAD, MLQA, TyDiQA)."""
    files.write_json(path, dict(answers))


def write_questions(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write questions with their gold answers in SQuAD v1.1 format: the labels of XQuAD, MLQA and TyDiQA.

    Args:
        path: the file.
        rows: `id`, `title`, `context`, `question`, `answers` and `starts` of each question; neighbours with one title
            and context share a paragraph.
    """
    articles = []
    for (title, context), group in groupby(rows, key=lambda row: (row["title"], row["context"])):
        paragraph = {"context": context, "qas": [_asked(row) for row in group]}
        articles.append({"title": title, "paragraphs": [paragraph]})
    files.write_json(path, {"version": "1.1", "data": articles})


def _asked(row: Mapping[str, Any]) -> dict[str, Any]:
    located = zip(row["answers"], row["starts"], strict=True)
    answers = [{"text": text, "answer_start": start} for text, start in located]
    return {"id": row["id"], "question": row["question"], "answers": answers}


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write one foreign id, a tab and one English id a line (BUCC).

    Raises:
        UserError: an id is empty or holds a space.
    """
    files.write_text(path, "".join(f"{_word(foreign)}\t{_word(english)}\n" for foreign, english in pairs))


def write_indices(path: Path, indices: Iterable[int]) -> None:
    """Write, for each English sentence in code-point order, its 0-based foreign line number (Tatoeba).

    Raises:
        UserError: an index is negative.
    """
    lines = [str(int(index)) for index in indices]
    wrong = [line for line in lines if not _INDEX.fullmatch(line)]
    if wrong:
        raise UserError(f"submission: index {wrong[0]} is no line number; number the foreign lines from 0")
    files.write_text(path, "".join(f"{line}\n" for line in lines))


def read_labels(path: Path, known: Collection[str]) -> list[str]:
    """Read one label a line, blanks around it removed.

    Raises:
        DataError: the file is missing, not UTF-8, or holds a label outside `known`.
    """
    labels = _lines(path)
    for number, label in enumerate(labels, start=1):
        _require_known(path, number, label, known)
    return labels


def read_tags(path: Path, known: Collection[str]) -> list[list[str]]:
    """Read sentences of one tag a line; each blank line ends a sentence, as evaluate.py has it.

    Raises:
        DataError: the file is missing, not UTF-8, or holds a tag outside `known`.
    """
    sentences: list[list[str]] = []
    tags: list[str] = []
    for number, tag in enumerate(_lines(path), start=1):
        if tag:
            _require_known(path, number, tag, known)
            tags.append(tag)
        else:
            sentences.append(tags)
            tags = []
    return [*sentences, tags] if tags else sentences


def read_pairs(path: Path) -> list[Pair]:
    """Read one foreign id, tab and English id a line.

    Raises:
        DataError: the file is missing, not UTF-8, or a line is not two ids with a tab between.
    """
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        ids = line.split("\t")
        if len(ids) != 2 or not all(ids):
            raise DataError(path, f"found {_shown(line)}", "write: foreign id, tab, English id", number)
        pairs.append((ids[0], ids[1]))
    return pairs


def read_indices(path: Path) -> list[int]:
    """Read one 0-based line number a line.

    Raises:
        DataError: the file is missing, not UTF-8, or a line is not a number without sign or leading zeros.
    """
    lines = _lines(path)
    for number, line in enumerate(lines, start=1):
        if not _INDEX.fullmatch(line):
            remedy = "write the 0-based line number of a foreign sentence, digits only"
            raise DataError(path, f"found {_shown(line)}", remedy, number)
    return [int(line) for line in lines]


def read_answers(path: Path) -> dict[str, str]:
    """Read predicted answers by question id.

    Raises:
        DataError: the file is missing or not UTF-8 JSON, or not one object from ids to texts, each id once.
    """
    answers = _json(path)
    if not isinstance(answers, dict):
        raise DataError(path, f"holds a JSON {_kind(answers)}", "write one object: id to answer text")
    for question, answer in answers.items():
        if not isinstance(answer, str):
            problem = f"the answer to {_shown(question)} is a JSON {_kind(answer)}"
            raise DataError(path, problem, "write every answer as a string, empty for none")
    return answers


def read_questions(path: Path) -> list[Question]:
    """Read (id, gold answers) of every question of a label file in SQuAD v1.1 format, in its order.

    Raises:
        DataError: the file is missing, not UTF-8 JSON or not in that format, or a question has no answer.
    """
    content = _json(path)
    try:
        articles = content["data"] if isinstance(content, dict) else content
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        questions = [_question(qa) for paragraph in paragraphs for qa in paragraph["qas"]]
    except (KeyError, TypeError) as error:
        problem = f"is not in SQuAD format ({type(error).__name__}: {error})"
        raise DataError(path, problem, "give data > paragraphs > qas with id and answers") from error
    for name, answers in questions:
        if not answers:
            raise DataError(path, f"question {_shown(name)} has no gold answer", "give labels with answers")
    return questions


def _question(qa: Any) -> Question:
    texts = [answer["text"] for answer in qa["answers"]]
    if not all(isinstance(text, str) for text in (qa["id"], *texts)):
        raise TypeError("id and answer texts must be strings")
    return qa["id"], texts


def _json(path: Path) -> Any:
    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            twice = Counter(name for name, _ in items).most_common(1)[0][0]
            raise DataError(path, f"the key {_shown(twice)} occurs twice in one object", "keep one of them")
        return result

    try:
        return json.loads(_text(path), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"is not JSON ({error})", "write one JSON document in UTF-8") from error


def _lines(path: Path) -> list[str]:
    text = _text(path)
    # Not str.splitlines: it also breaks lines at characters such as U+2028, where evaluate.py does not.
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8 (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "give a readable file") from error
    if text.startswith("\ufeff"):
        raise DataError(path, "starts with a byte-order mark", "save it as UTF-8 without one")
    return text


def _require_known(path: Path, number: int, label: str, known: Collection[str]) -> None:
    if label not in known:
        remedy = f"use one of {' '.join(known)}"
        raise DataError(path, f"unknown label {_shown(label)}", remedy, number)


def _word(text: str) -> str:
    if text.split() != [text]:
        raise UserError(f"submission: {_shown(text)} cannot stand in a TSV file; give a word without spaces")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
