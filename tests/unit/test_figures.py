"""Figures and the terminal's matrix: what they say, that nothing overlaps, and that they never change by themselves."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from xstilts import config
from xstilts.analysis import figures, page, tables, terminal

Job = dict[str, Any]
METRICS = {"xnli": ("accuracy",), "xquad": ("f1", "exact_match"), "panx": ("f1",), "tatoeba": ("accuracy",)}
LANGUAGES = {"xnli": ("en", "sw"), "xquad": ("en", "zh"), "panx": ("en", "sw", "zh"), "tatoeba": ("sw",)}


def draw(folder: Path, changes: dict[str, dict[str, float]], languages: dict[str, tuple[str, ...]] = LANGUAGES) -> Job:
    """Tables and figures of a study where `none` scores 60 everywhere and the rest differ by `changes`."""
    targets = [target for target in METRICS if any(target in row for row in changes.values())]
    cells = []
    for intermediate, row in changes.items():
        for target, change in row.items():
            values = dict.fromkeys((*languages[target], "avg"), 60 + change)
            splits = ("test",) if target in ("xquad", "tatoeba") else ("dev", "test")
            rows = [
                {"variant": "best", "language": code, "split": split, "metric": metric, "value": value, "n": 9}
                for code, value in values.items()
                for split in splits
                for metric in METRICS[target]
            ]
            path = folder / f"{intermediate}.{target}.json"
            path.write_text(json.dumps({"rows": rows}), encoding="utf-8")
            cell = {"study": "s", "backbone": "tiny", "intermediate": intermediate, "target": target,
                    "regime": "zero-shot", "seed_intermediate": 1, "seed_finetune": 1}  # fmt: skip
            cells.append({"cell": cell, "scores": str(path)})
    shared = {"name": "n", "digest": "d", "plan": {}, "targets": targets, "intermediates": list(changes)}
    tables.write_tables(
        {**shared, "cells": cells, "headline_variants": {}, "root": str(folder), "output": str(folder / "tables")}
    )
    places = {"tables": str(folder / "tables"), "output": str(folder / "figures")}
    return {**shared, **places, "formats": ["svg"], "delta_range": None}


SMALL = {
    "none": {"xnli": 0.0, "xquad": 0.0, "tatoeba": 0.0},
    "mnli": {"xnli": 1.5, "xquad": -2.0, "tatoeba": 31.0},
    "qqp": {"xnli": 0.5, "tatoeba": 20.0},
}


def texts(folder: Path, name: str) -> str:
    return (folder / "figures" / name).read_text(encoding="utf-8")


def test_the_figures_say_what_the_tables_say(tmp_path: Path) -> None:
    figures.write_figures(draw(tmp_path, SMALL))
    deltas = texts(tmp_path, "deltas-dev.svg")
    for said in ("+1.5", "−2.0", "+31.0", "xquad†", "tatoeba†", "no dev split", "mean F1/EM", "no result", "60.0"):
        assert f">{said}" in deltas or said in deltas.replace("\n", " "), said
    # averages of mnli: (1.5 - 2 + 31) / 3 and (1.5 - 2) / 2; of qqp, which lacks XQuAD: (0.5 + 20) / 2 and 0.5
    for said in ("+10.2<", "−0.2<", "+10.2*", "+0.5*"):
        assert said in deltas, said
    assert "xquad†" not in texts(tmp_path, "deltas-test.svg")
    languages = texts(tmp_path, "per-language-dev.svg")
    for said in (">sw<", ">Niger-Congo<", ">Indo-European<", ">−2.0<", ">31<", ">60<"):
        assert said in languages, said
    record = json.loads(texts(tmp_path, "record.json"))
    names = [f"{kind}-{split}.svg" for split in ("dev", "test") for kind in ("deltas", "per-language")]
    assert record["figures"] == names


@pytest.mark.slow
def test_two_drawings_are_the_same_bytes(tmp_path: Path) -> None:
    job = {**draw(tmp_path, {"none": {"xnli": 0.0}, "mnli": {"xnli": 1.5}}), "formats": ["svg", "png"]}
    names = [f"{kind}-{split}.{suffix}" for kind in ("deltas", "per-language") for split in ("dev", "test")
             for suffix in ("svg", "png")]  # fmt: skip
    figures.write_figures(job)
    first = {name: (tmp_path / "figures" / name).read_bytes() for name in names}
    figures.write_figures({**job, "output": str(tmp_path / "again")})
    assert first == {name: (tmp_path / "again" / name).read_bytes() for name in names}


def test_without_a_baseline_the_figures_show_scores(tmp_path: Path) -> None:
    figures.write_figures(draw(tmp_path, {"mnli": {"xnli": 1.5}}))
    svg = texts(tmp_path, "deltas-test.svg")
    assert "Score by intermediate task" in svg
    assert ">61.5<" in svg
    assert "change against" not in svg


def view(delta_range: float | None) -> figures.View:
    return figures.View("dev", ("none", "mnli"), ["xnli", "tatoeba"], [], delta_range)


def test_scale_leaves_retrieval_out() -> None:
    grids = [("xnli", np.array([[60.0], [-2.5]])), ("tatoeba", np.array([[30.0], [50.0]]))]
    assert view(None).norm(grids).vmax == 3.0
    assert view(8.0).norm(grids).vmin == -8.0
    assert view(None).norm(grids[1:]).vmax == 50.0


@pytest.mark.parametrize(("colour", "text"), [("white", "black"), ("#053061", "white"), ("#67001f", "white")])
def test_text_contrasts(colour: str, text: str) -> None:
    assert page.readable(colour) == text


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (-0.04, "+.1f", "0.0"),
        (0.04, "+.1f", "0.0"),
        (-1.26, "+.1f", "−1.3"),
        (2.0, "+.1f", "+2.0"),
        (np.nan, ".1f", ""),
    ],
)
def test_numbers(value: float, form: str, text: str) -> None:
    assert tables.number(value, form) == text


def overlaps(drawn: page.Page) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes share more than a pixel's rim, and texts that leave the page."""
    canvas = FigureCanvasAgg(drawn.figure)
    canvas.draw()
    found = [t for t in drawn.figure.findobj(Text) if isinstance(t, Text) and t.get_text() and t.get_visible()]
    boxes = np.array([t.get_window_extent().extents for t in found])
    names = [t.get_text() for t in found]
    width, height = canvas.get_width_height()
    outside = (boxes[:, :2].min(axis=1) < 0) | (boxes[:, 2] > width) | (boxes[:, 3] > height)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2]) + 1
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - 1
    pairs = np.argwhere(np.triu((low < high).all(axis=2), k=1))
    return [(names[k], names[m]) for k, m in pairs] + [(names[k], "page") for k in np.flatnonzero(outside)]


@pytest.mark.parametrize("wide", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_nothing_overlaps(tmp_path: Path, wide: bool) -> None:
    every = {target: config.xtreme_languages()[target] for target in METRICS} if wide else LANGUAGES
    row = {"xnli": -12.3, "xquad": -2.0, "panx": 10.5, "tatoeba": -31.0}
    job = draw(tmp_path, {"none": dict.fromkeys(METRICS, 0.0), "commonsenseqa": row}, every)
    with mpl.rc_context(page.STYLE):
        found = {name: overlaps(drawn) for name, drawn in figures._pages(job)}
    assert found == {f"{kind}-{split}": [] for split in ("dev", "test") for kind in ("deltas", "per-language")}


def test_the_terminal_shows_the_same(tmp_path: Path) -> None:
    draw(tmp_path, SMALL)
    dev, test = terminal.matrix_text(tmp_path / "tables", 80).split("\n\n")
    lines = dev.splitlines()
    assert [line.split() for line in lines[1:6]] == [
        ["xnli", "xquad†", "tatoeba†", "avg", "w/o", "retr."],
        ["none", "60.0", "60.0", "60.0", "60.0", "60.0"],
        ["─" * len(lines[1])],
        ["mnli", "+1.5", "−2.0", "+31.0", "+10.2", "−0.2"],
        ["qqp", "+0.5", "–", "+20.0", "+10.2*", "+0.5*"],
    ]
    assert {len(line.rstrip("*")) for line in lines[1:6]} <= {len(lines[1]), len(lines[1]) - 1}
    assert test.startswith("tiny, test")


@pytest.mark.parametrize("width", [20, 40, 60])
def test_the_terminal_keeps_its_width(tmp_path: Path, width: int) -> None:
    draw(tmp_path, SMALL)
    lines = terminal.matrix_text(tmp_path / "tables", width).splitlines()
    rules = [line for line in lines if line.startswith("─")]
    grid = [line for line in lines if line.startswith(("none", "mnli", "qqp", "─"))]
    assert max(map(len, grid)) <= width
    assert len(rules) == 2 * {20: 3, 40: 2, 60: 1}[width]
    assert all(a.startswith("none") for a, b in pairwise(lines) if b.startswith("─"))


def test_where_there_is_no_terminal_the_matrix_is_a_hundred_wide(tmp_path: Path) -> None:
    draw(tmp_path, SMALL)
    stream = io.StringIO()
    terminal.show(tmp_path / "tables", stream)
    assert stream.getvalue() == terminal.matrix_text(tmp_path / "tables", 100) + "\n"
