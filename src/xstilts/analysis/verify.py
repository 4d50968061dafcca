"""Rows `none` held against published numbers: is this the system that others measured?

`verify_published` needs no training: retrieval straight from the pretrained encoder, language by language, against the
first author's own replication. `verify_baseline` compares the targets' scores after fine-tuning alone.
"""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from xstilts import files, provenance
from xstilts.analysis import published, tables
from xstilts.analysis.publish import publish
from xstilts.analysis.published import Published

Job = Mapping[str, Any]
Verdict = Literal["within", "outside", "missing", "other data", "other languages"]
REPLICATION = "jiant-dev-128"
SENTENCES, MINING, BASELINE = 2, 0.5, 1.0
"""Tolerances: Tatoeba in sentences, BUCC in points of F1, a target's score in points."""


@dataclass(frozen=True)
class Check:
    """One published number beside the study's own.

    Attributes:
        published, value: percent; value and n (examples) are None where the study has no such number.
        difference: value minus published, in `unit`; tolerance in the same unit.
    """

    backbone: str
    target: str
    language: str
    split: str
    metric: str
    published: float
    value: float | None
    n: int | None
    difference: float | None
    unit: Literal["sentences", "points"]
    tolerance: float
    verdict: Verdict


class Scores:
    """The study's scores of rows `none`, means over seeds."""

    def __init__(self, job: Job) -> None:
        cells = tables.headline_variants(tables.read_cells(job["cells"]), job["headline_variants"])
        groups = cells.groupby(["backbone", "target", "language", "split", "metric"])
        self._found = {key: (float(rows["value"].mean()), int(rows["n"].iloc[0])) for key, rows in groups}

    def of(self, backbone: str, number: Published) -> tuple[float, int] | None:
        """Value in percent and number of examples, where the study has them."""
        return self._found.get((backbone, number.target, number.language, number.split, number.metric))


def per_language(job: Job) -> list[Check]:
    """Retrieval of every backbone against the authors' numbers: Tatoeba in sentences, BUCC in points of F1."""
    scores, sizes = Scores(job), job["sizes"]
    checks = []
    for backbone in job["models"]:
        for number in (n for n in published.numbers() if n.source.key == REPLICATION):
            found, size = scores.of(backbone, number), sizes.get(number.target, {}).get(number.language)
            unit: Literal["sentences", "points"] = "sentences" if number.metric == "accuracy" else "points"
            other: Verdict | None = "other data" if found and size not in (None, found[1]) else None
            tolerance = SENTENCES if unit == "sentences" else MINING
            checks.append(_check(backbone, number, found, unit, tolerance, other))
    return checks


def per_target(job: Job) -> list[Check]:
    """The mean over languages of every target with a published number for the backbone's model and the recipe."""
    scores, checks = Scores(job), []
    for backbone, model in job["models"].items():
        for number in published.baseline(model["model"], job["recipes"]):
            other: Verdict | None = "other languages" if number.target in job["partial"] else None
            checks.append(_check(backbone, number, scores.of(backbone, number), "points", BASELINE, other))
    return checks


def _check(
    backbone: str,
    number: Published,
    found: tuple[float, int] | None,
    unit: Literal["sentences", "points"],
    tolerance: float,
    other: Verdict | None,
) -> Check:
    subject = (backbone, number.target, number.language, number.split, number.metric, number.value)
    if found is None:
        return Check(*subject, None, None, None, unit, tolerance, "missing")
    value, n = found
    # Both are counts of sentences; the printed one is rounded to a tenth of a percent.
    pair = (round(value * n / 100), round(number.value * n / 100)) if unit == "sentences" else (value, number.value)
    difference = round(pair[0] - pair[1], 6)
    verdict: Verdict = other or ("within" if abs(difference) <= tolerance else "outside")
    return Check(*subject, value, n, difference, unit, tolerance, verdict)


def overall(checks: Iterable[Check]) -> str:
    """`matches` if every number is there and within its tolerance, `does not match` if any is not within."""
    counts = Counter(check.verdict for check in checks)
    if not counts:
        return "no published numbers"
    if set(counts) == {"within"}:
        return "matches"
    return "incomplete" if set(counts) <= {"within", "missing"} else "does not match"


def make_published(job: dict[str, Any]) -> None:
    """Publish the comparison by language in `job["place"]`, and a receipt."""
    publish(write_published, job, Path(job["place"]))


def make_baseline(job: dict[str, Any]) -> None:
    """Publish the comparison by target in `job["place"]`, and a receipt."""
    publish(write_baseline, job, Path(job["place"]))


def write_published(job: Job) -> None:
    """Write the comparison by language: comparison.csv, verdict.json, the figure, record.json.

    Args:
        job: `cells` and `headline_variants` as in `tables.write_tables`; `models`: {backbone: {model, …settings}};
            `sizes`: {target: {language: sentences of the real data}}; `formats` of the figure; `output`: directory.
    """
    _write(job, per_language, "verify_published", {"bucc2018": f"{MINING} F1", "tatoeba": f"{SENTENCES} sentences"})


def write_baseline(job: Job) -> None:
    """Write the comparison by target; `job` as in `write_published`, with `recipes` (nearest first) and `partial`
    (targets that the study evaluates in other languages than XTREME does)."""
    _write(job, per_target, "verify_baseline", {"all": f"{BASELINE} point"})


def _write(job: Job, compare: Callable[[Job], list[Check]], name: str, tolerances: dict[str, str]) -> None:
    from xstilts.analysis.verify_figure import draw

    started, checks = time.time(), compare(job)
    summary = {"check": name, "tolerances": tolerances, "recipes": job["recipes"]}
    verdicts = {name: _verdict(name, model, checks) for name, model in job["models"].items()}
    with files.staged(Path(job["output"])) as directory:
        _write_csv(directory / "comparison.csv", checks)
        rows = [asdict(check) for check in checks]
        files.write_json(directory / "verdict.json", {**summary, "backbones": verdicts, "rows": rows})
        for suffix in job["formats"]:
            draw(checks, verdicts, name, directory / f"comparison.{suffix}")
        files.write_json(directory / files.RECORD, provenance.record(dict(job), started, backbones=verdicts))


def _verdict(backbone: str, model: Mapping[str, Any], checks: Iterable[Check]) -> dict[str, Any]:
    own = [check for check in checks if check.backbone == backbone]
    counts = Counter(check.verdict for check in own)
    return {"verdict": overall(own), "compared": len(own), "counts": dict(sorted(counts.items())), "settings": model}


def _write_csv(path: Path, checks: Iterable[Check]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(Check.__dataclass_fields__)
        for check in checks:
            cells = asdict(check).values()
            writer.writerow([f"{cell:.10g}" if isinstance(cell, float) else cell for cell in cells])


def show(directory: Path, stream: TextIO) -> None:
    """Print the verdicts that stand in a directory, a line for each backbone."""
    found = json.loads((directory / "verdict.json").read_text(encoding="utf-8"))
    for backbone, entry in found["backbones"].items():
        print(f"{found['check']}: {backbone}: {line(entry)}\n  {directory}", file=stream)


def line(entry: Mapping[str, Any]) -> str:
    """A verdict in words, with the settings it holds for: `does not match: of 40 published numbers 3 within, …`."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in entry["counts"].items())
    given = entry["settings"]
    model = f"{given['hub']} at {given['revision']}" if given["hub"] else "not from the hub"
    retrieval = f"hidden_states[{given['retrieval_layer']}], {given['retrieval_length']} tokens, {given['precision']}"
    found = f": of {entry['compared']} published numbers {counts}" if counts else ""
    return f"{entry['verdict']}{found} ({model}; retrieval: {retrieval})"
