"""The report's drawings: average changes with their intervals, and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xstilts.analysis.markup import drawing, line, text
from xstilts.analysis.tables import number

_BLUE, _RED, _GREY = "#2166ac", "#b2182b", "#888888"
_WIDTH, _PANEL = 760.0, 240.0
_NARROW = 440.0  # a telephone's page

Interval = tuple[str, float, float, float]  # name, value, ends
Curve = Sequence[tuple[float, float]]


def forest(intervals: Sequence[Interval], alt: str, caption: str) -> str:
    """One line for each change: its interval and a dot at its value; left of 0 red, right of it blue."""
    ends = [end for _, _, low, high in intervals for end in (low, high)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    left, width = 135.0, _NARROW - 135 - 115
    scale = width / (high - low or 1)

    def at(value: float) -> float:
        return left + (value - low) * scale

    height = 22.0 * len(intervals) + 34
    shapes = [line(at(0), 6, at(0), height - 24, "#444"), text(at(0), height - 8, "0 points", "middle")]
    for place, (name, value, start, stop) in enumerate(intervals):
        y, colour = 18 + 22.0 * place, _BLUE if value > 0 else _RED
        shapes += [text(left - 10, y + 4, name, "end"), line(at(start), y, at(stop), y, colour, 2)]
        shapes.append(f'<circle cx="{at(value):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        ends_text = f"{number(value, '+.1f')} [{number(start, '+.1f')}, {number(stop, '+.1f')}]"
        shapes.append(text(left + width + 8, y + 4, ends_text, size=10))
    return drawing(alt, _NARROW, height, shapes, caption)


def curves(panels: Mapping[str, Mapping[str, Curve]], alt: str, caption: str) -> str:
    """A panel for each training, a line for each run: loss (upwards, from 0) over steps; runs from `none` are black."""
    across = int(_WIDTH // _PANEL)
    height = 150.0 * -(-len(panels) // across)
    shapes: list[str] = []
    for place, (name, runs) in enumerate(panels.items()):
        left, top = _PANEL * (place % across), 150.0 * (place // across)
        shapes += _panel(name, runs, left + 34, top + 22)
    return drawing(alt, _WIDTH, height, shapes, caption)


def _panel(name: str, runs: Mapping[str, Curve], left: float, top: float) -> list[str]:
    width, height = _PANEL - 60, 96.0
    points = [point for curve in runs.values() for point in curve]
    last, most = max(x for x, _ in points), max(y for _, y in points) or 1.0
    shapes = [text(left, top - 7, name, size=11), line(left, top + height, left + width, top + height)]
    shapes += [line(left, top, left, top + height), text(left - 4, top + 8, f"{most:.2g}", "end", 9)]
    shapes += [
        text(left - 4, top + height, "0", "end", 9),
        text(left + width, top + height + 12, f"{last:g}", "end", 9),
    ]
    for run, curve in sorted(runs.items(), key=lambda item: item[0].startswith("none")):
        places = " ".join(f"{left + width * x / last:.1f},{top + height * (1 - y / most):.1f}" for x, y in curve)
        colour, weight = ("#000", 1.4) if run.startswith("none") else (_BLUE, 0.8)
        shapes.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{weight}"/>')
    return shapes


def scale(end: float, alt: str) -> str:
    """The colours of a heat map from -end to +end points."""
    stops = '<stop offset="0" stop-color="rgb(178,24,43)"/><stop offset=".5" stop-color="rgb(247,247,247)"/>'
    stops += '<stop offset="1" stop-color="rgb(33,102,172)"/>'
    bar = f'<defs><linearGradient id="rdbu">{stops}</linearGradient></defs>'
    bar += '<rect x="30" y="4" width="180" height="12" fill="url(#rdbu)"/>'
    ends = [text(26, 14, number(-end, ".0f"), "end", 10), text(214, 14, f"+{end:.0f} points", size=10)]
    return drawing(alt, 300, 20, [bar, *ends])
