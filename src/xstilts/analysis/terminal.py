"""The matrix as plain text: the scores of `none`, and below them what each intermediate changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pandas as pd

from xstilts.analysis import tables

_HEADS = {"avg_without_retrieval": "w/o retr."}
_MISSING = "–"

Rows = list[tuple[str, list[str]]]


def show(directory: Path, stream: TextIO) -> None:
    """Print the matrix in that directory of tables, as wide as the terminal; elsewhere 100 columns wide."""
    width = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 100
    print(matrix_text(directory, width), file=stream)


def matrix_text(directory: Path, width: int) -> str:
    """A block for each backbone and split. Columns that do not fit `width` follow below, under the same rows.

    Without a row `none` there is nothing to compare with, and every row shows its scores.
    """
    whole, changes = (tables.read(directory, name) for name in ("matrix", "deltas"))
    keys = whole[["backbone", "split"]].drop_duplicates().itertuples(index=False)
    return "\n\n".join(_block(_part(whole, *key), _part(changes, *key), width) for key in keys)


def _part(table: pd.DataFrame, backbone: str, split: str) -> pd.DataFrame:
    return table[(table["backbone"] == backbone) & (table["split"] == split)]


def _block(whole: pd.DataFrame, changes: pd.DataFrame, width: int) -> str:
    first = whole.iloc[0]
    borrowed = str(first["dev_is_test"]).split() if pd.notna(first["dev_is_test"]) else []
    names = [*tables.target_columns(whole), *tables.AVERAGES]
    heads = [f"{name}†" if name in borrowed else _HEADS.get(name, name) for name in names]
    base = whole[whole["intermediate"] == tables.BASELINE]
    scores, below = (base, changes) if len(base) else (whole, changes.iloc[:0])
    rows = [*_rows(scores, names, ".1f"), *_rows(below, names, "+.1f")]
    title = f"{first['backbone']}, {first['split']}: " + ("score of none, change against it" if len(base) else "score")
    notes = ["† no dev split: test values"] * bool(borrowed)
    notes += ["* over the targets that have a result"] * any(text[-1] == "*" for _, texts in rows for text in texts)
    return "\n".join([title, *_grid(heads, rows, len(scores), width), *notes])


def _rows(table: pd.DataFrame, names: Sequence[str], form: str) -> Rows:
    """Names and texts of the rows; an average over fewer targets than the study has is marked."""
    over = tables.averaged(tables.target_columns(table))
    rows = []
    for _, row in table.iterrows():
        texts = {name: tables.number(float(row[name]), form) or _MISSING for name in names}
        marks = {name: "*" for name, of in over.items() if texts[name] != _MISSING and row[of].isna().any()}
        rows.append((str(row["intermediate"]), [texts[name] + marks.get(name, "") for name in names]))
    return rows


def _grid(heads: Sequence[str], rows: Rows, scores: int, width: int) -> Iterator[str]:
    """Aligned lines; a rule parts the scores from the changes, an empty line the columns that did not fit."""
    label = max(len(name) for name, _ in rows)
    widths = [max(len(head) + 1, 7) for head in heads]
    for start, end in _fitting(widths, width - label):
        span = list(zip(range(start, end), widths[start:end], strict=True))
        yield from [""] * (start > 0)
        yield " " * label + "".join(heads[k].rjust(wide) for k, wide in span)
        for place, (name, texts) in enumerate(rows):
            if place == scores:
                yield "─" * (label + sum(widths[start:end]))
            yield name.ljust(label) + "".join(texts[k].rjust(wide) for k, wide in span)


def _fitting(widths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Runs of columns (start, end) that fit the room, at least one column each."""
    start, used = 0, 0
    for k, wide in enumerate(widths):
        if k > start and used + wide > room:
            yield start, k
            start, used = k, 0
        used += wide
    yield start, len(widths)
