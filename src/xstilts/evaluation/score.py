"""Scores of one cell from its prediction tables alone: no model, no GPU, no torch."""

from __future__ import annotations

import importlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xstilts import files, parquet, provenance
from xstilts.errors import DataError, UserError
from xstilts.evaluation import examples
from xstilts.evaluation.examples import Examples
from xstilts.metrics.xtreme import mean

Scores = dict[str, float]
_ANSWERED = ("id", "gold", "prediction")
_AGAIN = "delete the file and predict again"
_MINING_NOTE = (
    "f1, precision, recall: each language's threshold has the best F1 on its dev part and is used for test too; "
    "dev scores are therefore optimistic, as upstream's are"
)


@dataclass(frozen=True)
class Part:
    """One prediction table, or one variant of it (a layer, raw or centred)."""

    split: str
    language: str
    path: Path
    table: pa.Table
    variant: str


@dataclass(frozen=True)
class _Scored:
    """The scores of one part, over `n` examples."""

    part: Part
    scores: Scores
    n: int
    examples: Examples


def score(job: dict[str, Any]) -> None:
    """Score the prediction tables of one cell: `scores.json`, `examples.parquet`, then `record.json`, in its directory.

    `scores.json` holds `rows` (variant, language, split, metric, value in percent, n examples; language "avg" is
    XTREME's mean over the languages), `notes`, and of classification `chance` (split, language, percent of the most
    frequent label); `examples.parquet` what each example adds to the headline score.

    Args:
        job: a ScoreJob: name, digest, plan, kind, metrics, scorer (a module of `xstilts.metrics`), variant (None for
            retrieval, whose layers are its variants), predictions (language: path), also (variant: the same), output
            (directory).

    Raises:
        UserError: a table is missing or empty, ids are doubled or missing, or a value is not a number.
    """
    started = time.time()
    metric = importlib.import_module(f"xstilts.metrics.{job['scorer']}")
    parts = _parts(job["predictions"], job["variant"])
    parts += [part for variant, predictions in job["also"].items() for part in _parts(predictions, variant)]
    mining = "score" in parts[0].table.column_names
    scored = _mined(parts, metric) if mining else [_scored(part, metric, job) for part in parts]
    rows = [*_rows(scored, job["metrics"]), *_averages(scored, job["metrics"])]
    chance = list(_chances(parts)) if job["kind"] == "pair" else []
    output = Path(job["output"])
    files.write_json(
        output / "scores.json", {"rows": rows, "notes": [_MINING_NOTE] if mining else [], "chance": chance}
    )
    _write_examples(scored, output / "examples.parquet")
    files.write_json(output / files.RECORD, provenance.record(job, started, rows=len(rows)))


def _parts(predictions: Mapping[str, str], variant: str) -> list[Part]:
    found = [part for language, path in predictions.items() for part in parts_of(language, Path(path), variant)]
    _check_complete(found)
    return found


def _chances(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        most = Counter(part.table["gold"].to_pylist()).most_common(1)[0][1]
        yield {"split": part.split, "language": part.language, "value": 100 * most / part.table.num_rows}


def _write_examples(scored: Iterable[_Scored], path: Path) -> None:
    tables = [one.examples.table(one.part.variant, one.part.split, one.part.language) for one in scored]
    with files.atomic(path) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary, compression="zstd")


def parts_of(language: str, path: Path, variant: str) -> Iterator[Part]:
    """Every split of a prediction table, and every layer of it, raw and centred, if it is of retrieval.

    Raises:
        DataError: the table cannot be read, or is empty, or holds empty values.
    """
    for whole in _splits(language, path, variant):
        yield from _variants(whole)


def _read(path: Path) -> pa.Table:
    try:
        table = parquet.read(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(path, f"cannot be read ({str(error).splitlines()[0]})", _AGAIN) from None
    if not table.num_rows:
        raise DataError(path, "holds no predictions", "leave the language out or give it data")
    empty = [name for name in table.column_names if table[name].null_count]
    if empty:
        raise DataError(path, f"column {empty[0]!r} holds empty values", _AGAIN)
    return table


def _splits(language: str, path: Path, variant: str) -> Iterator[Part]:
    table = _read(path)
    for split in pc.unique(table["split"]).to_pylist():
        rows = table.filter(pc.equal(table["split"], split)).drop_columns("split")
        yield Part(split, language, path, rows, variant)


def _variants(part: Part) -> Iterator[Part]:
    """The part itself, or one part for each layer, raw and centred, of a retrieval table."""
    if "layer" not in part.table.column_names:
        yield part
        return
    for key in part.table.group_by(["layer", "centred"], use_threads=False).aggregate([]).to_pylist():
        mask = pc.and_(pc.equal(part.table["layer"], key["layer"]), pc.equal(part.table["centred"], key["centred"]))
        variant = f"layer{key['layer']}" + "-centred" * key["centred"]
        yield Part(part.split, part.language, part.path, part.table.filter(mask), variant)


def _scored(part: Part, metric: Any, job: dict[str, Any]) -> _Scored:
    _check_ids(part, "id")
    for column in ("logits", "log_probabilities", "log_probability", "log_normaliser", "similarity"):
        if column in part.table.column_names:
            _check_numbers(part, part.table[column])
    with _named(part):
        scores, counted = _SCORERS[job["kind"]](part, metric)
        return _Scored(part, scores, part.table.num_rows, counted)


@contextmanager
def _named(part: Part) -> Iterator[None]:
    """Put the table's path before what a metric complains of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{part.path}: {error}") from None


def _check_complete(parts: list[Part]) -> None:
    """Refuse variants that do not all hold the same ids, in every language of a split."""
    present = {(part.path, part.variant) for part in parts}
    truths: dict[tuple[Path, str], set[Any]] = {}
    for part in parts:
        truth = _truth(part)
        if truth != truths.setdefault((part.path, part.split), truth):
            raise DataError(part.path, f"{part.variant} holds other ids than the variant before it", _AGAIN)
    for variant in dict.fromkeys(part.variant for part in parts):
        for path, _ in truths:
            if (path, variant) not in present:
                raise DataError(path, f"{variant} is missing, though other tables have it", _AGAIN)


def _truth(part: Part) -> set[Any]:
    """What is to be predicted: the ids, or the gold pairs of a mining table."""
    if "id" in part.table.column_names:
        return set(part.table["id"].to_pylist())
    gold = part.table.filter(part.table["gold"])
    return set(zip(gold["foreign"].to_pylist(), gold["english"].to_pylist(), strict=True))


def _check_ids(part: Part, *columns: str) -> None:
    key, count = Counter(zip(*_columns(part, *columns), strict=True)).most_common(1)[0]
    if count > 1:
        raise DataError(part.path, f"id {' '.join(key)!r} stands {count} times", _AGAIN)


def _check_numbers(part: Part, column: Any) -> None:
    while pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    if pc.any(pc.is_nan(column)).as_py():
        raise DataError(part.path, "a score is not a number (NaN)", "check the checkpoint, then predict again")


def _pair(part: Part, metric: Any) -> tuple[Scores, Examples]:
    ids, gold, prediction = _columns(part, *_ANSWERED)
    return {"accuracy": metric.accuracy(gold, prediction)}, examples.labelled(ids, gold, prediction)


def _tagging(part: Part, metric: Any) -> tuple[Scores, Examples]:
    ids, gold, prediction = _columns(part, *_ANSWERED)
    scores = {**metric.span_scores(gold, prediction), "accuracy": metric.token_accuracy(gold, prediction)}
    return scores, examples.tagged(ids, gold, prediction, metric)


def _span(part: Part, metric: Any) -> tuple[Scores, Examples]:
    ids, gold, prediction = _columns(part, *_ANSWERED)
    of_language = (part.language,) if metric.__name__.endswith(".mlqa") else ()
    scores: Scores = metric.score(gold, prediction, *of_language)
    return scores, examples.answered(ids, gold, prediction, metric, *of_language)


_SCORERS: dict[str, Callable[[Part, Any], tuple[Scores, Examples]]] = {
    "pair": _pair,
    "tagging": _tagging,
    "span": _span,
    "retrieval": _pair,
}


def _columns(part: Part, *names: str) -> list[list[Any]]:
    return [part.table[name].to_pylist() for name in names]


def _mined(parts: list[Part], metric: Any) -> list[_Scored]:
    """Mining scores: the threshold of a language and variant is tuned on dev (XTREME, `bucc_optimize`)."""
    mined = {(part.split, part.language, part.variant): Mined.of(part) for part in parts}
    scored = []
    for part in parts:
        dev = mined.get(("dev", part.language, part.variant))
        if dev is None:
            raise DataError(part.path, "no dev predictions to tune the threshold on", "give the dataset a dev part")
        found = mined[part.split, part.language, part.variant]
        with _named(part):
            kept = found.kept(dev, metric)
            scores = metric.pair_scores(found.gold, kept)
        scored.append(_Scored(part, scores, len(found.gold), examples.mined(found.gold, kept)))
    return scored


@dataclass(frozen=True)
class Mined:
    """Candidate pairs (foreign id, English id) with their scores, and the gold pairs, mined or missed."""

    candidates: dict[tuple[str, str], float]
    gold: set[tuple[str, str]]

    @classmethod
    def of(cls, part: Part) -> Mined:
        _check_ids(part, "foreign", "english")
        rows = list(zip(*_columns(part, "foreign", "english", "score", "gold"), strict=True))
        if any(math.isnan(value) and not gold for _, _, value, gold in rows):
            raise DataError(part.path, "a candidate's score is not a number (NaN)", _AGAIN)
        return cls(
            {(foreign, english): value for foreign, english, value, _ in rows if not math.isnan(value)},
            {(foreign, english) for foreign, english, _, gold in rows if gold},
        )

    def kept(self, dev: Mined, metric: Any) -> list[tuple[str, str]]:
        """The candidates that reach the threshold with the best F1 on dev; all of them if dev has no candidates."""
        threshold = metric.best_threshold(dev.candidates, dev.gold) if dev.candidates else 0.0
        kept: list[tuple[str, str]] = metric.above(self.candidates, threshold)
        return kept


def _rows(scored: Iterable[_Scored], metrics: list[str]) -> Iterator[dict[str, Any]]:
    for one in scored:
        yield from _per_metric(one.part.variant, one.part.language, one.part.split, one.scores, one.n, metrics)


def _averages(scored: list[_Scored], metrics: list[str]) -> Iterator[dict[str, Any]]:
    """XTREME's mean over languages, of every variant and split; none of a variant that lacks a language (an oracle)."""
    languages = {(one.part.split, one.part.language) for one in scored}
    for split, variant in dict.fromkeys((one.part.split, one.part.variant) for one in scored):
        members = [one for one in scored if (one.part.split, one.part.variant) == (split, variant)]
        if len(members) < sum(of == split for of, _ in languages):
            continue
        scores = {name: mean(one.scores[name] for one in members) for name in metrics}
        yield from _per_metric(variant, "avg", split, scores, sum(one.n for one in members), metrics)


def _per_metric(
    variant: str, language: str, split: str, scores: Scores, n: int, metrics: list[str]
) -> Iterator[dict[str, Any]]:
    for name in metrics:
        yield {
            "variant": variant,
            "language": language,
            "split": split,
            "metric": name,
            "value": scores[name],
            "n": n,
        }
