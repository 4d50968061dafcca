"""Preparing a dataset: every part read, verified and written as one Parquet table, whatever its origin."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts import files, provenance
from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import Dataset, DevCut, Split, expected_rows
from xstilts.tasks import formats, sources
from xstilts.tasks.formats.part import Part, Row

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
SCHEMAS: dict[str, pa.Schema] = {
    "pair": pa.schema({"id": _TEXT, "text_a": _TEXT, "text_b": _TEXT, "label": _TEXT}),
    "choice": pa.schema({"id": _TEXT, "context": _TEXT, "question": _TEXT, "choices": _TEXTS, "label": pa.int64()}),
    "span": pa.schema(
        {
            "id": _TEXT,
            "title": _TEXT,
            "context": _TEXT,
            "question": _TEXT,
            "answers": _TEXTS,
            "starts": pa.list_(pa.int64()),
        }
    ),
    "tagging": pa.schema({"id": _TEXT, "tokens": _TEXTS, "tags": _TEXTS}),
    "retrieval": pa.schema({"side": _TEXT, "id": _TEXT, "text": _TEXT, "gold": _TEXTS}),
    "mlm": pa.schema({"id": _TEXT, "text": _TEXT}),
}
"""Columns of a prepared table, by kind: those of the rows in `xstilts.tasks.rows`."""


def prepare(job: dict[str, Any]) -> None:
    """Write `{split}.{language}.parquet` for every part, and the record.

    Args:
        job: `dataset`, `kind`, `labels`, `source` (a dump of `config.Dataset`), `root` (None: the hub), `parts` (pairs
            of split and language), `output`, and what every job has (`name`, `digest`, `plan`).

    Raises:
        DataError: a missing, malformed or empty part; names file, line and remedy.
    """
    started = time.time()
    with files.staged(Path(job["output"])) as folder:
        parts = {f"{s}.{lang}": _write(job, s, lang, folder) for s, lang in job["parts"]}
        measured = {"dataset": job["dataset"], "origin": _origin(job), "parts": parts, "files": files.sizes(folder)}
        files.write_json(folder / files.RECORD, provenance.record(job, started, **measured))


def _origin(job: dict[str, Any]) -> dict[str, Any]:
    if job["root"] is not None:
        return {"root": job["root"]}
    return {"hub": job["source"]["hub"]["id"], "revision": job["source"]["hub"]["revision"]}


def _write(job: dict[str, Any], split: Split, language: str, folder: Path) -> dict[str, Any]:
    """One part as a table; returns what the record says about it."""
    rows, part = read(job, split, language)
    if not rows:
        place = f"{job['dataset']} ({split}, {language})"
        raise DataError(place, "no rows", "check the dataset's files and `drop_labels:`")
    path = folder / f"{split}.{language}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[job["kind"]]), path)
    with path.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    labels = dict(sorted(_LABELS[job["kind"]](cast(Any, rows)).items()))
    loaded = {"commit": part.commit} if part.commit else {}
    noted = dict(sorted(part.counts.items()))
    return {"rows": len(rows), "sha256": sha256, "labels": labels, "noted": noted, **loaded}


def read(job: dict[str, Any], split: Split, language: str) -> tuple[list[Row], Part]:
    """Rows of a part (dev cut from train where the dataset says so, first rows only where it says so).

    What is returned beside them (counts of rows dropped by convention and of offsets repaired, the hub's commit) is of
    the whole published split that the part is cut from.
    """
    source = Dataset.model_validate(job["source"])
    origin = sources.origin(source, split)
    rows, part = _published(job, source, origin, language)
    if source.dev is not None and split in ("train", "dev"):
        rows = cut(rows, source.dev, dev=split == "dev")
    return first(rows, source.limit.get(split), job["kind"]), part


def _published(job: dict[str, Any], source: Dataset, split: Split, language: str) -> tuple[list[Row], Part]:
    labels, unit = tuple(job["labels"]), _field(source.dev) if source.dev and split == "train" else ""
    if job["root"] is None:
        if source.hub is None or split not in source.hub.splits:
            problem = f"the hub has no {split} split of it"
            raise ConfigError(f"data.datasets.{job['dataset']}", problem, "give `files:` and set data.source: files")
        hub = source.hub
        part = Part(split, language, labels, hub.labels, hub.drop_labels, unit)
        # By name: only parts from the hub may depend on the hub module (see digest.code).
        return list(importlib.import_module("xstilts.tasks.hub").read(hub, job["kind"], part)), part
    group = sources.group_for(source, split, language)
    if group is None:
        problem = f"no files of split {split!r} in language {language!r}"
        raise ConfigError(f"data.datasets.{job['dataset']}.files", problem, "name them")
    part = Part(split, language, labels, group.labels, group.drop_labels, unit)
    paths = sources.local_files(source, Path(job["root"]), split, language)
    rows = list(formats.reader(group.format)(paths, group, part))
    expected = expected_rows(group.rows, split, language)
    if expected is not None and len(rows) != expected:
        remedy = "fetch them again; if they are meant to differ, say so with the dataset's `files.rows`"
        raise DataError(paths[0], f"{len(rows)} rows of language {language!r}, expected {expected}", remedy)
    return rows, part


# --- dev cut from train


def cut(rows: Sequence[Row], how: DevCut, *, dev: bool) -> list[Row]:
    """The dev rows, or all others.

    Units (rows, articles, first texts, contexts) are ranked by a hash of what they hold, and the first `how.share` of
    them (one at least, never all) are dev: whatever the order of the rows, and much the same for SQuAD v1.1 and v2.0,
    which share articles.

    Raises:
        ConfigError: rows have no such unit, or there is only one.
    """
    units = [_unit(row, _field(how)) for row in rows]
    ranked = sorted(set(units), key=lambda unit: hashlib.sha256(unit.encode()).digest())
    if len(ranked) < 2:
        problem = f"cannot cut dev from {len(ranked)} unit(s) ({how.unit})"
        raise ConfigError("data.datasets.*.dev", problem, "give more data, or a smaller `unit:`")
    chosen = set(ranked[: min(max(1, round(how.share * len(ranked))), len(ranked) - 1)])
    return [row for row, unit in zip(rows, units, strict=True) if (unit in chosen) is dev]


def _unit(row: Row, unit: str) -> str:
    if unit == "row":
        content = {key: found for key, found in row.items() if key != "id"}
        return json.dumps(content, sort_keys=True, ensure_ascii=False)
    found = row.get(unit)
    if not found:
        problem = f"its rows have no {unit} to keep together"
        raise ConfigError("data.datasets.*.dev.unit", problem, "choose another unit")
    return str(found)


def _field(how: DevCut) -> str:
    """The field of a row that names its unit; "row" stands for all of them."""
    return "title" if how.unit == "article" else how.unit


def first(rows: Sequence[Row], limit: int | None, kind: str) -> list[Row]:
    """The first rows; of a retrieval set, the first of each side, and gold among them only."""
    if limit is None or kind != "retrieval":
        return list(rows[:limit])
    sides = {side: [r for r in cast(Any, rows) if r["side"] == side][:limit] for side in ("foreign", "english")}
    kept = {row["id"] for row in sides["english"]}
    foreign = [row | {"gold": [name for name in row["gold"] if name in kept]} for row in sides["foreign"]]
    return [*foreign, *sides["english"]]


# --- label counts, for the record


def _choices(rows: Iterable[Any]) -> Counter[str]:
    return Counter(str(row["label"]) for row in rows)


def _answerable(rows: Iterable[Any]) -> Counter[str]:
    return Counter("answerable" if row["answers"] else "unanswerable" for row in rows)


def _tags(rows: Iterable[Any]) -> Counter[str]:
    return Counter(tag for row in rows for tag in row["tags"])


def _sides(rows: Iterable[Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["side"]] += 1
        counts["gold pairs"] += len(row["gold"])
    return counts


_LABELS: dict[str, Callable[[Iterable[Any]], Counter[str]]] = {
    "pair": _choices,
    "choice": _choices,
    "span": _answerable,
    "tagging": _tags,
    "retrieval": _sides,
    "mlm": lambda _: Counter(),
}
