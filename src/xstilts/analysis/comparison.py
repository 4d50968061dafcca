"""The study's matrix in the layout of the paper's Table 2, and beside it what the paper printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from xstilts import tasks
from xstilts.analysis import published, tables
from xstilts.analysis.published import Published

SOURCE = "x-stilts-v1"
COLUMNS = ["backbone", "split", "measure", "block", "row", "target", "metric", "ours", "published", "corrected",
           "difference", "source", "table", "part", "note"]  # fmt: skip
BLOCKS = {
    ("none", False): "Baseline",
    ("single", False): "Without MLM",
    ("multi-task", False): "Without MLM",
    ("single", True): "With MLM",
    ("multi-task", True): "With MLM",
    ("translated", False): "Translated",
    ("translated", True): "Translated",
    ("external", False): "Other systems",
    ("control", False): "Controls",
    ("control", True): "Controls",
}
_PARTS = {"Without MLM": "without MLM", "With MLM": "with MLM"}
_MULTI = {"Without MLM": "multi-task (all but SQuAD)", "With MLM": "multi-task"}

Arms = Mapping[str, Mapping[str, Any]]
Values = dict[str, tuple[float, ...]]  # target or average: its headline metrics


@dataclass(frozen=True)
class Line:
    """A row of the paper's table: scores of the baseline, changes below; values by target in percent or points."""

    block: str
    name: str
    delta: bool
    values: Values

    def texts(self, columns: Sequence[str]) -> list[str]:
        """The cells, `76.1/60.0` where a target has two metrics, empty where there is no value."""
        form = "+.1f" if self.delta else ".1f"
        cells = [self.values.get(column, ()) for column in columns]
        return ["/".join(number for v in cell if (number := tables.number(v, form))) for cell in cells]


def block(arm: Mapping[str, Any]) -> str:
    """The part of the table in which an intermediate stands."""
    return BLOCKS[arm["block"], bool(arm["mlm"])]


def ours(directory: Any, backbone: str, split: str, arms: Arms) -> list[Line]:
    """The study's rows, block by block: averages over languages, means over seeds.

    Args:
        directory: of the tables.
        backbone, split: which part of them.
        arms: intermediates in the study's order, each with its `block` and `mlm`.
    """
    whole, changes, rows = (tables.read(directory, name) for name in ("matrix", "deltas", "per_language"))
    place = (whole["backbone"] == backbone) & (whole["split"] == split)
    borrowed = " ".join(whole[place]["dev_is_test"].dropna().unique()).split()
    rows = rows[(rows["backbone"] == backbone) & (rows["language"] == tables.AVERAGE)]
    compared = tables.BASELINE in arms
    order = list(dict.fromkeys(BLOCKS.values()))
    lines = []
    for name, arm in sorted(arms.items(), key=lambda item: order.index(block(item[1]))):
        delta = compared and name != tables.BASELINE
        own = rows[rows["intermediate"] == name]
        values = _values(own, tables.target_columns(whole), borrowed, split, "delta" if delta else "mean")
        averages = changes if delta else whole
        mine = averages[(averages["backbone"] == backbone) & (averages["split"] == split)]
        mine = mine[mine["intermediate"] == name]
        if values and len(mine):
            values |= {average: (float(mine.iloc[0][average]),) for average in tables.AVERAGES}
            lines.append(Line(block(arm), name, delta, values))
    return lines


def _values(rows: pd.DataFrame, targets: Iterable[str], borrowed: Sequence[str], split: str, column: str) -> Values:
    found: Values = {}
    for target in targets:
        where = "test" if target in borrowed else split
        own = rows[(rows["target"] == target) & (rows["split"] == where)].set_index("metric")[column]
        values = tuple(float(own.get(metric, math.nan)) for metric in tables.headline_metrics(target))
        if not any(map(math.isnan, values)):
            found[target] = values
    return found


@cache
def theirs(split: str) -> tuple[Line, ...]:
    """The printed rows of a split: of dev the baseline and the changes, of test the benchmark rows."""
    own = [n for n in published.numbers() if n.source.key == SOURCE and n.split == split]
    lines: dict[tuple[str, str], Line] = {}
    for number in own:
        name = _title(number)
        line = lines.setdefault((number.part, number.row), Line(name, number.row, number.measure == "delta", {}))
        line.values[number.target] = (*line.values.get(number.target, ()), number.value)
    return tuple(lines.values())


def notes(split: str) -> list[str]:
    """What a reader of the printed rows must know: of their parts, and of cells that cannot be right as printed."""
    own = [n for n in published.numbers() if n.source.key == SOURCE and n.split == split]
    parts = dict.fromkeys(f"{number.part}: {number.note}." for number in own if number.note)
    wrong = [n for n in own if n.corrected is not None]
    return [
        *parts,
        *(f"{n.part}, {n.row}: {n.target} is printed as {n.value:+g}; its cells give {n.corrected:+g}." for n in wrong),
    ]


def _title(number: Published) -> str:
    titles = {part: title for title, part in _PARTS.items()}
    return titles.get(number.part, "Baseline" if number.part == "baseline" else "XTREME benchmark scores")


def compared(lines: Sequence[Line], arms: Arms, backbone: str, split: str) -> Iterator[dict[str, Any]]:
    """Each number of the study that has a printed one, as COLUMNS name them; no number without its source."""
    for line in lines:
        for number in _printed(line, arms, split):
            metrics = tables.headline_metrics(number.target) if number.target in arms_targets(line) else ("avg",)
            values = line.values.get(number.target)
            if values is None or number.metric not in metrics:
                continue
            value = values[metrics.index(number.metric)]
            yield {
                "backbone": backbone, "split": split, "measure": number.measure, "block": line.block, "row": line.name,
                "target": number.target, "metric": number.metric, "ours": value, "published": number.value,
                "corrected": number.corrected, "difference": value - number.value,
                "source": f"{number.source.title}, {number.source.version}", "table": number.table,
                "part": number.part, "note": number.note,
            }  # fmt: skip


def arms_targets(line: Line) -> list[str]:
    """The targets of a row, without its averages."""
    return [name for name in line.values if name not in tables.AVERAGES]


def _printed(line: Line, arms: Arms, split: str) -> Iterator[Published]:
    """The printed numbers of the same intermediate; of test the authors' own baseline alone has a counterpart here."""
    arm = arms[line.name]
    row = arm["tasks"][0] if arm["block"] == "single" else _MULTI.get(line.block, "")
    for number in published.numbers():
        if number.source.key != SOURCE or number.split != split:
            continue
        baseline = not line.delta and number.row == ("XLM-R" if split == "dev" else "XLM-R (ours)")
        change = line.delta and number.part == _PARTS.get(line.block) and number.row == row
        if (baseline and arm["block"] == "none") or change:
            yield number


def protocol(about: Mapping[str, Any], backbone: str) -> list[str]:
    """In what the study differs from the published one, as far as its config says."""
    model, seeds = about["backbones"][backbone], about["seeds"]
    found = [
        "The published table is of the paper's first version: seven intermediate tasks; single numbers, no seeds, "
        "sequence length or optimiser stated. The final version's table is not available here."
    ]
    if model["model"] != "xlm-roberta-large":
        found.append(f"The backbone here is {model['model']}, there XLM-R Large: the numbers are not of one model.")
    if about["world"]:
        found.append("The data here are an invented world's: no number can be compared with a printed one.")
    if about["partial"]:
        found.append(f"Languages differ from XTREME's for {', '.join(about['partial'])}.")
    found.append(
        f"Each number here is a mean over {len(seeds)} seed{'s' * (len(seeds) != 1)}; recipe: {about['recipes'][0]}."
    )
    found.append(
        f"Retrieval here reads hidden_states[{model['retrieval_layer']}], {model['retrieval_length']} tokens; "
        "there the 13th layer, mean-pooled, length not stated."
    )
    if any(task == "tydiqa" for task in about["targets"]):
        found.append(
            "TyDiQA: the published column may rest on training questions in all nine languages; here English only."
        )
    return found


def markdown(lines: Sequence[Line], columns: Sequence[str], heading: str) -> str:
    """The table in Markdown, a row of its own for the name of each block."""
    rows = [f"| {heading} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for previous, line in zip([None, *lines], lines, strict=False):
        if previous is None or previous.block != line.block:
            rows.append(f"| **{line.block}** |{' |' * len(columns)}")
        rows.append(f"| {line.name} | {' | '.join(line.texts(columns))} |")
    return "\n".join(rows) + "\n"


def latex(lines: Sequence[Line], columns: Sequence[str], heading: str) -> str:
    """The table in LaTeX (booktabs)."""
    rows = [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule"]
    rows.append(" & ".join(map(_tex, [heading, *columns])) + r" \\")
    for previous, line in zip([None, *lines], lines, strict=False):
        if previous is None or previous.block != line.block:
            rows += [r"\midrule", rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textbf{{{_tex(line.block)}}}}} \\"]
        rows.append(" & ".join(map(_tex, [line.name, *line.texts(columns)])) + r" \\")
    return "\n".join([*rows, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("−", "$-$")


def columns_of(lines: Sequence[Line], targets: Sequence[str]) -> list[str]:
    """Targets that any row has, in the study's order, then the averages."""
    held = {name for line in lines for name in line.values}
    known = [t for t in targets if t in held] or [t for t in tasks.names() if t in held]
    return [*known, *(average for average in tables.AVERAGES if average in held)]
