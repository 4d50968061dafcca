"""Published numbers, and with each the study's own."""

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
        figure.supxlabel(
            "hollow: published; blue: within the tolerance; red: not, with the difference (Tatoeba: in sentences)",
            fontsize=7.5,
            color=QUIET,
        )
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
    axes.plot([check.published for check in checks], "o", mfc="white", color="black", ms=6)
    for place, check in enumerate(checks):
        _draw_value(axes, place, check)
    axes.set_xticks(range(len(checks)), [_label(check) for check in checks], fontsize=7)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel("percent", fontsize=8)
    axes.set_ylim(-12, 112)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_value(axes: Axes, place: int, check: Check) -> None:
    """The study's number and, unless it is within the tolerance (finer than the axis shows), its difference."""
    if check.value is None or check.difference is None:
        return
    within = check.verdict == "within"
    axes.plot(place, check.value, "o", color=COLOURS(0.95 if within else 0.05), ms=3)
    if not within:
        text = tables.number(check.difference, "+.0f" if check.unit == "sentences" else "+.1f")
        below = check.value < check.published
        style: Any = {"ha": "center", "va": "top" if below else "bottom", "fontsize": 6, "color": QUIET}
        axes.annotate(text, (place, check.value), (0, -4 if below else 4), textcoords="offset points", **style)
