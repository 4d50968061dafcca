"""Figures from the tables: what each intermediate changes, by target and by language.

The colour scale is centred at 0 and shared by a whole figure. As every cell carries its number, a change beyond the
ends of the scale loses nothing by its saturated colour. A study without `none` has no changes: its figures show scores.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from xstilts import files, languages, provenance, tasks
from xstilts.analysis import tables
from xstilts.analysis.page import COLOURS, FOOT, MARGIN, PALE, QUIET, STYLE, TOP, Box, Page, text_width
from xstilts.analysis.publish import publish

_METRICS = {"f1": "F1", "exact_match": "EM"}
_AVERAGES = {"avg": "all targets", "avg_without_retrieval": "w/o retrieval"}
_SCORE = "none (score)"
_BORROWED, _MISSING = "† no dev split: test values", "hatched: no result"

# inches; deltas: cell, row, gap below the baseline, gap before the averages, head of a section
_TILE, _TIER, _BELOW, _BREAK, _SECTION = 0.76, 0.3, 0.1, 0.12, 0.75
# by language: cell, row, gap below the baseline, gap between panels, name of a backbone
_CELL, _ROW, _STEP, _GAP, _NAME = 0.27, 0.17, 0.04, 0.3, 0.3

Values = NDArray[np.float64]


def make(job: dict[str, Any]) -> None:
    """The step `figures`: figures in `job["figures"]`, the receipt in `job["output"]`."""
    publish(write_figures, job, Path(job["figures"]))


def write_figures(job: Mapping[str, Any]) -> None:
    """Write `deltas-<split>` and `per-language-<split>` in each format, then record.json.

    Args:
        job: `name`, `digest`, `plan`; `tables`: their directory; `formats`: of `svg` (text stays text) and `png`
            (200 dpi); `delta_range`: ends of the colour scale in points, None: from the data; `targets` and
            `intermediates` in the study's order; `output`: directory of the figures.
    """
    started, written = time.time(), []
    with mpl.rc_context(STYLE), files.staged(Path(job["output"])) as directory:
        for name, page in _pages(job):
            for suffix in job["formats"]:
                page.save(directory / f"{name}.{suffix}")
                written.append(f"{name}.{suffix}")
        files.write_json(directory / files.RECORD, provenance.record(dict(job), started, figures=written))


def _pages(job: Mapping[str, Any]) -> Iterator[tuple[str, Page]]:
    whole, changes, rows = (tables.read(Path(job["tables"]), name) for name in tables.NAMES[1:])
    for split in tables.SPLITS:
        part = whole[whole["split"] == split]
        borrowed = " ".join(part["dev_is_test"].dropna().unique()).split()
        view = View(split, tuple(job["intermediates"]), job["targets"], borrowed, job["delta_range"])
        yield f"deltas-{split}", delta_page(view, part, changes[changes["split"] == split])
        yield f"per-language-{split}", language_page(view, rows)


@dataclass(frozen=True)
class View:
    """What a figure shows: a split, the intermediates and targets, and the targets that lend test values to dev."""

    split: str
    intermediates: tuple[str, ...]
    targets: Sequence[str]
    borrowed: Sequence[str]
    delta_range: float | None

    @property
    def compared(self) -> bool:
        """Is there a baseline to compare with?"""
        return tables.BASELINE in self.intermediates

    @property
    def rows(self) -> list[str]:
        """The intermediates in order, the baseline first."""
        return sorted(self.intermediates, key=lambda name: name != tables.BASELINE)

    @property
    def scored(self) -> int:
        """How many rows, from the top, show scores; the others show changes."""
        return 1 if self.compared else len(self.rows)

    def shown(self, scores: pd.DataFrame, changes: pd.DataFrame, columns: Sequence[str]) -> Values:
        """Rows x columns as the figure shows them, from two tables indexed by intermediate; NaN where one has none."""
        top, below = (t.reindex(index=self.rows, columns=list(columns)).to_numpy(float) for t in (scores, changes))
        return np.concatenate([top[: self.scored], below[self.scored :]])

    def label(self, target: str) -> str:
        """The target's name, marked if its dev values are test values."""
        return f"{target}†" if target in self.borrowed else target

    def norm(self, grids: Iterable[tuple[str, Values]]) -> Normalize:
        """The shared scale for what (target, grid) show; unless given, it ends at the 95th percentile of all changes.

        Retrieval is left out of it: it moves by tens of points where the other targets move by one or two, and on its
        scale those would be blank.
        """
        changes = [(target, np.abs(grid[self.scored :]).ravel()) for target, grid in grids]
        trained = [values for target, values in changes if tasks.get(target).kind != "retrieval"]
        pool = np.concatenate(trained or [values for _, values in changes])
        end = float(np.ceil(np.nanquantile(pool, 0.95))) if np.isfinite(pool).any() else 1.0
        end = self.delta_range or max(end, 1.0)
        return Normalize(-end, end)

    def paint(self, norm: Normalize, row: int, value: float) -> Any:
        """The colour of a cell: scores are pale."""
        return PALE if row < self.scored else COLOURS(norm(value))

    def page(self, size: tuple[float, float], what: str, over: str) -> Page:
        """An empty page of that width and height between heading and footer."""
        title = f"{'Change' if self.compared else 'Score'} by {what}"
        return Page(size[0] + 2 * MARGIN, TOP + size[1] + FOOT, title, f"{self.split}: mean over {over}")

    def finish(self, page: Page, norm: Normalize, grids: Sequence[Values], missing: str) -> Page:
        """Add the footer: the scale where there are changes, and what the marks mean."""
        beyond = any(np.nanmax(np.abs(grid[self.scored :]), initial=0) > (norm.vmax or 0) for grid in grids)
        notes = [_BORROWED] * bool(self.borrowed) + [missing] * any(np.isnan(grid).any() for grid in grids)
        page.footer(norm if self.compared else None, beyond, notes)
        return page

    def name_rows(self, page: Page, right: float, places: Iterable[float], size: float) -> None:
        """The names of the rows, right-aligned at `right`, each at its height."""
        for name, y in zip(self.labels, places, strict=True):
            page.text(right, y, name, size, ha="right")

    @property
    def labels(self) -> list[str]:
        """The names of the rows as the figure shows them."""
        return [_SCORE if self.compared and name == tables.BASELINE else name for name in self.rows]


def delta_page(view: View, whole: pd.DataFrame, changes: pd.DataFrame) -> Page:
    """Rows intermediates, columns targets and averages, a section for each backbone: scores of `none` above changes.

    Args:
        view: the split and the orders.
        whole: the split's part of the matrix.
        changes: the split's part of the deltas; a row or value that is not there is drawn as missing.
    """
    columns = [*view.targets, *tables.AVERAGES]
    grids = {}
    for backbone, scores in whole.groupby("backbone", sort=False):
        own = changes[changes["backbone"] == backbone]
        grids[str(backbone)] = view.shown(scores.set_index("intermediate"), own.set_index("intermediate"), columns)
    norm = view.norm((target, grid[:, [k]]) for grid in grids.values() for k, target in enumerate(view.targets))
    left, height = text_width(view.labels, 9) + 0.1, _SECTION + _TIER * len(view.rows) + _BELOW + _GAP
    page = view.page(
        (left + _TILE * len(columns) + _BREAK, height * len(grids)), "intermediate task", "languages and seeds"
    )
    for k, (backbone, grid) in enumerate(grids.items()):
        _section(page, view, backbone, grid, norm, (MARGIN + left, TOP + height * k))
    return view.finish(page, norm, list(grids.values()), f"{_MISSING}, * averages without it")


def _section(page: Page, view: View, backbone: str, grid: Values, norm: Normalize, place: tuple[float, float]) -> None:
    """One backbone of the delta figure."""
    left, top = place
    page.title(MARGIN, top + 0.1, backbone, "")
    tops = [top + _SECTION + _TIER * k + _BELOW * (k >= view.scored) for k in range(len(grid))]
    view.name_rows(page, left - 0.1, [y + _TIER / 2 for y in tops], 9)
    for k, name in enumerate([*view.targets, *tables.AVERAGES]):
        x = left + _TILE * k + _BREAK * (name in _AVERAGES)
        head = ("average", _AVERAGES[name]) if name in _AVERAGES else (view.label(name), _metrics(name))
        page.text(x + _TILE / 2, top + _SECTION - 0.23, head[0], 9, ha="center", va="baseline", weight="bold")
        page.text(x + _TILE / 2, top + _SECTION - 0.08, head[1], 7, ha="center", va="baseline", color=QUIET)
        for row, (y, values) in enumerate(zip(tops, grid, strict=True)):
            text = tables.number(values[k], "+.1f" if row >= view.scored else ".1f")
            colour = view.paint(norm, row, values[k])
            page.cell(Box(x, y, _TILE, _TIER, 9), colour, text + _partial(text, name, view.targets, values))


def _partial(text: str, name: str, targets: Sequence[str], values: Values) -> str:
    """A mark behind an average over fewer targets than the study has."""
    averaged = tables.averaged(targets).get(name, [])
    return "*" if text and any(np.isnan(values[k]) for k, t in enumerate(targets) if t in averaged) else ""


@dataclass(frozen=True)
class Panel:
    """One target of one backbone in the figure by language.

    Attributes:
        target: its name; label: as the figure shows it.
        codes: its languages, family by family.
        grid: intermediates x languages, as shown.
    """

    target: str
    label: str
    codes: tuple[str, ...]
    grid: Values

    @property
    def width(self) -> float:
        """Inches, wide enough for the title."""
        return max(_CELL * len(self.codes), text_width([f"{self.label} {_metrics(self.target)}"], 9) + 0.1)

    @property
    def families(self) -> list[tuple[str, float, float]]:
        """Families of neighbouring languages, each with its start and end in inches."""
        runs = groupby(enumerate(self.codes), key=lambda pair: languages.table()[pair[1]].family)
        places = [(family, [k for k, _ in members]) for family, members in runs]
        return [(family, _CELL * ks[0] + 0.03, _CELL * (ks[-1] + 1) - 0.03) for family, ks in places]

    @property
    def head(self) -> float:
        """Inches above the cells: title, names of families (upwards where they do not fit), codes."""
        upwards = [family for family, start, end in self.families if text_width([family], 6.5) > end - start]
        return 0.5 + max(text_width(upwards, 6.5), 0.12)


@dataclass(frozen=True)
class Line:
    """Panels side by side; the first line of a backbone bears its name."""

    name: str
    panels: list[Panel]

    @property
    def head(self) -> float:
        """Inches above the cells."""
        return max(panel.head for panel in self.panels) + (_NAME if self.name else 0)

    @property
    def width(self) -> float:
        """Inches from the first panel's left to the last one's right."""
        return sum(panel.width + _GAP for panel in self.panels) - _GAP


def language_page(view: View, rows: pd.DataFrame) -> Page:
    """Every language of every target: a panel for each, languages grouped by family: scores of `none` above changes.

    Args:
        view: the split and the orders.
        rows: per_language.csv.
    """
    lines = [
        line for backbone, part in rows.groupby("backbone", sort=False) for line in _lines(view, str(backbone), part)
    ]
    grids = [(panel.target, panel.grid) for line in lines for panel in line.panels]
    norm = view.norm(grids)
    left, body = text_width(view.labels, 7.5) + 0.08, _ROW * len(view.rows) + _STEP + _GAP
    bottoms = list(accumulate(line.head + body for line in lines))
    page = view.page((left + max(line.width for line in lines), bottoms[-1]), "language", "seeds")
    for line, bottom in zip(lines, bottoms, strict=True):
        _draw_line(page, view, line, norm, (MARGIN + left, TOP + bottom - body))
    return view.finish(page, norm, [grid for _, grid in grids], _MISSING)


def _lines(view: View, backbone: str, rows: pd.DataFrame) -> Iterator[Line]:
    """A backbone's panels in order, as many side by side as fit the width of XTREME's 40 languages."""
    panels = [_panel(view, target, rows[rows["target"] == target]) for target in view.targets]
    line = Line(backbone, [])
    for panel in panels:
        if line.panels and line.width + _GAP + panel.width > 40 * _CELL:
            yield line
            line = Line("", [])
        line.panels.append(panel)
    yield line


def _panel(view: View, target: str, rows: pd.DataFrame) -> Panel:
    split = "test" if target in view.borrowed else view.split
    part = tables.headline(rows[(rows["split"] == split) & (rows["language"] != tables.AVERAGE)])
    codes = tuple(code for code in languages.table() if code in set(part["language"]))
    scores, changes = (part.pivot_table(index="intermediate", columns="language", values=v) for v in ("mean", "delta"))
    return Panel(target, view.label(target), codes, view.shown(scores, changes, codes))


def _draw_line(page: Page, view: View, line: Line, norm: Normalize, place: tuple[float, float]) -> None:
    """The panels of a line, their cells beginning at `place`, the names of the rows to the left of the first."""
    left, top = place
    tops = [top + _ROW * k + _STEP * (k >= view.scored) for k in range(len(view.rows))]
    page.title(MARGIN, top - line.head + 0.1, line.name, "")
    view.name_rows(page, left - 0.08, [y + _ROW / 2 for y in tops], 7.5)
    title = top - line.head + 0.1 + (_NAME if line.name else 0)
    for panel in line.panels:
        page.title(left, title, panel.label, _metrics(panel.target))
        _families(page, panel, left, top - 0.2)
        for k, code in enumerate(panel.codes):
            page.text(left + _CELL * (k + 0.5), top - 0.09, code, 7, ha="center")
            for row, value in enumerate(panel.grid[:, k]):
                text = _short(value) if row >= view.scored else tables.number(value, ".0f")
                page.cell(Box(left + _CELL * k, tops[row], _CELL, _ROW, 5.8), view.paint(norm, row, value), text)
        left += panel.width + _GAP


def _families(page: Page, panel: Panel, left: float, y: float) -> None:
    """A bracket over each family, named along or upwards as there is room."""
    for family, start, end in panel.families:
        page.line(left + start, left + end, y)
        rotation = 0 if text_width([family], 6.5) <= end - start else 90
        style = {"ha": "center", "va": "bottom", "rotation": rotation, "color": QUIET}
        page.text(left + (start + end) / 2, y - 0.04, family, 6.5, **style)


def _short(value: float) -> str:
    """A change in four characters at most: no plus, no decimals from ten on."""
    return tables.number(value, ".1f" if abs(value) < 9.95 else ".0f")


def _metrics(target: str) -> str:
    names = [_METRICS.get(metric, metric) for metric in tables.headline_metrics(target)]
    return names[0] if len(names) == 1 else f"mean {'/'.join(names)}"
