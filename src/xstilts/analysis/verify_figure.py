"""Published numbers with their tolerances, and beside each the study's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xstilts.analysis import tables, verify
from xstilts.analysis.page import COLOURS, QUIET, STYLE, save

if TYPE_CHECKING:
    from xstilts.analysis.verify import Check

_COLUMN, _PANEL, _EDGE, _HEAD = 0.32, 2.4, 1.6, 0.9  # inches: a number, a panel, both margins, the heading
_METRICS = {"f1": "F1", "exact_match": "EM"}


def draw(checks: Sequence[Check], verdicts: Mapping[str, Any], name: str, path: Path) -> None:
    """One panel for each backbone and, where numbers are by language, each target."""
    panels = [(key, list(group)) for key, group in groupby(checks, key=_panel)]
    widest = max((len(group) for _, group in panels), default=1)
    size = (max(widest * _COLUMN + _EDGE, 7.0), len(panels) * _PANEL + _HEAD)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        lines = [f"{backbone}: {verify.line(entry)}" for backbone, entry in verdicts.items()]
        figure.suptitle("\n".join([name, *lines]), fontsize=9, x=0.01, ha="left")
        figure.supxlabel("hollow: published, with tolerance; blue: within it; red: not", fontsize=7.5, color=QUIET)
        for place, (key, group) in enumerate(panels, start=1):
            _draw_panel(figure.add_subplot(len(panels), 1, place), " · ".join(key), group)
        save(figure, path)


def _panel(check: Check) -> tuple[str, ...]:
    return (check.backbone,) if check.language == tables.AVERAGE else (check.backbone, check.target)


def _label(check: Check) -> str:
    if check.language != tables.AVERAGE:
        return check.language
    return f"{check.target}\n{_METRICS.get(check.metric, check.metric)}"


def _draw_panel(axes: Axes, title: str, checks: Sequence[Check]) -> None:
    bars = [_points(check) for check in checks]
    places = range(len(checks))
    published = [check.published for check in checks]
    axes.errorbar(places, published, bars, fmt="o", mfc="white", color="black", ms=5, lw=0.8, capsize=3)
    for place, check in enumerate(checks):
        if check.value is not None:
            colour = COLOURS(0.95 if check.verdict == "within" else 0.05)
            axes.plot(place, check.value, "o", color=colour, ms=3.5)
    axes.set_xticks(places, [_label(check) for check in checks], fontsize=7)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel("percent", fontsize=8)
    axes.set_ylim(-3, 103)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _points(check: Check) -> float:
    """The tolerance in points."""
    return check.tolerance * 100 / check.n if check.unit == "sentences" and check.n else check.tolerance
