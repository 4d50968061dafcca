"""Scores of another system's predictions in XTREME's layout: by the same metrics, on the study's own gold.

What a checkpoint's score step writes is written here too, so that the system becomes a row of every table.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts import files, provenance
from xstilts.evaluation import examples, export, official, submission
from xstilts.evaluation.examples import Examples
from xstilts.evaluation.official import Files
from xstilts.metrics import mlqa, squad, tagging, xtreme

VARIANT = "submitted"


def score(job: dict[str, Any]) -> None:
    """Write `scores.json`, `examples.parquet` and `record.json` of one target, as the score step does.

    Args:
        job: `name`, `digest`, `plan`, `task`, `metrics`, `parts` (each `task`, `language`, `predictions`: the system's
            file, `data`: the prepared test part) and `output` (directory).

    Raises:
        DataError: a file is malformed, or does not answer the test set line by line.
    """
    started = time.time()
    with tempfile.TemporaryDirectory() as gold:
        export.write_labels(job["parts"], Path(gold))
        scored = [_scored(part, Path(gold)) for part in job["parts"]]
    rows = list(
        _rows({part["language"]: found for part, found in zip(job["parts"], scored, strict=True)}, job["metrics"])
    )
    output = Path(job["output"])
    files.write_json(output / "scores.json", {"rows": rows, "notes": [], "chance": []})
    tables = [
        found.table(VARIANT, "test", part["language"]) for part, (_, found) in zip(job["parts"], scored, strict=True)
    ]
    with files.atomic(output / "examples.parquet") as temporary:
        pq.write_table(pa.concat_tables(tables), temporary, compression="zstd")
    files.write_json(output / files.RECORD, provenance.record(job, started, rows=len(rows)))


def _scored(part: Mapping[str, Any], gold: Path) -> tuple[official.Metrics, Examples]:
    task, language = part["task"], part["language"]
    pair = Files(Path(part["predictions"]), submission.place(gold, task, language))
    return official.score_file(task, language, pair), _examples(task, language, pair, export.prepared(part))


def _examples(task: str, language: str, pair: Files, rows: export.Rows) -> Examples:
    """What each example adds, under the ids by which the study's own predictions go."""
    if task in xtreme.GROUPS["qa"]:
        golds, answers = dict(submission.read_questions(pair.gold)), submission.read_answers(pair.predicted)
        given = [answers.get(name, "") for name in golds]
        metric, of_language = (mlqa, (language,)) if task == "mlqa" else (squad, ())
        return examples.answered(list(golds), list(golds.values()), given, metric, *of_language)
    if task in xtreme.GROUPS["tagging"]:
        gold, given_tags = (submission.read_tags(path, official.labels(task)) for path in (pair.gold, pair.predicted))
        return examples.tagged([row["id"] for row in rows], gold, given_tags, tagging)
    if task == "bucc2018":
        return examples.mined(submission.read_pairs(pair.gold), submission.read_pairs(pair.predicted))
    if task == "tatoeba":
        return examples.labelled(
            export.sorted_english(rows), *map(submission.read_indices, (pair.gold, pair.predicted))
        )
    given_labels = [submission.read_labels(path, official.labels(task)) for path in (pair.gold, pair.predicted)]
    return examples.labelled([row["id"] for row in rows], *given_labels)


def _rows(scored: Mapping[str, tuple[official.Metrics, Examples]], metrics: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of scores.json: each language, then XTREME's mean over them."""
    sizes = {language: len(found.ids) for language, (_, found) in scored.items()}
    for language, (scores, _) in scored.items():
        for name in (name for name in metrics if name in scores):
            yield _row(language, name, scores[name], sizes[language])
    for name in metrics:
        values = [scores[name] for scores, _ in scored.values() if name in scores]
        if values:
            yield _row("avg", name, xtreme.mean(values), sum(sizes.values()))


def _row(language: str, metric: str, value: float, count: int) -> dict[str, Any]:
    place = {"variant": VARIANT, "language": language, "split": "test"}
    return {**place, "metric": metric, "value": value, "n": count}
