"""The study on one self-contained page: what was asked, what came out, how sure it is, what it cost, what to beware of.

Everything is read from the tables, and from the records and logs of trainings where they still stand.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xstilts import files, history, languages, provenance
from xstilts.analysis import comparison, drawings, published, tables
from xstilts.analysis.comparison import Line
from xstilts.analysis.markup import Cell, Row, interval, page, table
from xstilts.analysis.origins import read_origins
from xstilts.analysis.publish import forget_others
from xstilts.analysis.resampling import smallest_p

LEVEL = 0.05
_MEASURES = {
    "avg": "average",
    "avg_without_retrieval": "average without retrieval",
    "avg_non_english": "average over other languages than English",
    "english_minus_others": "English minus the other languages",
}
_SHORT = {"avg_without_retrieval": "avg w/o retrieval"}
_PHASES = ("backbone", "intermediate", "finetune", "predict", "score")
_POINTS = 80  # of a learning curve


def make(job: dict[str, Any]) -> None:
    """The step `report`: report.html, main_table.md, main_table.tex and comparison.csv, then the receipt.

    Args:
        job: `name`, `digest`, `plan`; `about`: the study as the report tells of it; `tables`: their directory; `root`:
            the study's results; `steps`: name and folder of every training, prediction and scoring; `place`: directory
            of what is written; `output`: directory of the receipt.
    """
    started = time.time()
    forget_others(Path(job["output"]))
    made = Report(job)
    place = Path(job["place"])
    files.write_text(place / "main_table.md", "\n".join(made.exported(comparison.markdown)))
    files.write_text(place / "main_table.tex", "\n".join(made.exported(comparison.latex)))
    tables.write(place / "comparison.csv", pd.DataFrame(made.compared, columns=comparison.COLUMNS))
    files.write_text(place / "report.html", made.html())
    files.write_json(Path(job["output"]) / files.RECORD, provenance.record(job, started))


class Report:
    """The page's sections; each reads the tables it needs."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        named = {key: {entry["name"]: entry for entry in job["about"][key]} for key in ("backbones", "arms", "targets")}
        self.about: dict[str, Any] = {**job["about"], **named}
        self.root = Path(job["root"])
        self.steps = job["steps"]
        self.directory = Path(job["tables"])
        self.arms: comparison.Arms = self.about["arms"]
        self.backbones = list(self.about["backbones"])

    def _read(self, name: str) -> pd.DataFrame:
        return tables.read(self.directory, name)

    @cached_property
    def significance(self) -> pd.DataFrame:
        """significance.csv."""
        return self._read("significance")

    @cached_property
    def averages(self) -> pd.DataFrame:
        """averages.csv."""
        return self._read("averages")

    @cached_property
    def rows(self) -> pd.DataFrame:
        """per_language.csv."""
        return self._read("per_language")

    def html(self) -> str:
        """The document."""
        sections: list[tuple[str, str, Callable[[], Iterable[str]]]] = [
            ("question", "Question and answer", self.question),
            ("study", "The study", self.study),
            ("matrix", "The matrix", self.matrix),
            ("languages", "By language", self.by_language),
            ("averages", "Other averages", self.other_averages),
            ("selection", "Best models, chosen on dev", self.selection),
            ("comparison", "Beside the published table", self.comparison),
            ("curves", "Learning curves", self.curves),
            ("costs", "Costs", self.costs),
            ("provenance", "Provenance", self.provenance),
            ("caveats", "Caveats", self.caveats),
        ]
        found = [(anchor, head, "".join(content())) for anchor, head, content in sections]
        return page(f"Intermediate-task training: study {self.about['study']}", found)

    # --- what came out

    def question(self) -> Iterator[str]:
        """The question, and what the tables answer."""
        yield (
            "<p>Does training a multilingual model on an intermediate task, before it is fine-tuned on an English "
            "target task, help it in other languages?</p>"
        )
        for backbone in self.backbones:
            for split in ("test", "dev"):
                if sentences := list(self._answer(backbone, split)):
                    yield f'<div class="answer"><p><b>{escape(backbone)}, {split}.</b> {" ".join(sentences)}</p></div>'
                    break
        yield from self._forests()

    def _answer(self, backbone: str, split: str) -> Iterator[str]:
        own = _part(self.averages, backbone, split, measure="avg")
        own = own[own["delta"].notna()].sort_values("delta", ascending=False)
        roles = own["intermediate"].map(self._role)
        tried, controls = own[roles == "tried"], _records(own[roles == "control"])
        if tried.empty:
            return
        best, *_, worst = _records(tried) * 2
        yield f"Of {len(tried)} intermediates, {int((tried['delta'] > 0).sum())} raise the average over targets."
        yield f"The highest is {escape(best['intermediate'])}, {interval(best)} points against none;"
        yield f"the lowest {escape(worst['intermediate'])}, {interval(worst)}."
        for control in controls[:1]:
            above = int((tried["delta"] > control["delta"]).sum())
            yield f"The highest control is {escape(control['intermediate'])}, {interval(control)};"
            yield f"{above or 'no'} intermediate{'s are' if above > 1 else ' is'} above it."
        cells = _part(self.significance, backbone, split)
        cells = cells[cells["p"].notna()]
        found = cells[cells["p_holm"] <= LEVEL]
        least = float(cells["smallest_p"].min())
        yield f"{len(found)} of {len(cells)} cells differ from none at {LEVEL:g} after Holm's adjustment"
        yield f"(unit: pair of runs, n = {int(cells['pairs'].max())}, smallest p that so many can reach: {least:.3g})."
        if least * len(cells) > LEVEL:
            yield "With so few seeds no cell of this table could: read the intervals, and run more seeds."

    def _role(self, name: str) -> str:
        """What the answer counts a row as; another way to fine-tune an intermediate's checkpoint is neither."""
        arm = self.arms[name]
        if arm["block"] == tables.EXTERNAL or arm.get("like") not in (None, "none"):
            return ""
        return "control" if arm["block"] == "control" else "tried"

    def _forests(self) -> Iterator[str]:
        for backbone, split in ((b, s) for b in self.backbones for s in ("test", "dev")):
            own = _part(self.averages, backbone, split, measure="avg")
            own = own[own["delta"].notna()]
            if len(own):
                shown = [(r["intermediate"], r["delta"], r["low"], r["high"]) for r in _records(own)]
                alt = f"{backbone}, {split}: change of the average over targets against none, with 95 % intervals: "
                alt += "; ".join(f"{name} {value:+.1f} ({low:+.1f} to {high:+.1f})" for name, value, low, high in shown)
                caption = f"{backbone}, {split}: change of the average over targets against none, 95 % intervals."
                yield drawings.forest(shown, alt, caption)

    def study(self) -> Iterator[str]:
        """What the study consists of."""
        about = self.about
        seeds = ", ".join(map(str, about["seeds"]))
        yield f"<p>Recipe {escape(' ← '.join(about['recipes']))}; regime zero-shot; seeds {seeds}.</p>"
        models = [
            Row(
                name,
                [Cell(str(m[key] or "–"), left=True) for key in ("model", "revision", "retrieval_layer", "precision")],
            )
            for name, m in about["backbones"].items()
        ]
        yield table("Backbones", ["backbone", "model", "revision", "retrieval layer", "precision"], models)
        arms = [
            Row(name, [Cell(comparison.block(arm), left=True), Cell(_told(arm), left=True)])
            for name, arm in self.arms.items()
        ]
        yield table("Rows: what each intermediate trains on", ["intermediate", "part", "tasks"], arms)
        columns = [
            Row(
                name,
                [
                    Cell(t["train_set"] or "none", left=True),
                    Cell(str(len(t["languages"]))),
                    Cell(" ".join(t["languages"]), left=True),
                ],
            )
            for name, t in about["targets"].items()
        ]
        yield table("Columns: the targets", ["target", "fine-tuned on", "languages", "codes"], columns)

    def lines(self, backbone: str, split: str) -> list[Line]:
        """The main table's rows."""
        return comparison.ours(self.directory, backbone, split, self.arms)

    def matrix(self) -> Iterator[str]:
        """The main table of each backbone and split, with marks, and every cell's interval and test."""
        end = self._scale()
        yield "<p>Scores of none, below them changes against it in points; averages over languages, means over seeds. "
        yield f"* differs from none at {LEVEL:g} after Holm's adjustment within the table; † no dev part of its own: "
        yield "test values.</p>"
        yield drawings.scale(end, f"Colour scale: red is a loss, blue a gain, saturated at {end:.0f} points")
        for backbone, split in ((b, s) for b in self.backbones for s in ("test", "dev")):
            if lines := self.lines(backbone, split):
                yield self._main_table(backbone, split, lines, end)
                yield self._details(backbone, split)

    def _scale(self) -> float:
        """Points at which the colours end: what the config says, or the 95th percentile of the changes."""
        if self.about["delta_range"]:
            return float(self.about["delta_range"])
        changes = self.significance["delta"].abs().dropna()
        return max(1.0, float(np.ceil(np.quantile(changes, 0.95)))) if len(changes) else 1.0

    def _main_table(self, backbone: str, split: str, lines: Sequence[Line], end: float) -> str:
        columns = comparison.columns_of(lines, list(self.about["targets"]))
        borrowed = self._borrowed(backbone, split)
        marks = self._marked(backbone, split)
        rows: list[Row] = []
        for name, members in groupby(lines, key=lambda line: line.block):
            rows.append(Row(name, block=True))
            for line in members:
                cells = [
                    Cell(text + "*" * ((line.name, column) in marks), _shade(line, column, end))
                    for column, text in zip(columns, line.texts(columns), strict=True)
                ]
                rows.append(Row(line.name, cells))
        heads = [f"{column}†" if column in borrowed else _SHORT.get(column, column) for column in columns]
        return table(f"{backbone}, {split}", ["intermediate", *heads], rows)

    def _borrowed(self, backbone: str, split: str) -> list[str]:
        found = _part(self._read("matrix"), backbone, split)["dev_is_test"].dropna().unique()
        return " ".join(found).split()

    def _marked(self, backbone: str, split: str) -> set[tuple[str, str]]:
        own = _part(self.significance, backbone, split)
        own = own[own["p_holm"] <= LEVEL]
        return set(zip(own["intermediate"], own["target"], strict=True))

    def _details(self, backbone: str, split: str) -> str:
        """Every cell of a table with its spread, interval and test."""
        own = self.significance[(self.significance["backbone"] == backbone) & (self.significance["split"] == split)]
        rows = [Row(row["intermediate"], _tested(row)) for row in _records(own)]
        heads = ["intermediate", "target", "runs", "score", "sd", "change [95 %]", "n", "p", "least p", "p, Holm"]
        inner = table(f"{backbone}, {split}: every cell", heads, rows)
        summary = f"Every cell of {escape(backbone)}, {split}: spread, interval, test"
        return f"<details><summary>{summary}</summary>{inner}</details>"

    def by_language(self) -> Iterator[str]:
        """A heat map of every target: languages grouped by family."""
        end = self._scale()
        yield "<p>Scores of none, below them changes against it; languages by family. Test, means over seeds.</p>"
        for backbone, target in ((b, t) for b in self.backbones for t in self.about["targets"]):
            own = self.rows[(self.rows["backbone"] == backbone) & (self.rows["target"] == target)]
            split = "test" if (own["split"] == "test").any() else "dev"
            own = tables.headline(own[(own["split"] == split) & (own["language"] != tables.AVERAGE)])
            if len(own):
                yield self._heat(f"{target} ({backbone}, {split})", own, end)

    def _heat(self, caption: str, rows: pd.DataFrame, end: float) -> str:
        table_of = languages.table()
        codes = [code for code in table_of if code in set(rows["language"])]
        groups = [(family, len(list(group))) for family, group in groupby(codes, key=lambda c: table_of[c].family)]
        means, changes = (
            rows.pivot_table(index="intermediate", columns="language", values=value) for value in ("mean", "delta")
        )
        shown = []
        for name in (arm for arm in self.arms if arm in means.index):
            change = name != tables.BASELINE and name in changes.index
            values = [float((changes if change else means)[code].get(name, math.nan)) for code in codes]
            form = "+.1f" if change else ".1f"
            cells = [Cell(tables.number(v, form), v / end if change else None) for v in values]
            shown.append(Row(name, cells))
        return table(caption, ["intermediate", *codes], shown, groups)

    def other_averages(self) -> Iterator[str]:
        """Averages beside XTREME's, and retrieval at other layers."""
        yield "<p>Beside the average over all targets and languages; of dev over the targets that have a dev part.</p>"
        for backbone, split in ((b, s) for b in self.backbones for s in ("test", "dev")):
            own = self.averages[(self.averages["backbone"] == backbone) & (self.averages["split"] == split)]
            own = own[own["runs"] == "all"]
            if len(own):
                yield self._measures(f"{backbone}, {split}: score of none, change against it [95 %]", own)
        yield from self._retrieval()

    def _measures(self, caption: str, own: pd.DataFrame) -> str:
        measures = [measure for measure in _MEASURES if measure in set(own["measure"])]
        known = {(row["intermediate"], row["measure"]): row for row in _records(own)}
        rows = []
        for name in (arm for arm in self.arms if arm in set(own["intermediate"])):
            cells = [known.get((name, measure)) for measure in measures]
            texts = ["" if c is None else interval(c) or tables.number(float(c["value"])) for c in cells]
            rows.append(Row(name, [Cell(text) for text in texts]))
        return table(caption, ["intermediate", *(_MEASURES[m] for m in measures)], rows)

    def _retrieval(self) -> Iterator[str]:
        found = self._read("retrieval")
        for (backbone, target), own in found.groupby(["backbone", "target"], sort=False):
            kinds = list(dict.fromkeys(own["vectors"]))
            known = {(row["intermediate"], row["vectors"]): row for row in _records(own)}
            rows = []
            for name in (arm for arm in self.arms if arm in set(own["intermediate"])):
                cells = [known.get((name, kind)) for kind in kinds]
                rows.append(Row(name, [Cell("" if c is None else _at_layer(c)) for c in cells]))
            caption = f"{target} ({backbone}, test): score (layer), change; best layers are chosen on dev"
            yield table(caption, ["intermediate", *kinds], rows)

    def selection(self) -> Iterator[str]:
        """Who was chosen, and what the choice gives on test."""
        yield (
            "<p>For each target the intermediate with the highest dev score, mean over seeds; of equal ones the first "
            "that the study names. A target without a dev part of its own is chosen for on those named. Test scores "
            "play no part.</p>"
        )
        best, chosen = self._read("best_models"), self._read("selection")
        for (backbone, rule), own in best.groupby(["backbone", "rule"], sort=False):
            rows = [Row(row["target"], _best(row)) for row in _records(own)]
            name = (
                "our best models" if rule == "dev" else "ORACLE: chosen on test, an upper bound that no one can deploy"
            )
            yield table(
                f"{backbone}: {name}, test",
                [
                    "target",
                    "intermediate",
                    "chosen on dev of" if rule == "dev" else "chosen on",
                    "score",
                    "change [95 %]",
                    "p",
                ],
                rows,
            )
        for backbone in self.backbones:
            own = chosen[chosen["backbone"] == backbone]
            wide = own.pivot_table(index="intermediate", columns="target", values="rank")
            columns = [t for t in self.about["targets"] if t in wide.columns]
            rows = [
                Row(name, [Cell(tables.number(float(wide[t][name]), ".0f")) for t in columns])
                for name in (arm for arm in self.arms if arm in wide.index)
            ]
            yield table(f"{backbone}: rank of every intermediate on dev", ["intermediate", *columns], rows)

    # --- beside others

    @cached_property
    def compared(self) -> list[dict[str, Any]]:
        """Rows of comparison.csv."""
        return [
            row
            for backbone in self.backbones
            for split in tables.SPLITS
            for row in comparison.compared(self.lines(backbone, split), self.arms, backbone, split)
        ]

    def comparison(self) -> Iterator[str]:
        """The printed table in the layout of ours, and in what the two differ."""
        source = next(n.source for n in published.numbers() if n.source.key == comparison.SOURCE)
        yield f"<p>{escape(source.title)}, {escape(source.version)}, Table 2, as printed. Ours above, theirs below.</p>"
        for split in tables.SPLITS:
            for backbone in self.backbones:
                if lines := self.lines(backbone, split):
                    yield self._plain(f"Ours: {backbone}, {split}", lines)
            yield self._plain(f"Theirs: XLM-R Large, {split} ({source.version})", comparison.theirs(split))
            yield from (f"<p>{escape(note)}</p>" for note in comparison.notes(split))
        for backbone in self.backbones:
            items = "".join(f"<li>{escape(text)}</li>" for text in comparison.protocol(self.about, backbone))
            yield f"<h3>In what the two differ ({escape(backbone)})</h3><ul>{items}</ul>"

    def _plain(self, caption: str, lines: Sequence[Line]) -> str:
        columns = comparison.columns_of(lines, list(self.about["targets"]))
        rows: list[Row] = []
        for name, members in groupby(lines, key=lambda line: line.block):
            rows.append(Row(name, block=True))
            rows += [Row(line.name, [Cell(text) for text in line.texts(columns)]) for line in members]
        return table(caption, ["row", *(_SHORT.get(column, column) for column in columns)], rows)

    def exported(self, form: Callable[[Sequence[Line], Sequence[str], str], str]) -> Iterator[str]:
        """The main table of each backbone and split as text."""
        for backbone, split in ((b, s) for b in self.backbones for s in tables.SPLITS):
            if lines := self.lines(backbone, split):
                yield form(lines, comparison.columns_of(lines, list(self.about["targets"])), f"{backbone}, {split}")

    # --- how it was made

    def curves(self) -> Iterator[str]:
        """Loss over steps of each training whose log is there."""
        panels: dict[str, dict[str, drawings.Curve]] = defaultdict(dict)
        for step in self.steps:
            phase, _, *place = step["name"].split("/")
            if phase not in ("intermediate", "finetune"):
                continue
            intermediate, *rest = place
            if curve := _curve(self.root / step["folder"] / "log.jsonl"):
                title = f"{phase}/{intermediate if phase == 'intermediate' else rest[0]}"
                panels[title]["/".join((intermediate, *rest))] = curve
        if not panels:
            yield "<p>No log of a training is there.</p>"
            return
        ends = ((name, [curve[-1][1] for curve in runs.values()]) for name, runs in panels.items())
        ended = (f"{name} ends between {min(losses):.2g} and {max(losses):.2g}" for name, losses in ends)
        alt = f"Loss over steps of each training: {'; '.join(ended)}"
        yield drawings.curves(
            panels, alt, "Loss over steps; black: from none, blue: from an intermediate, and phase 2."
        )
        rows = [Row(name, [Cell(str(len(runs))), *_ends(runs)]) for name, runs in panels.items()]
        yield table(
            "Loss at the ends of the curves (least and greatest of the runs)",
            ["training", "runs", "first", "last"],
            rows,
        )

    def costs(self) -> Iterator[str]:
        """Hours by phase and device, and by intermediate, from the records that are there."""
        records = [(step["name"], history.read(self.root / step["folder"])) for step in self.steps]
        found = [(name.split("/"), record) for name, record in records if record]
        hours: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        total: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (phase, *place), record in found:
            seconds = float(record.get("wall_seconds", 0.0))
            total[phase, str(record.get("device", ""))].append(seconds)
            if len(place) > 1:
                hours[place[1]][phase] += seconds / 3600
        order = sorted(total, key=lambda key: _PHASES.index(key[0]))
        rows = [
            Row(key[0], [Cell(key[1], left=True), Cell(str(len(total[key]))), Cell(_hours(sum(total[key]) / 3600))])
            for key in order
        ]
        yield table("Wall-clock hours of jobs, from their records", ["phase", "device", "jobs", "hours"], rows)
        phases = [phase for phase in _PHASES[1:] if any(phase in by for by in hours.values())]
        rows = [
            Row(name, [Cell(_hours(hours[name].get(phase, 0.0))) for phase in phases])
            for name in (arm for arm in self.arms if arm in hours)
        ]
        yield table("Hours by intermediate", ["intermediate", *phases], rows)
        if missing := len(records) - len(found):
            yield f"<p>{missing} of {len(records)} records are not there.</p>"

    def provenance(self) -> Iterator[str]:
        """With what the cells were made."""
        origins = list(read_origins(self.directory))
        rows = []
        for name, label in (("host", "hosts"), ("device", "devices"), ("versions", "versions")):
            values = sorted({value for row in origins for value in row[name].split()})
            rows.append(Row(label, [Cell(", ".join(values), left=True)]))
        made = [row["made"] for row in origins if row["made"]]
        rows.append(Row("made", [Cell(f"{min(made, default='–')} to {max(made, default='–')}", left=True)]))
        yield table("All cells", ["what", "values"], rows)
        yield (
            "<p>Each cell's records are named in <code>tables/provenance.csv</code>; "
            "<code>python -m xstilts.why FILE</code> says what made any file.</p>"
        )

    def caveats(self) -> Iterator[str]:
        """What a reader must know before believing a number."""
        items = "".join(f"<li>{escape(text)}</li>" for text in self._caveats())
        yield f"<ul>{items}</ul>"

    def _caveats(self) -> Iterator[str]:
        about = self.about
        if about["world"]:
            yield "The data are an invented world's: the numbers show that the workflow works, nothing more."
        seeds = len(about["seeds"])
        yield (
            f"{seeds} seed{'s' * (seeds != 1)}: a test over pairs of runs can reach p = {smallest_p(seeds):.3g}."
            + " Intervals speak of languages and examples alone, not of the method." * (seeds == 1)
        )
        runs = self._read("runs")
        for row in _records(runs[runs["degenerate"].astype(bool)]):
            seed = row["seed_finetune"]
            yield (
                f"Degenerate: {row['intermediate']} on {row['target']}, seed {seed:g}: {row['english_dev']:.1f} on "
                f"English dev, chance {row['chance']:.1f}. It counts in all tables but the rows `without degenerate`."
            )
        if runs.empty:
            yield "No target has an English dev part, so no run was checked against chance."
        for backbone in self.backbones:
            if names := self._borrowed(backbone, "dev"):
                yield f"No dev part: {', '.join(names)}; dev shows test values, the choice is made on other targets."
        for name, reason in about["left_out"].items():
            yield f"{name} is left out: {reason}."
        yield from self._gaps()
        if about["partial"]:
            yield f"Not XTREME's languages: {', '.join(about['partial'])}."
        if about["unpinned"]:
            yield f"Not pinned to a commit: {', '.join(about['unpinned'])}."
        yield from self._flags()
        yield from self._overlap()
        yield from (f"{name}: {text}" for name, text in _KNOWN.items() if name in about["targets"])

    def _gaps(self) -> Iterator[str]:
        for backbone in self.backbones:
            own = _part(self.significance, backbone, "test")
            known = set(zip(own["intermediate"], own["target"], strict=True))
            missing = [f"{a} × {t}" for a in self.arms for t in set(own["target"]) if (a, t) not in known]
            if missing:
                yield f"{backbone}: no test score of {', '.join(sorted(missing))}."

    def _flags(self) -> Iterator[str]:
        origins = list(read_origins(self.directory))
        for column, text in (
            ("mixed_libraries", "made with other versions of"),
            ("accepted", "of older code accepted for"),
        ):
            if flagged := [row[column] for row in origins if row[column]]:
                names = sorted({name for entry in flagged for name in entry.split()})
                yield f"{len(flagged)} of {len(origins)} cells are {text} {', '.join(names)}."

    def _overlap(self) -> Iterator[str]:
        path = self.root / "tables" / "overlap.csv"  # one for the whole study, whatever the rows of this page
        if not path.is_file():
            return
        found = pd.read_csv(path, keep_default_na=False)
        for (training, test), own in found[found["share"] >= 1].groupby(["training", "test"], sort=False):
            yield (
                f"Training set {training} holds up to {own['share'].max():.0f} % of the test examples of {test} "
                f"({', '.join(own['language'])})."
            )


_KNOWN = {
    "udpos": "the metric is F1 over runs of equal tags, as XTREME's code computes it; the paper's table says accuracy "
    "(google-research/xtreme, issue 56).",
    "xquad": "scored as in SQuAD, without segmenting Chinese (google-research/xtreme, issue 28).",
    "bucc2018": "dev scores use the threshold that is best on dev itself, so they are optimistic, as upstream's are.",
}


def _part(frame: pd.DataFrame, backbone: str, split: str, **more: str) -> pd.DataFrame:
    found = frame[(frame["backbone"] == backbone) & (frame["split"] == split)]
    if "runs" in found.columns:
        found = found[found["runs"] == "all"]
    for column, value in more.items():
        found = found[found[column] == value]
    return found


def _told(arm: Mapping[str, Any]) -> str:
    """What a row trains on, and what sets it apart: `mnli + MLM, shuffled_labels`, `as none, fine-tuned otherwise`."""
    other = [code for code in arm.get("languages") or () if code != "en"]
    tasks = " + ".join([*arm["tasks"], *["MLM"] * bool(arm["mlm"])])
    parts = [tasks, f"in {' '.join(other)}" * bool(other), arm.get("control") or ""]
    parts.append(f"as {arm['like']}, fine-tuned otherwise" if arm.get("like") else "")
    return ", ".join(filter(None, parts)) or "–"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _shade(line: Line, column: str, end: float) -> float | None:
    values = line.values.get(column)
    return sum(values) / len(values) / end if line.delta and values else None


def _tested(row: Mapping[str, Any]) -> list[Cell]:
    texts = [tables.number(float(row["value"])), tables.number(float(row["sd"])), interval(row)]
    texts += [tables.number(float(row["pairs"]), ".0f")]
    texts += [tables.number(float(row[name]), ".3g") for name in ("p", "smallest_p", "p_holm")]
    return [Cell(str(row["target"]), left=True), Cell(str(row["runs"]), left=True), *map(Cell, texts)]


def _best(row: Mapping[str, Any]) -> list[Cell]:
    texts = [tables.number(float(row["value"])), interval(row), tables.number(float(row["p"]), ".3g")]
    names = [str(row[key]) if pd.notna(row[key]) else "" for key in ("intermediate", "chosen_on")]
    return [*(Cell(name, left=True) for name in names), *map(Cell, texts)]


def _at_layer(row: Mapping[str, Any]) -> str:
    layer = str(row["variant"]).removeprefix("layer").removesuffix("-centred")
    change = tables.number(float(row["delta"]), "+.1f")
    return f"{tables.number(float(row['value']))} ({layer}){', ' + change if change else ''}"


def _curve(path: Path) -> list[tuple[float, float]]:
    """Steps and losses of a log, thinned evenly; none where there is no log."""
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = [(float(row["step"]), float(row["loss"])) for row in rows if "loss" in row]
    kept = np.linspace(0, len(found) - 1, min(len(found), _POINTS)).astype(int).tolist()
    return [found[place] for place in dict.fromkeys(kept)]


def _ends(runs: Mapping[str, drawings.Curve]) -> list[Cell]:
    ends = [[curve[place][1] for curve in runs.values()] for place in (0, -1)]
    return [Cell(f"{min(values):.3g} to {max(values):.3g}") for values in ends]


def _hours(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"
