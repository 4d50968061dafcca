"""The placebo: training rows whose labels were put in random order, all else as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xstilts.tasks.base import Kind

Rows = Sequence[dict[str, Any]]
_STREAM = 2**31 + 3  # of random numbers


def shuffled(rows: Rows, kind: Kind, seed: int) -> list[dict[str, Any]]:
    """Copies of the rows with each other's labels, so that labels stay as frequent as they were.

    pair: labels. choice: indices, of a row with more choices taken modulo their number. tagging: tags of tokens, over
    all sentences. span: answers, each as far into its new passage and as long as it was in its old one.
    """
    return _BY_KIND[kind](rows, np.random.default_rng([seed, _STREAM]))


def _pair(rows: Rows, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{**row, "label": rows[i]["label"]} for row, i in zip(rows, rng.permutation(len(rows)), strict=True)]


def _choice(rows: Rows, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{**row, "label": row["label"] % len(row["choices"])} for row in _pair(rows, rng)]


def _tagging(rows: Rows, rng: np.random.Generator) -> list[dict[str, Any]]:
    tags = [tag for row in rows for tag in row["tags"]]
    mixed = iter([tags[i] for i in rng.permutation(len(tags))])
    return [{**row, "tags": [next(mixed) for _ in row["tags"]]} for row in rows]


def _span(rows: Rows, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{**row, **_moved(rows[i], row["context"])} for row, i in zip(rows, rng.permutation(len(rows)), strict=True)]


def _moved(donor: dict[str, Any], context: str) -> dict[str, Any]:
    """The donor's first answer's place in another passage, never empty; no answer if the donor has none."""
    if not donor["answers"]:
        return {"answers": [], "starts": []}
    start = int(donor["starts"][0] / len(donor["context"]) * len(context))
    found = context[start : start + len(donor["answers"][0])]
    if not found.strip():
        start, found = 0, context
    start += len(found) - len(found.lstrip())
    return {"answers": [found.strip()], "starts": [start]}


_BY_KIND: dict[Kind, Callable[[Rows, np.random.Generator], list[dict[str, Any]]]] = {
    "pair": _pair,
    "choice": _choice,
    "tagging": _tagging,
    "span": _span,
}
