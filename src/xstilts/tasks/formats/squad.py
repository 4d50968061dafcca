"""SQuAD v1.1 and v2.0, and all that took over their format: XQuAD, MLQA, TyDiQA-GoldP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks.formats.part import Part, Place, span, value
from xstilts.tasks.formats.text import document
from xstilts.tasks.rows import SpanRow

Question = tuple[Place, str, str, dict[str, Any]]


def read(paths: Sequence[Path], group: FileGroup, part: Part) -> Iterator[SpanRow]:
    """One row a question, in file order; `is_impossible` (v2.0) questions have no answers.

    Where one file holds all languages (TyDiQA's train file), `columns: {language: id}` keeps the questions whose id
    begins with the language's code and a hyphen (`codes: {en: english}`). Offsets that do not match the passage are
    repaired if the answer stands nearby, and counted.

    Raises:
        DataError: malformed JSON, a missing field, an id given twice, an answer that is not in the passage.
    """
    mixed = group.columns.get("language") == "id"
    prefix = group.codes.get(part.language, part.language) + "-" if mixed else ""
    for path in paths:
        kept = 0
        for place, title, context, question in _questions(path):
            name = value(question, "id", str, place)
            if name.startswith(prefix):
                kept += 1
                yield _row(part, place, (title, context), question, name)
        if not kept:
            wanted = f" whose id begins with {prefix!r}" if prefix else ""
            raise DataError(path, f"no question{wanted}", "fetch the file again, or correct the dataset's `codes:`")


def _questions(path: Path) -> Iterator[Question]:
    """Place, title ("" where there is none), passage and record of each question."""
    whole = document(path)
    top = Place(path)
    if not isinstance(whole, dict):
        raise top.error("the document is no object", "expected SQuAD's format, {'data': [...]}")
    for i, article in enumerate(value(whole, "data", list, top)):
        outer = top.at(f"data[{i}]")
        title = article.get("title", "") if isinstance(article, dict) else ""
        for j, paragraph in enumerate(_list(article, "paragraphs", outer)):
            inner = outer.at(f"paragraphs[{j}]")
            for k, question in enumerate(_list(paragraph, "qas", inner)):
                place = inner.at(f"qas[{k}]")
                yield place, str(title), value(paragraph, "context", str, inner), _object(question, place)


def _object(record: Any, place: Place) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise place.error(f"{record!r:.60} is no object", "expected SQuAD's format")
    return record


def _list(record: Any, key: str, place: Place) -> list[Any]:
    found: list[Any] = value(_object(record, place), key, list, place)
    return found


def _row(part: Part, place: Place, about: tuple[str, str], question: dict[str, Any], name: str) -> SpanRow:
    impossible = question.get("is_impossible", False)
    answers = _list(question, "answers", place)
    if impossible and answers:
        raise place.error("is_impossible, but has answers", "v2.0 keeps those under plausible_answers")
    if not impossible and not answers:
        raise place.error("no answer", "give one, or say is_impossible: true")
    located = [_answer(answer, place.at(f"answers[{i}]")) for i, answer in enumerate(answers)]
    return span(part, place, (*about, value(question, "question", str, place)), located, name)


def _answer(answer: Any, place: Place) -> tuple[str, int]:
    record = _object(answer, place)
    return value(record, "text", str, place), value(record, "answer_start", int, place)
