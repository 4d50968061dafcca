"""Published numbers beside which a study's own may stand: data/published.yaml, read into one tidy list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from xstilts.analysis import tables

_FILE = Path(__file__).parent.parent / "data" / "published.yaml"
_PAIR = ("f1", "exact_match")


@dataclass(frozen=True)
class Source:
    """Where numbers come from: key, title, version, and whether the copy is `verbatim` or `secondary`."""

    key: str
    title: str
    version: str
    trust: Literal["verbatim", "secondary"]


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        source: where it was printed; table, part: where in it.
        split: dev or test; measure: `score`, or `delta` (points against the baseline of the same source).
        row: the model of a score, the intermediate of a delta.
        target: a task, or `avg` (the mean over the source's tasks); language: a code, or `avg`.
        metric: official name; `avg` where a target's own is a mean.
        value: percent as printed; corrected: what the row's other cells give, where the printed value cannot be right.
        note: what a reader must know before comparing.
    """

    source: Source
    table: str
    part: str
    split: str
    measure: Literal["score", "delta"]
    row: str
    target: str
    language: str
    metric: str
    value: float
    corrected: float | None = None
    note: str = ""


@cache
def _raw() -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return raw


def baseline(model: str, recipes: Sequence[str]) -> list[Published]:
    """Test scores per target of a model without intermediate training; none where none are known.

    Args:
        model: name of the model, without its owner on the hub.
        recipes: the recipe and those it is based on; the first for which there are numbers decides.
    """
    known = {(entry["model"], entry["recipe"]): entry for entry in _raw()["baselines"]}
    found = next((known[model, recipe] for recipe in (*recipes, None) if (model, recipe) in known), None)
    if found is None:
        return []
    row = (found["source"], found["row"])
    printed = (n for n in numbers() if (n.source.key, n.row, n.split) == (*row, "test"))
    return [n for n in printed if n.target not in (tables.AVERAGE, *found["without"])]


@cache
def numbers() -> tuple[Published, ...]:
    """Every published number, in the order of the file."""
    raw = _raw()
    sources = {key: Source(key, **value) for key, value in raw["sources"].items()}
    return tuple(number for table in raw["tables"] for number in _table(sources[table["source"]], table))


def _table(source: Source, table: Mapping[str, Any]) -> Iterator[Published]:
    place = {"source": source, **{key: table[key] for key in ("table", "part", "split", "measure")}}
    place["note"] = table.get("note", "")
    for row, cells in table["rows"].items():
        corrected = table.get("errata", {}).get(row, {})
        for column, cell in zip(table["columns"], cells, strict=True):
            target, language = _subject(table, column)
            for metric, value in _values(table, target, cell):
                yield Published(**place, row=row, target=target, language=language, metric=metric, value=value,
                                corrected=corrected.get(column))  # fmt: skip


def _subject(table: Mapping[str, Any], column: str) -> tuple[str, str]:
    """Target and language of a column."""
    return (table["target"], column) if table.get("by") == "languages" else (column, tables.AVERAGE)


def _values(table: Mapping[str, Any], target: str, cell: Any) -> list[tuple[str, float]]:
    """Metrics and values of a cell; nothing where nothing is printed."""
    if isinstance(cell, list):
        return [(metric, value) for metric, value in zip(_PAIR, cell, strict=True) if value is not None]
    if cell is None:
        return []
    named = tables.AVERAGE if target == tables.AVERAGE else table.get("metric")
    return [(named or tables.headline_metrics(target)[0], cell)]
