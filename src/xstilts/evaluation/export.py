"""XTREME submission files, and the gold labels in the same layout, from prediction tables and prepared data alone.

Each task's files are what its upstream script reads (README and mock_test_data of google-research/xtreme): a label,
tag or index a line, JSON from question to answer, or pairs of ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from xstilts import files, parquet, provenance, tasks
from xstilts.errors import DataError
from xstilts.evaluation import submission
from xstilts.evaluation.score import Mined, Part, parts_of
from xstilts.metrics import retrieval

Rows = Sequence[Mapping[str, Any]]
Tables = Mapping[str, Part]  # by split


class _Format(NamedTuple):
    """How a kind of task is written: its predictions, and its gold labels from the prepared rows."""

    predictions: Callable[[Path, Rows, Tables], None]
    labels: Callable[[Path, Rows], None]


def export(job: dict[str, Any]) -> None:
    """Write `predictions/` and `labels/`, each with `<task>/test-<language>.{tsv,json}`, then the record.

    Args:
        job: `name`, `digest`, `plan`, `layer` (the headline layer of retrieval, its vectors as they are), `parts` (each
            `task`, `language`, `predictions` and `data`: a prediction table and the prepared test part) and
            `output` (directory).

    Raises:
        UserError: a table cannot be read, or does not hold the examples of the prepared data.
    """
    started = time.time()
    with files.staged(Path(job["output"])) as directory:
        write_predictions(job["parts"], job["layer"], directory / "predictions")
        write_labels(job["parts"], directory / "labels")
        files.write_json(directory / files.RECORD, provenance.record(job, started, parts=len(job["parts"])))


def write_predictions(parts: Sequence[Mapping[str, Any]], layer: int, folder: Path) -> None:
    """Write the predictions of every part of the test set; arguments and errors as of `export`."""
    for part in parts:
        variants = ("", f"layer{layer}")
        tables = {
            t.split: t for t in parts_of(part["language"], Path(part["predictions"]), "") if t.variant in variants
        }
        if "test" not in tables:
            raise DataError(part["predictions"], f"no test predictions of layer {layer}", "predict again")
        path = submission.place(folder, part["task"], part["language"])
        _format(part["task"]).predictions(path, prepared(part), tables)


def write_labels(parts: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write the gold labels of every part of the test set; arguments and errors as of `export`."""
    for part in parts:
        write_gold(part["task"], part["language"], prepared(part), folder)


def write_gold(task: str, language: str, rows: Rows, folder: Path) -> None:
    """Write the gold labels of one test set, given its prepared rows."""
    _format(task).labels(submission.place(folder, task, language), rows)


def prepared(part: Mapping[str, Any]) -> Rows:
    """The rows of a prepared test part.

    Raises:
        DataError: it cannot be read.
    """
    try:
        rows: Rows = parquet.rows(part["data"])
    except (OSError, pa.ArrowInvalid) as error:
        problem = f"cannot be read ({str(error).splitlines()[0]})"
        raise DataError(part["data"], problem, "delete it and run `snakemake all_data`") from None
    return rows


def _format(task: str) -> _Format:
    return _FORMATS.get(task) or _FORMATS[tasks.get(task).kind]


def _predicted(tables: Tables, ids: list[str]) -> list[Any]:
    """The test predictions of the examples with these ids, in this order."""
    test = tables["test"]
    if test.table["id"].to_pylist() != ids:
        raise DataError(test.path, "holds other examples than the prepared test set", "predict again")
    predictions: list[Any] = test.table["prediction"].to_pylist()
    return predictions


def _ids(rows: Rows) -> list[str]:
    return [row["id"] for row in rows]


def _labels(path: Path, rows: Rows, tables: Tables) -> None:
    submission.write_labels(path, _predicted(tables, _ids(rows)))


def _gold_labels(path: Path, rows: Rows) -> None:
    submission.write_labels(path, [row["label"] for row in rows])


def _tags(path: Path, rows: Rows, tables: Tables) -> None:
    submission.write_tags(path, _predicted(tables, _ids(rows)))


def _gold_tags(path: Path, rows: Rows) -> None:
    submission.write_tags(path, [row["tags"] for row in rows])


def _answers(path: Path, rows: Rows, tables: Tables) -> None:
    ids = _ids(rows)
    submission.write_answers(path, dict(zip(ids, _predicted(tables, ids), strict=True)))


def _mined(path: Path, _rows: Rows, tables: Tables) -> None:
    """Test candidates that reach the threshold tuned on dev."""
    if "dev" not in tables:
        raise DataError(
            tables["test"].path, "no dev predictions to tune the threshold on", "give the dataset a dev part"
        )
    dev, test = (Mined.of(tables[split]) for split in ("dev", "test"))
    submission.write_pairs(path, test.kept(dev, retrieval))


def _gold_pairs(path: Path, rows: Rows) -> None:
    submission.write_pairs(path, [(row["id"], name) for row in rows for name in row["gold"]])


def _found(path: Path, rows: Rows, tables: Tables) -> None:
    lines = _foreign_lines(rows)
    submission.write_indices(path, [lines[name] for name in _predicted(tables, sorted_english(rows))])


def _gold_found(path: Path, rows: Rows) -> None:
    lines = _foreign_lines(rows)
    translation = {name: lines[row["id"]] for row in rows for name in row["gold"]}
    submission.write_indices(path, [translation[name] for name in sorted_english(rows)])


def _foreign_lines(rows: Rows) -> dict[str, int]:
    """Foreign id to its 0-based line."""
    return {name: line for line, name in enumerate(row["id"] for row in rows if row["side"] == "foreign")}


def sorted_english(rows: Rows) -> list[str]:
    """Ids of the English sentences, in the code-point order of their texts."""
    english = [row for row in rows if row["side"] == "english"]
    return [english[line]["id"] for line in retrieval.tatoeba_labels([row["text"] for row in english])]


_FORMATS = {
    "pair": _Format(_labels, _gold_labels),
    "tagging": _Format(_tags, _gold_tags),
    "span": _Format(_answers, submission.write_questions),
    "bucc2018": _Format(_mined, _gold_pairs),
    "tatoeba": _Format(_found, _gold_found),
}
