"""One part of a dataset from the Hugging Face hub, or from a directory that is laid out like one: parquet only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import datasets

from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import UNPINNED, HubSource, expected_rows, is_commit
from xstilts.tasks.base import Kind
from xstilts.tasks.formats.part import Part, Place, Row, aligned, choice, pair, span, tagging, texts, value

Columns = Mapping[str, str]
Record = Mapping[str, Any]

_FIELDS: dict[Kind, tuple[str, ...]] = {
    "pair": ("text_a", "text_b", "label"),
    "choice": ("context", "label"),
    "span": ("id", "context", "question", "answers", "starts"),
    "tagging": ("tokens", "tags"),
    "retrieval": ("foreign", "english"),
    "mlm": ("text",),
}
"""Fields for which a dataset of a kind must name a column; others (`id`, `title`, `question`) are optional."""


def read(source: HubSource, kind: Kind, part: Part) -> Iterator[Row]:
    """Rows of one part, in the order of the hub.

    Columns are found by `source.columns` (dots reach into structs; several columns make one list as `choices.0`,
    `choices.1`, …), labels by their text or index in `source.labels`. The commit is noted in `part.commit`.

    Raises:
        ConfigError: a field without a column.
        DataError: the dataset cannot be loaded, is not parquet, has another number of rows than recorded or a malformed
            row.
    """
    if missing := [field for field in _FIELDS[kind] if field not in source.columns]:
        raise ConfigError(f"hub {source.id}: columns", f"no column for {', '.join(missing)}", "name it")
    name = f"{source.id} ({part.split}, {part.language})"
    table = _in_language(source, part.language, name, _load(source, part))
    _check_rows(source, part, name, len(table))
    placed = ((Place(name, number), row) for number, row in enumerate(table, start=1))
    if kind == "retrieval":
        return aligned((place, *_pair_of(source.columns, place, row)) for place, row in placed)
    if kind == "mlm":
        return texts(
            part, (line for place, row in placed for line in _text(row, source.columns, "text", place).split("\n"))
        )
    build = _BUILDERS[kind]
    return (row for place, record in placed if (row := build(part, place, source.columns, record)) is not None)


def _in_language(source: HubSource, language: str, name: str, table: datasets.Dataset) -> datasets.Dataset:
    """The rows in the language, where one table holds all (TyDiQA: by the prefix of their ids)."""
    prefix = source.language_prefix.get(language)
    if prefix is None:
        return table
    column = source.columns["id"]
    if column not in table.column_names:
        raise DataError(name, f"no column {column!r}", "correct the dataset's `hub.columns`")
    return table.select([i for i, row_id in enumerate(table[column]) if str(row_id).startswith(prefix)])


def _load(source: HubSource, part: Part) -> datasets.Dataset:
    config = _config(source, part.language)
    options = {"data_dir": config} if source.folders else {"name": config}
    revision = None if source.revision == UNPINNED else source.revision
    try:
        builder = datasets.load_dataset_builder(source.id, revision=revision, **options)
        _require_parquet(source, builder)
        part.commit = _commit(source, builder)
        builder.download_and_prepare()
        return builder.as_dataset(split=source.splits[part.split])
    except (RuntimeError, ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        first = str(error).strip().partition("\n")[0]
        problem = f"cannot load configuration {config!r}: {type(error).__name__}: {first}"
        raise DataError(source.id, problem, _remedy(error)) from error


def _commit(source: HubSource, builder: datasets.DatasetBuilder) -> str | None:
    """The commit that is loaded; None for a directory. Without the hub, `datasets` takes the copy that it fetched last.

    Raises:
        DataError: that copy is of another commit than the pinned one.
    """
    found = str(builder.hash)
    if not is_commit(found):
        return None
    if is_commit(source.revision) and found != source.revision:
        problem = f"the hub cannot be reached, and the copy on this machine is of commit {found}"
        raise DataError(source.id, problem, f"connect to the hub to fetch {source.revision}")
    return found


def _config(source: HubSource, language: str) -> str:
    if isinstance(source.config, str):
        return source.config.replace("{lang}", language)
    if language not in source.config:
        problem = f"no configuration for language {language!r}"
        raise ConfigError(f"hub {source.id}: config", problem, "name it, or leave the language out")
    return source.config[language]


def _require_parquet(source: HubSource, builder: datasets.DatasetBuilder) -> None:
    if builder.name not in ("parquet", "cache"):  # the latter: fetched earlier, when only parquet was
        remedy = "set `revision: refs/convert/parquet` and `folders: true`, or take upstream's files"
        raise DataError(source.id, f"its files are {builder.name}, expected parquet", remedy)


def _remedy(error: Exception) -> str:
    if "scripts are no longer supported" in str(error):
        return "it is a script, which is never run: name another `hub.id` or `hub.revision`, or take upstream's files"
    if isinstance(error, ConnectionError):
        return "connect to the hub, or take upstream's files (data.source: files)"
    return "correct the dataset's `hub:` (id, revision, config, splits), or take upstream's files (data.source: files)"


def _check_rows(source: HubSource, part: Part, name: str, found: int) -> None:
    """Compare with the recorded number, so that a changed or truncated copy cannot pass unseen."""
    expected = expected_rows(source.rows, part.split, part.language)
    if expected is not None and found != expected:
        problem = f"{found} rows, expected {expected}"
        raise DataError(name, problem, "the hub's copy changed: pin `hub.revision`, or correct `hub.rows`")


def _cell(row: Record, column: str, place: Place) -> Any:
    """The value of a column; dots reach into structs."""
    found: Any = row
    for key in column.split("."):
        if not isinstance(found, Mapping) or key not in found:
            there = ", ".join(found) if isinstance(found, Mapping) else "no struct"
            raise place.error(f"no column {column!r} (there is {there})", "correct the dataset's `hub.columns`")
        found = found[key]
    return found


def _text(row: Record, columns: Columns, field: str, place: Place) -> str:
    """Text of a field; "" if the dataset has no such column."""
    if field not in columns:
        return ""
    found: str = value({field: _cell(row, columns[field], place)}, field, str, place)
    return found


def _list(row: Record, columns: Columns, field: str, place: Place) -> list[Any]:
    """List of a field, or of its numbered columns."""
    if field in columns:
        found: list[Any] = value({field: _cell(row, columns[field], place)}, field, list, place)
        return found
    numbered = sorted(key for key in columns if key.startswith(f"{field}."))
    return [_cell(row, columns[key], place) for key in numbered]


def _pair_of(columns: Columns, place: Place, row: Record) -> tuple[str, str]:
    return _text(row, columns, "foreign", place), _text(row, columns, "english", place)


def _pair(part: Part, place: Place, columns: Columns, row: Record) -> Row | None:
    texts = _text(row, columns, "text_a", place), _text(row, columns, "text_b", place)
    name = str(_cell(row, columns["id"], place)) if "id" in columns else None
    return pair(part, place, texts, str(_cell(row, columns["label"], place)), name)


def _choice(part: Part, place: Place, columns: Columns, row: Record) -> Row:
    texts = _text(row, columns, "context", place), _text(row, columns, "question", place)
    choices = [str(c) for c in _list(row, columns, "choices", place)]
    name = str(_cell(row, columns["id"], place)) if "id" in columns else None
    return choice(part, place, texts, choices, str(_cell(row, columns["label"], place)), name)


def _span(part: Part, place: Place, columns: Columns, row: Record) -> Row:
    texts = (
        _text(row, columns, "title", place),
        _text(row, columns, "context", place),
        _text(row, columns, "question", place),
    )
    answers, starts = _list(row, columns, "answers", place), _list(row, columns, "starts", place)
    if len(answers) != len(starts):
        raise place.error(f"{len(answers)} answers and {len(starts)} starts", "give every answer one start")
    located = list(zip(map(str, answers), map(int, starts), strict=True))
    return span(part, place, texts, located, _text(row, columns, "id", place))


def _tagging(part: Part, place: Place, columns: Columns, row: Record) -> Row:
    tokens = [str(token).strip() for token in _list(row, columns, "tokens", place)]
    return tagging(part, place, tokens, [str(tag) for tag in _list(row, columns, "tags", place)])


_BUILDERS: dict[str, Callable[[Part, Place, Columns, Record], Row | None]] = {
    "pair": _pair,
    "choice": _choice,
    "span": _span,
    "tagging": _tagging,
}
