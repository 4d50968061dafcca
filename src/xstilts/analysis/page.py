"""A page measured in inches, so that nothing on it overlaps whatever the size of the study.

Blue is a gain and red a loss, a pair that colour-blind readers tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "xstilts",
    "hatch.linewidth": 0.4,
}
COLOURS = mpl.colormaps["RdBu"]
QUIET, PALE = "0.4", "0.93"
MARGIN, TOP, FOOT = 0.25, 0.75, 0.7
_NARROWEST = 6.5


@dataclass(frozen=True)
class Box:
    """Place (left, top), size in inches, and font size of a cell."""

    x: float
    y: float
    width: float
    height: float
    size: float


class Page:
    """A figure with a heading and a footer; coordinates are inches from its top left corner."""

    def __init__(self, width: float, height: float, title: str, subtitle: str) -> None:
        self.width, self.height = max(width, _NARROWEST), height
        self.figure = Figure(figsize=(self.width, self.height))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        self.axes.axis("off")
        self.text(MARGIN, 0.3, title, 12, weight="bold")
        self.text(MARGIN, 0.54, subtitle, 8.5, color=QUIET)

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Text at a point, left-aligned and vertically centred unless `style` says otherwise."""
        self.axes.text(x, y, text, fontsize=size, **{"va": "center", **style})

    def title(self, x: float, y: float, text: str, quiet: str) -> None:
        """A panel's title and, behind it on the same line, what it measures."""
        bold = self.axes.text(x, y, text, fontsize=9, weight="bold", va="center")
        style: Any = {"fontsize": 7.5, "color": QUIET, "va": "bottom"}
        self.axes.annotate(quiet, (1, 0), (5, 0), xycoords=bold, textcoords="offset points", **style)

    def line(self, start: float, end: float, y: float) -> None:
        """A thin horizontal line."""
        self.axes.plot([start, end], [y, y], color=QUIET, linewidth=0.7)

    def cell(self, box: Box, colour: Any, text: str) -> None:
        """A coloured cell with its number; without a number it is hatched."""
        style = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.6}
        if not text:
            style = {"facecolor": "white", "edgecolor": "0.65", "linewidth": 0, "hatch": "//////"}
        self.axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, **style))
        middle = (box.x + box.width / 2, box.y + box.height / 2)
        self.text(*middle, text, box.size, ha="center", color=readable(colour))

    def footer(self, norm: Normalize | None, beyond: bool, notes: Iterable[str]) -> None:
        """The colour scale, pointed if there are changes beyond it, and notes on the marks; without a scale, notes."""
        x, y = MARGIN, self.height - 0.55
        if norm is not None:
            place = (x / self.width, 1 - (y + 0.12) / self.height, 2.2 / self.width, 0.12 / self.height)
            scale, axes = ScalarMappable(norm, COLOURS), self.figure.add_axes(place)
            extend: Any = "both" if beyond else "neither"
            bar = self.figure.colorbar(scale, axes, orientation="horizontal", extend=extend)
            bar.ax.tick_params(labelsize=7, length=2)
            x += 2.35
            self.text(x, y + 0.06, "change against none, percentage points", 7.5)
        self.text(x, y + 0.25, "     ".join(notes), 7.5, color=QUIET)

    def save(self, path: Path) -> None:
        """Write it as the suffix says."""
        save(self.figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, PNG at 200 dpi; without date or version, so that equal figures are equal bytes."""
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, dpi=200, metadata=metadata)


def readable(colour: Any) -> str:
    """Black or white, whichever has more contrast to the colour (WCAG 2: relative luminance)."""
    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def text_width(texts: Iterable[str], size: float) -> float:
    """Width in inches of the widest text."""
    return max((_width(text, size) for text in texts), default=0) / 72


@cache
def _width(text: str, size: float) -> float:
    """Width in points; the same names stand on every figure."""
    return float(TextPath((0, 0), text, size).get_extents().width)
