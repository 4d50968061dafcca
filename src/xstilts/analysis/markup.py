"""Pieces of a self-contained HTML page: tables that scroll on narrow screens, heat maps, and drawings with alt texts.

Blue is a gain and red a loss (the ends of ColorBrewer's RdBu), a pair that colour-blind readers tell apart; every
coloured cell also bears its number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from xstilts.analysis.tables import number

LOSS, MIDDLE, GAIN = (178, 24, 43), (247, 247, 247), (33, 102, 172)

STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#1a1a1a;background:#fff;margin:0 auto;max-width:76rem}
body{padding:1rem}h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.3rem;margin:2.2rem 0 .5rem;border-bottom:1px solid #bbb}
h3{font-size:1.05rem;margin:1.4rem 0 .3rem}p,li{max-width:70ch}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;list-style:none}
a{color:#1a4f8b}.quiet{color:#555}.answer{border-left:4px solid #2166ac;padding:.2rem .8rem;background:#f4f7fa}
.wide{overflow-x:auto;margin:.5rem 0 1rem}.wide:focus{outline:2px solid #2166ac}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:#333;padding:.2rem 0;position:sticky;left:0;max-width:min(70ch,calc(100vw - 2rem))}
th,td{padding:.18rem .45rem;text-align:right;white-space:nowrap;border-bottom:1px solid #e2e2e2}
th{font-weight:600;vertical-align:bottom}tbody th,th.text,td.text{text-align:left}
tbody th,tbody td{vertical-align:baseline}
tbody th{position:sticky;left:0;background:#fff;font-weight:400}
tr.block th,tr.block td{font-weight:600;border-top:1px solid #888}
.heat{font-size:.72rem}.heat td{padding:.15rem .25rem;text-align:center;border:1px solid #fff}
.heat th.family{text-align:center;border-left:1px solid #888;font-weight:400}
td.text{white-space:normal;min-width:6rem;max-width:50ch}td.none{color:#777}figure{margin:.5rem 0 1rem;overflow-x:auto}
figcaption{color:#333;max-width:70ch}svg{max-width:100%;height:auto}
svg text{font-family:inherit}details{margin:.4rem 0}summary{cursor:pointer}
@media screen and (max-width:50rem){svg{max-width:none}}
@media print{@page{size:A4 landscape;margin:12mm}body{font-size:10pt;max-width:none;padding:0}nav{display:none}
.wide{overflow:visible}tbody th{position:static}.heat{font-size:5.6pt}.heat td,.heat th{padding:.4pt 1.2pt}
figure,tr,h3{break-inside:avoid}h2,h3{break-after:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text and, in a heat map, its place on the scale from -1 to 1."""

    text: str
    shade: float | None = None
    left: bool = False

    def html(self) -> str:
        """The `td` element."""
        if self.shade is not None and not math.isnan(self.shade):
            return f'<td style="{_paint(self.shade)}">{escape(self.text)}</td>'
        kind = ' class="text"' if self.left else ' class="none"' if not self.text else ""
        return f"<td{kind}>{escape(self.text or '–')}</td>"


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, its cells, and whether it begins a block."""

    name: str
    cells: Sequence[Cell] = field(default_factory=list)
    block: bool = False

    def html(self, columns: int) -> str:
        """The `tr` element."""
        if self.block:
            return f'<tr class="block"><th scope="rowgroup">{escape(self.name)}</th><td colspan="{columns}"></td></tr>'
        return f'<tr><th scope="row">{escape(self.name)}</th>{"".join(cell.html() for cell in self.cells)}</tr>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Row], groups: Sequence[tuple[str, int]] = ()) -> str:
    """A table in a box that scrolls where it is too wide.

    Args:
        caption: what it shows.
        heads: names of the columns, the rows' own name first.
        rows: its rows.
        groups: names over runs of columns with their lengths (families of languages); makes it a heat map.
    """
    rows = list(rows)
    left = [0, *(k for row in rows[:2] for k, cell in enumerate(row.cells, start=1) if cell.left)]
    over = "".join(f'<th class="family" scope="colgroup" colspan="{n}">{escape(name)}</th>' for name, n in groups)
    first = f"<tr><td></td>{over}</tr>" if groups else ""
    named = "".join(
        f'<th scope="col"{" class=text" if place in left else ""}>{escape(head)}</th>'
        for place, head in enumerate(heads)
    )
    body = "".join(row.html(len(heads) - 1) for row in rows)
    kind = ' class="heat"' if groups else ""
    parts = f"<caption>{escape(caption)}</caption><thead>{first}<tr>{named}</tr></thead><tbody>{body}</tbody>"
    box = f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption, quote=True)}">'
    return f"{box}<table{kind}>{parts}</table></div>"


def drawing(alt: str, width: float, height: float, shapes: Iterable[str], caption: str = "") -> str:
    """A figure in SVG, measured in its own units, with a text for those who do not see it."""
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(alt, quote=True)}">'
    )
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{head}<title>{escape(alt)}</title>{''.join(shapes)}</svg>{below}</figure>"


def text(x: float, y: float, content: str, anchor: str = "start", size: float = 11, fill: str = "#1a1a1a") -> str:
    """A text of a drawing."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}"'
    return f"<text {place}>{escape(content)}</text>"


def line(x1: float, y1: float, x2: float, y2: float, colour: str = "#888", width: float = 1) -> str:
    """A straight line of a drawing."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _paint(shade: float) -> str:
    """Background and, whichever has more contrast (WCAG 2: relative luminance), black or white text."""
    end, share = (GAIN if shade > 0 else LOSS), min(1.0, abs(shade))
    channels = [round(m + (e - m) * share) for m, e in zip(MIDDLE, end, strict=True)]
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    ink = "#fff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000"
    return f"background:rgb({','.join(map(str, channels))});color:{ink}"


def interval(row: Mapping[str, Any], value: str = "delta", low: str = "low", high: str = "high") -> str:
    """`+1.2 [−0.3, +2.7]`; nothing where there is no value."""
    if math.isnan(row[value]):
        return ""
    ends = ", ".join(number(row[end], "+.1f") for end in (low, high))
    return f"{number(row[value], '+.1f')} [{ends}]"


def page(title: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """The whole document.

    Args:
        title: its heading.
        sections: anchor, heading and content of each.
    """
    links = "".join(f'<li><a href="#{anchor}">{escape(head)}</a></li>' for anchor, head, _ in sections)
    parts = "".join(
        f'<section id="{anchor}"><h2>{escape(head)}</h2>{content}</section>' for anchor, head, content in sections
    )
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    # An empty icon keeps browsers from asking for one.
    head += '<link rel="icon" href="data:,">'
    top = f'<header><h1>{escape(title)}</h1></header><nav aria-label="Contents"><ul>{links}</ul></nav>'
    body = f"{top}<main>{parts}</main>"
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
