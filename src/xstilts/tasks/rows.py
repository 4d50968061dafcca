"""The shapes of prepared rows, one per kind of task; prepared tables hold exactly these columns."""

from __future__ import annotations

from typing import TypedDict


class PairRow(TypedDict):
    """Two texts and a label."""

    id: str
    text_a: str
    text_b: str
    label: str


class ChoiceRow(TypedDict):
    """A context, an optional question ("" where the format has none) and choices; `label` is the right one's index."""

    id: str
    context: str
    question: str
    choices: list[str]
    label: int


class SpanRow(TypedDict):
    """A question over a passage; `starts` are code-point offsets of `answers`, both empty if it has no answer."""

    id: str
    title: str
    context: str
    question: str
    answers: list[str]
    starts: list[int]


class TaggingRow(TypedDict):
    """A sentence of words and their tags."""

    id: str
    tokens: list[str]
    tags: list[str]


class RetrievalRow(TypedDict):
    """A sentence of one side ("foreign" or "english"); `gold` on foreign rows: ids of their English translations."""

    side: str
    id: str
    text: str
    gold: list[str]


class TextRow(TypedDict):
    """A line of plain text."""

    id: str
    text: str
