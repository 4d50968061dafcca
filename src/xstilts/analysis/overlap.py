"""How much of each test set a model may have seen: its texts that also stand in a training set, word for word.

An example's texts are both texts of a pair, the passage of a question, the context of a choice, the whole sentence of
a tagged one, and each sentence of a retrieval set. Texts are compared without case, white space, punctuation and
symbols, after Unicode's compatibility composition (NFKC): so a tagged sentence equals the text it was made from.
"""

from __future__ import annotations

import csv
import io
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xstilts import files, provenance
from xstilts.analysis.publish import forget_others
from xstilts.errors import DataError

Example = tuple[str, ...]
COLUMNS = ("training", "test", "language", "n", "overlapping", "share", "share_any_text")
_TEXTS = (("text_a", "text_b"), ("tokens",), ("context",), ("text",))  # columns of a kind's texts
_BATCH = 10_000  # rows read at a time: a BUCC side has hundreds of thousands


def overlap(job: Mapping[str, Any]) -> None:
    """Write the table, then the receipt, after those of other configurations are gone.

    Args:
        job: `name`, `digest`, `plan`; `training`: {dataset: prepared table}; `tests`: {dataset: {language: prepared
            table}}; `table` (the CSV file) and `output` (directory of the receipt).

    Raises:
        DataError: a table cannot be read.
    """
    started = time.time()
    receipt = Path(job["output"])
    forget_others(receipt)
    rows = list(table(job["training"], job["tests"]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    files.write_text(Path(job["table"]), text.getvalue())
    files.write_json(receipt / files.RECORD, provenance.record(dict(job), started, rows=len(rows)))


def table(training: Mapping[str, str], tests: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[Any, ...]]:
    """One row, as COLUMNS name it, for every training set, test set and language.

    `overlapping` counts the test examples all of whose texts occur in the training set, not necessarily in one example
    of it; `share` is their percentage; `share_any_text` that of examples of which one text at least occurs.
    """
    seen = {name: {text for example in examples(Path(path)) for text in example} for name, path in training.items()}
    for test, languages in tests.items():
        for language, path in languages.items():
            asked = list(examples(Path(path)))
            for name, texts in seen.items():
                whole, partly = _count(asked, texts)
                shares = (f"{100 * count / len(asked):.8g}" for count in (whole, partly))
                yield name, test, language, len(asked), whole, *shares


def _count(asked: Iterable[Example], seen: set[str]) -> tuple[int, int]:
    """Examples all of whose texts were seen, and those with one text that was."""
    found = [[text in seen for text in example] for example in asked]
    return sum(bool(one) and all(one) for one in found), sum(any(one) for one in found)


def examples(path: Path) -> Iterator[Example]:
    """The normalised texts of each row of a prepared table, without those of which nothing is left.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as source:
            columns = next(names for names in _TEXTS if set(names) <= set(source.schema_arrow.names))
            for batch in source.iter_batches(_BATCH, columns=list(columns)):
                for texts in zip(*(batch[name].to_pylist() for name in columns), strict=True):
                    yield tuple(filter(None, map(_normalised, texts)))
    except OSError as error:
        raise DataError(path, f"cannot be read ({error})", "delete it and run `snakemake all_data`") from None


def _normalised(text: str | list[str]) -> str:
    return normalise(text if isinstance(text, str) else " ".join(text))


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, case folded, nothing but letters, marks and digits."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_left_out())


@cache
def _left_out() -> dict[int, None]:
    """Every separator, control character, punctuation mark and symbol."""
    wanted = {"Zs", "Zl", "Zp", "Cc", "Cf", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"}
    return {code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in wanted}
