"""Writing the upstream file formats: JSON lines, tables, tagged sentences and SQuAD's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from xstilts.mini.grammar import Speller
from xstilts.mini.reading import Passage, Reading, read

_PARAGRAPHS = 8  # an article


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Lines of UTF-8 text, each ended by LF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def write_table(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
    """Tab-separated columns without quoting; no cell holds a tab."""
    rows = [header, *rows] if header else rows
    write_lines(path, ("\t".join(str(cell) for cell in row) for row in rows))


def write_tagged(path: Path, sentences: Iterable[Iterable[tuple[str, str]]]) -> None:
    """Token TAB tag, a blank line after each sentence."""
    rows = ([*(f"{token}\t{tag}" for token, tag in sentence), ""] for sentence in sentences)
    write_lines(path, (line for lines in rows for line in lines))


def write_squad(path: Path, passages: Iterable[Passage], speller: Speller, name: str, version: str = "1.1") -> None:
    """SQuAD's JSON: articles of a few paragraphs, question ids `<name>-<number>`.

    Version v2.0 adds `is_impossible`, and moves the answer of an impossible question to `plausible_answers`.
    """
    items, numbers = list(passages), count()
    articles: list[dict[str, Any]] = []
    for first in range(0, len(items), _PARAGRAPHS):
        group = items[first : first + _PARAGRAPHS]
        paragraphs = [_paragraph(item, speller, name, numbers, version) for item in group]
        articles.append({"title": f"{name.replace('-', '_')}_{len(articles)}", "paragraphs": paragraphs})
    write_lines(path, [json.dumps({"version": version, "data": articles}, ensure_ascii=False)])


def _paragraph(item: Passage, speller: Speller, name: str, numbers: Iterator[int], version: str) -> dict[str, Any]:
    context, readings = read(speller, item)
    return {"context": context, "qas": [_qa(f"{name}-{next(numbers)}", r, version) for r in readings]}


def _qa(identity: str, reading: Reading, version: str) -> dict[str, Any]:
    answers = [{"text": reading.answer, "answer_start": reading.start}]
    row: dict[str, Any] = {"id": identity, "question": reading.question, "answers": answers}
    if version != "v2.0":
        return row
    if reading.possible:
        return {**row, "is_impossible": False}
    return {**row, "answers": [], "is_impossible": True, "plausible_answers": answers}
