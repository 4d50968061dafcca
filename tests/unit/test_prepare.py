"""Preparing datasets from files: tables, records, dev cut from train, limits, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow.parquet as pq
import pytest

from xstilts import config, languages, tasks
from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import Dataset, DevCut
from xstilts.tasks import formats, rows, sources
from xstilts.tasks.prepare import SCHEMAS, cut, first, prepare

PAIRS = {"format": "pairs", "files": {"train": "train.tsv", "dev": "dev.tsv"}}
ROWS = {
    "pair": rows.PairRow,
    "choice": rows.ChoiceRow,
    "span": rows.SpanRow,
    "tagging": rows.TaggingRow,
    "retrieval": rows.RetrievalRow,
    "mlm": rows.TextRow,
}


def job(tmp_path: Path, kind: str, source: dict[str, Any], *parts: tuple[str, str], labels: Any = ()) -> dict[str, Any]:
    dumped = Dataset.model_validate(source).model_dump(mode="json")
    root = tmp_path / "data"
    root.mkdir(exist_ok=True)
    return {
        "name": "prepare/d",
        "digest": "abc",
        "plan": {"step": "prepare"},
        "dataset": "d",
        "kind": kind,
        "labels": list(labels),
        "source": dumped,
        "root": str(root),
        "parts": [list(part) for part in parts],
        "output": str(tmp_path / "out" / "d"),
    }


def table(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(tmp_path / "out" / "d" / f"{name}.parquet").to_pylist()
    return found


def write(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("kind", SCHEMAS)
def test_tables_have_the_columns_of_their_rows(kind: str) -> None:
    assert SCHEMAS[kind].names == list(get_type_hints(ROWS[kind]))


def test_parts_and_their_record(tmp_path: Path) -> None:
    write(tmp_path, "train.tsv", "a\tb\tyes\nc\td\t-\ne\tf\tno\ng\th\tyes\n")
    write(tmp_path, "dev.tsv", "i\tj\tno\n")
    source = {"files": [{**PAIRS, "labels": {"yes": "1", "no": "0"}, "drop_labels": ["-"]}], "limit": {"train": 2}}
    prepare(job(tmp_path, "pair", source, ("train", "en"), ("dev", "en"), labels=("0", "1")))
    assert table(tmp_path, "train.en") == [
        {"id": "0", "text_a": "a", "text_b": "b", "label": "1"},
        {"id": "2", "text_a": "e", "text_b": "f", "label": "0"},
    ]
    record = json.loads((tmp_path / "out" / "d" / "record.json").read_text(encoding="utf-8"))
    train = record["parts"]["train.en"]
    content = (tmp_path / "out" / "d" / "train.en.parquet").read_bytes()
    assert train == {
        "rows": 2,
        "sha256": hashlib.sha256(content).hexdigest(),
        "labels": {"0": 1, "1": 1},
        "noted": {"dropped: label -": 1},
    }
    assert record["parts"]["dev.en"]["rows"] == 1
    assert record["origin"] == {"root": str(tmp_path / "data")}
    assert (record["step"], record["name"], record["digest"]) == ("prepare", "prepare/d", "abc")


def test_the_same_data_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path, "train.tsv", "a\tb\t1\n")
    digests = []
    for _ in range(2):
        prepare(job(tmp_path, "pair", {"files": [PAIRS]}, ("train", "en")))
        digests.append(hashlib.sha256((tmp_path / "out/d/train.en.parquet").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path, "train.tsv", "a\tb\t1\n")
    write(tmp_path, "dev.tsv", "a\tb\n")
    with pytest.raises(DataError, match=r"dev\.tsv:1"):
        prepare(job(tmp_path, "pair", {"files": [PAIRS]}, ("train", "en"), ("dev", "en")))
    assert not list((tmp_path / "out").rglob("*"))


def test_a_part_without_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "dev.tsv", "a\tb\t-\n")
    with pytest.raises(DataError, match=r"d \(dev, en\): no rows"):
        prepare(job(tmp_path, "pair", {"files": [{**PAIRS, "drop_labels": ["-"]}]}, ("dev", "en")))


def test_a_split_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.datasets\.d\.files: no files of split 'test' in language 'de'"):
        prepare(job(tmp_path, "pair", {"files": [PAIRS]}, ("test", "de")))


def test_a_dataset_without_a_hub_copy_is_refused(tmp_path: Path) -> None:
    given = job(tmp_path, "pair", {}, ("test", "de")) | {"root": None}
    with pytest.raises(ConfigError, match="the hub has no test split of it; give `files:`"):
        prepare(given)


@pytest.mark.parametrize(
    ("kind", "form", "text", "expected"),
    [
        ("choice", "hellaswag", '{"ctx": "a", "endings": ["b", "c"], "label": 1}\n', {"1": 1}),
        ("tagging", "columns", "a\tX\nb\tY\nc\tX\n", {"X": 2, "Y": 1}),
    ],
)
def test_label_counts_of_other_kinds(tmp_path: Path, kind: str, form: str, text: str, expected: dict[str, int]) -> None:
    write(tmp_path, "f", text)
    prepare(job(tmp_path, kind, {"files": [{"format": form, "files": {"train": "f"}}]}, ("train", "en")))
    record = json.loads((tmp_path / "out" / "d" / "record.json").read_text(encoding="utf-8"))
    assert record["parts"]["train.en"]["labels"] == expected


# --- dev cut from train


def squad(titles: str) -> str:
    """One answerable question an article, in the order of the titles (one letter each)."""
    data = [
        {
            "title": title,
            "paragraphs": [
                {"context": f"{title} c", "qas": [
                    {"id": f"{title}{i}", "question": "?", "answers": [{"text": "c", "answer_start": 2}]}
                    for i in range(2)
                ]}
            ],
        }
        for title in titles
    ]  # fmt: skip
    return json.dumps({"data": data})


def cut_titles(tmp_path: Path, titles: str) -> tuple[list[str], list[str]]:
    write(tmp_path, "s.json", squad(titles))
    source = {"files": [{"format": "squad", "files": {"train": "s.json"}}], "dev": {"share": 0.2, "unit": "article"}}
    prepare(job(tmp_path, "span", source, ("train", "en"), ("dev", "en")))
    train, dev = ([row["title"] for row in table(tmp_path, f"{split}.en")] for split in ("train", "dev"))
    return train, dev


def test_dev_is_cut_by_article(tmp_path: Path) -> None:
    train, dev = cut_titles(tmp_path, "ABCDEFGHIJ")
    assert len(set(dev)) == 2  # a fifth of ten articles
    assert len(dev) == 4  # each with both its questions
    assert sorted({*train, *dev}) == list("ABCDEFGHIJ")
    assert not set(train) & set(dev)


def test_the_cut_depends_on_what_units_hold_not_on_their_order(tmp_path: Path) -> None:
    train, dev = cut_titles(tmp_path, "ABCDEFGHIJ")
    again, dev_again = cut_titles(tmp_path, "JIHGFEDCBA")
    assert (set(train), set(dev)) == (set(again), set(dev_again))
    assert dev == dev_again[::-1]  # rows keep the order of their file


def pair(row_id: str, text_a: str) -> rows.PairRow:
    return rows.PairRow(id=row_id, text_a=text_a, text_b="b", label="0")


def test_equal_rows_stay_together() -> None:
    given: list[Any] = [pair(str(i), str(i % 5)) for i in range(10)]
    for unit in ("row", "text_a"):
        how = DevCut(share=0.2, unit=unit)  # type: ignore[arg-type]
        dev, train = cut(given, how, dev=True), cut(given, how, dev=False)
        assert [len(dev), len({row["text_a"] for row in dev}), len(train)] == [2, 1, 8]


def test_a_cut_leaves_both_sides_something() -> None:
    given: list[Any] = [pair("0", "a"), pair("1", "b")]
    for share in (0.01, 0.99):
        how = DevCut(share=share, unit="text_a")
        assert [len(cut(given, how, dev=dev)) for dev in (True, False)] == [1, 1]
    with pytest.raises(ConfigError, match="cannot cut dev from 1 unit"):
        cut(given[:1], DevCut(unit="text_a"), dev=True)


def test_a_cut_by_article_needs_titles() -> None:
    with pytest.raises(ConfigError, match=r"dev\.unit: its rows have no title to keep together"):
        cut([pair("0", "a"), pair("1", "b")], DevCut(unit="article"), dev=True)


def test_a_row_that_lacks_what_dev_is_cut_by_is_named_by_its_line(tmp_path: Path) -> None:
    write(tmp_path, "train.tsv", "a\tb\tx\n \tb\tx\n")
    with pytest.raises(DataError, match=r"train\.tsv:2: text_a is empty, and dev is cut by it; give it, or"):
        prepare(job(tmp_path, "pair", {"files": [PAIRS], "dev": {"unit": "text_a"}}, ("train", "en")))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("english", [3696, 3697])
def test_complete_files_must_have_their_rows(tmp_path: Path, english: int) -> None:
    """TyDiQA's full GoldP file holds all languages, and 3,696 English questions."""
    rows = config.known_datasets()["tydiqa"].files[0].rows
    group = {"format": "squad", "files": {"train": "s.json"}, "columns": {"language": "id"}, "codes": {"en": "english"}}
    articles = [[f"english-{i}" for i in range(9)], [f"english-{i}" for i in range(9, english)] + ["finnish-1"]]
    answer = {"question": "who?", "answers": [{"text": "Ada", "answer_start": 0}]}
    paragraphs = [[{"context": "Ada", "qas": [{"id": name, **answer} for name in names]}] for names in articles]
    data = [{"title": title, "paragraphs": found} for title, found in zip("AB", paragraphs, strict=True)]
    write(tmp_path, "s.json", json.dumps({"data": data}))
    source = {"files": [{**group, "rows": rows}], "dev": {"unit": "article"}}
    one = job(tmp_path, "span", source, ("train", "en"), ("dev", "en"))
    if english == 3696:
        prepare(one)
        assert sum(len(table(tmp_path, f"{split}.en")) for split in ("train", "dev")) == 3696
    else:
        with pytest.raises(DataError, match=r"s\.json: 3697 rows of language 'en', expected 3696; fetch them again"):
            prepare(one)


# --- limits


def test_limits_of_retrieval_keep_both_sides_and_their_gold(tmp_path: Path) -> None:
    write(tmp_path, "t.de", "eins\nzwei\ndrei\n")
    write(tmp_path, "t.en", "one\ntwo\nthree\n")
    group = {"format": "line_pairs", "files": {"test": ["t.{lang}", "t.en"]}}
    prepare(job(tmp_path, "retrieval", {"files": [group], "limit": {"test": 2}}, ("test", "de")))
    assert [(r["side"], r["text"], r["gold"]) for r in table(tmp_path, "test.de")] == [
        ("foreign", "eins", ["0"]),
        ("foreign", "zwei", ["1"]),
        ("english", "one", []),
        ("english", "two", []),
    ]
    record = json.loads((tmp_path / "out" / "d" / "record.json").read_text(encoding="utf-8"))
    assert record["parts"]["test.de"]["labels"] == {"english": 2, "foreign": 2, "gold pairs": 2}


def test_gold_outside_the_limit_goes() -> None:
    given: list[Any] = [
        rows.RetrievalRow(side="foreign", id="f", text="x", gold=["e1", "e2"]),
        rows.RetrievalRow(side="english", id="e1", text="y", gold=[]),
        rows.RetrievalRow(side="english", id="e2", text="z", gold=[]),
    ]
    assert [row["gold"] for row in first(given, 1, "retrieval")] == [["e1"], []]
    assert first(given, None, "retrieval") == given


# --- the known datasets


def test_every_dataset_of_every_task_is_known() -> None:
    wanted = {d for name in tasks.names() for d in tasks.get(name).datasets or (name,)} - {"anli_plus"}
    assert wanted <= set(config.known_datasets())


def test_every_format_has_a_reader() -> None:
    used = {group.format for source in config.known_datasets().values() for group in source.files}
    assert all(callable(formats.reader(name)) for name in used)


def test_datasets_without_a_usable_hub_copy() -> None:
    assert {name for name, source in config.known_datasets().items() if source.hub is None} == {
        "ccg",
        "udpos",
        "bucc2018",
    }


@pytest.mark.parametrize(("target", "codes"), config.xtreme_languages().items())
def test_every_language_of_a_target_has_a_test_part(target: str, codes: tuple[str, ...]) -> None:
    source = config.known_datasets()[target]
    assert all(sources.has_part(source, "test", code, hub=False) for code in codes)
    assert source.hub is None or all(sources.has_part(source, "test", code, hub=True) for code in codes)


def test_tatoeba_is_named_by_iso_639_3() -> None:
    source = config.known_datasets()["tatoeba"]
    assert source.hub is not None
    for code in config.xtreme_languages()["tatoeba"]:
        iso3 = languages.table()[code].iso3
        assert source.files[0].codes[code] == iso3
        assert source.hub.config[code] == f"{iso3}-eng"  # type: ignore[index]


def test_no_published_dev_of_squad_is_ever_read() -> None:
    for name in ("squad_v1", "squad_v2", "tydiqa"):
        source = config.known_datasets()[name]
        assert source.dev is not None
        assert source.dev.unit == "article"
        assert "dev" not in source.files[0].files
        assert source.hub is not None
        assert "dev" not in source.hub.splits


def test_labels_of_the_known_datasets_are_the_task_s() -> None:
    for name in tasks.names():
        task = tasks.get(name)
        for dataset in task.datasets or (name,):
            source = config.known_datasets()[dataset]
            maps = [group.labels for group in source.files] + ([source.hub.labels] if source.hub else [])
            if task.labels:
                assert all(set(given.values()) <= set(task.labels) for given in maps), dataset
