"""Datasets as the hub has them, from a local directory of the same shape: parquet with the recorded columns."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from xstilts import config, tasks
from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import Dataset, HubSource
from xstilts.tasks import hub
from xstilts.tasks.formats.part import Part
from xstilts.tasks.prepare import prepare


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def repository(folder: Path, name: str, tables: dict[str, pa.Table]) -> Path:
    """A repository with one configuration, as the hub lays it out; returns its path."""
    files = []
    for split, table in tables.items():
        path = folder / name / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        files.append({"split": split, "path": f"{name}/{split}-*"})
    card = {"configs": [{"config_name": name, "data_files": files}]}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n", encoding="utf-8")
    return folder


def known(name: str, path: Path, **changes: Any) -> HubSource:
    """What xstilts knows of a dataset's hub copy, at another place, without the number of rows."""
    source = config.known_datasets()[name].hub
    assert source is not None
    return source.model_copy(update={"id": str(path), "rows": {}, **changes})


def read(source: HubSource, task: str, split: Any, language: str = "en") -> tuple[list[Any], Counter[str]]:
    given = tasks.get(task)
    part = Part(split, language, given.labels, source.labels, source.drop_labels)
    return list(hub.read(source, given.kind, part)), part.counts


COMMIT = "a" * 40
ANSWERS = pa.list_(pa.string()), pa.list_(pa.int64())


def qa(*given: tuple[str, str, str, list[str], list[int]], title: bool = True) -> pa.Table:
    struct = pa.struct([("text", ANSWERS[0]), ("answer_start", ANSWERS[1])])
    columns: dict[str, Any] = {
        "id": [g[0] for g in given],
        "context": [g[1] for g in given],
        "question": [g[2] for g in given],
        "answers": pa.array([{"text": g[3], "answer_start": g[4]} for g in given], type=struct),
    }
    return pa.table({"title": ["T"] * len(given), **columns} if title else columns)


def test_labels_by_index_and_dropped_ones(tmp_path: Path) -> None:
    table = pa.table({"premise": ["a", "b", "c"], "hypothesis": ["d", "e", "f"], "label": [2, -1, 0]})
    rows, counts = read(known("snli", repository(tmp_path / "r", "plain_text", {"train": table})), "mnli", "train")
    assert rows == [
        {"id": "0", "text_a": "a", "text_b": "d", "label": "contradiction"},
        {"id": "2", "text_a": "c", "text_b": "f", "label": "entailment"},
    ]
    assert counts == {"dropped: label -1": 1}


def test_class_labels_of_the_hub_are_read_as_indices(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=list(tasks.get("panx").labels))),
        }
    )
    rows = {"tokens": [["In", " Bonn "]], "ner_tags": [[0, 5]]}
    table = datasets.Dataset.from_dict(rows, features=features).data.table
    source = known("panx", repository(tmp_path / "r", "de", {"test": table}))
    assert read(source, "panx", "test", "de")[0] == [{"id": "0", "tokens": ["In", "Bonn"], "tags": ["O", "B-LOC"]}]


def test_questions_reach_into_structs(tmp_path: Path) -> None:
    table = qa(("1", "Ada wrote.", "Who?", ["Ada"], [0]), ("2", "Ada wrote.", "Why?", [], []))
    rows, counts = read(
        known("squad_v2", repository(tmp_path / "r", "squad_v2", {"train": table})), "squad_v2", "train"
    )
    assert [(r["id"], r["title"], r["answers"], r["starts"]) for r in rows] == [
        ("1", "T", ["Ada"], [0]),
        ("2", "T", [], []),
    ]
    assert not counts


def test_one_table_with_all_languages_and_stripped_passages(tmp_path: Path) -> None:
    table = qa(
        ("english-1-0", "Ada wrote.", "Who?", ["wrote"], [6]),
        ("finnish-1-0", "Ada kirjoitti.", "Kuka?", ["Ada"], [0]),
    )
    source = known("tydiqa", repository(tmp_path / "r", "secondary_task", {"train": table, "validation": table}))
    rows, counts = read(source, "tydiqa", "train", "en")
    assert [(r["id"], r["starts"]) for r in rows] == [("english-1-0", [4])]
    assert counts == {"repaired: answer_start": 1}
    assert [r["id"] for r in read(source, "tydiqa", "test", "fi")[0]] == ["finnish-1-0"]


def test_a_dataset_without_titles(tmp_path: Path) -> None:
    table = qa(("1", "Ada wrote.", "Who?", ["Ada"], [0]), title=False)
    rows, _ = read(known("xquad", repository(tmp_path / "r", "xquad.de", {"validation": table})), "xquad", "test", "de")
    assert rows[0]["title"] == ""


def test_choices_of_a_struct_and_of_numbered_columns(tmp_path: Path) -> None:
    choices = [{"label": ["A", "B"], "text": ["x", "y"]}]
    flat = pa.table({"id": ["i"], "question": ["Where?"], "choices": choices, "answerKey": ["B"]})
    source = known("commonsenseqa", repository(tmp_path / "c", "default", {"train": flat}))
    assert read(source, "commonsenseqa", "train")[0] == [
        {"id": "i", "context": "Where?", "question": "", "choices": ["x", "y"], "label": 1}
    ]
    answers = {f"answer{i}": [letter] for i, letter in enumerate("wxyz")}
    cosmos = pa.table({"id": ["i"], "context": ["c"], "question": ["q"], **answers, "label": [3]})
    source = known("cosmosqa", repository(tmp_path / "q", "default", {"validation": cosmos}))
    assert read(source, "cosmosqa", "dev")[0] == [
        {"id": "i", "context": "c", "question": "q", "choices": ["w", "x", "y", "z"], "label": 3}
    ]


def test_labels_that_are_digits_in_text(tmp_path: Path) -> None:
    table = pa.table({"ctx": ["c"], "endings": [["w", "x", "y", "z"]], "label": ["2"]})
    source = known("hellaswag", repository(tmp_path / "r", "default", {"train": table}))
    assert read(source, "hellaswag", "train")[0][0]["label"] == 2
    hidden = pa.table({"ctx": ["c"], "endings": [["w", "x", "y", "z"]], "label": [""]})
    source = known("hellaswag", repository(tmp_path / "s", "default", {"train": hidden}))
    with pytest.raises(DataError, match=r":1: label '' is no index of its choices"):
        read(source, "hellaswag", "train")


def test_folders_instead_of_configurations(tmp_path: Path) -> None:
    for name, text in (("deu-eng", "eins"), ("fra-eng", "un")):
        path = tmp_path / "r" / name / "test" / "0000.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"sentence1": [f"{text}\n"], "sentence2": ["one\n"]}), path)
    rows, _ = read(known("tatoeba", tmp_path / "r"), "tatoeba", "test", "fr")
    assert rows == [
        {"side": "foreign", "id": "0", "text": "un", "gold": ["0"]},
        {"side": "english", "id": "0", "text": "one", "gold": []},
    ]
    with pytest.raises(ConfigError, match="no configuration for language 'qaa'"):
        read(known("tatoeba", tmp_path / "r"), "tatoeba", "test", "qaa")


PAIRS = pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"train": 2}, None),
        ({"train.en": 2, "train": 9}, None),
        ({"train": 3}, r"\(train, en\): 2 rows, expected 3; .* pin"),
    ],
)
def test_the_number_of_rows_is_checked(tmp_path: Path, rows: dict[str, int], message: str | None) -> None:
    source = known("pawsx", repository(tmp_path / "r", "en", {"train": PAIRS}), rows=rows)
    if message is None:
        assert len(read(source, "pawsx", "train")[0]) == 2
    else:
        with pytest.raises(DataError, match=message):
            read(source, "pawsx", "train")


def columns(text_a: str) -> dict[str, Any]:
    return {"columns": {"text_a": text_a, "text_b": "sentence2", "label": "label"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": "xx"}, "cannot load configuration 'xx': .* 'xx' not found.*correct the dataset's `hub:`"),
        ({"splits": {"train": "training"}}, 'Unknown split "training"'),
        (columns("s1"), r"\(train, en\):1: no column 's1' \(there is sentence1, sentence2, label\)"),
        (columns("sentence1.x"), r"no column 'sentence1\.x' \(there is no struct\)"),
        (columns("label"), ":1: 'text_a' is 0, expected a text"),
        ({"labels": {"0": "no"}}, ":1: unknown label '0'; known are 0, 1"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    source = known("pawsx", repository(tmp_path / "r", "en", {"train": PAIRS}), **changes)
    with pytest.raises(DataError, match=message):
        read(source, "pawsx", "train")


def test_every_field_needs_a_column(tmp_path: Path) -> None:
    source = known("pawsx", tmp_path, columns={"text_a": "sentence1"})
    with pytest.raises(ConfigError, match="no column for text_b, label"):
        read(source, "pawsx", "train")


def test_scripts_are_never_run(tmp_path: Path) -> None:
    folder = repository(tmp_path / "r", "en", {"train": PAIRS})
    (folder / "r.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    with pytest.raises(DataError, match="it is a script, which is never run"):
        read(known("pawsx", folder), "pawsx", "train")
    assert not (tmp_path / "ran").exists()


def test_only_parquet_is_read(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "train.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "label": 0}\n', encoding="utf-8")
    with pytest.raises(DataError, match="its files are json, expected parquet"):
        read(known("pawsx", tmp_path / "r", config="default"), "pawsx", "train")


def test_no_connection_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nobody/nothing: .*connect to the hub, or take upstream's files"):
        read(known("pawsx", tmp_path, id="nobody/nothing"), "pawsx", "train")


@pytest.fixture
def fetched(tmp_path: Path) -> HubSource:
    """A dataset of the hub that was fetched earlier: `datasets` keeps it under its name and commit."""
    table = pa.table({"premise": ["a"], "hypothesis": ["b"], "label": [2]})
    repository_path = repository(tmp_path / "r", "plain_text", {"train": table})
    assert read(known("snli", repository_path), "mnli", "train")[0]
    (kept,) = (tmp_path / "cache").glob("*/plain_text/*/*/")
    place = tmp_path / "cache" / "owner___copy" / "plain_text" / "0.0.0" / COMMIT
    place.parent.mkdir(parents=True)
    kept.rename(place)
    for file in place.glob("r-*.arrow"):
        file.rename(place / file.name.replace("r-", "copy-", 1))
    return known("snli", Path("owner/copy"))


def test_the_commit_that_was_loaded_is_recorded(fetched: HubSource, tmp_path: Path) -> None:
    dumped = Dataset(hub=fetched).model_dump(mode="json")
    job = {
        "name": "prepare/snli", "digest": "0", "plan": {}, "dataset": "snli", "kind": "pair", "root": None,
        "labels": tasks.get("mnli").labels, "source": dumped, "parts": [["train", "en"]],
        "output": str(tmp_path / "out"),
    }  # fmt: skip
    prepare(job)
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert record["origin"]["revision"] == "unpinned"
    assert record["parts"]["train.en"]["commit"] == COMMIT


def test_a_copy_of_another_commit_than_the_pinned_one_is_refused(fetched: HubSource) -> None:
    assert read(fetched.model_copy(update={"revision": COMMIT}), "mnli", "train")[0]
    with pytest.raises(DataError, match=rf"owner/copy: the hub cannot be reached, .* commit {COMMIT}; connect to"):
        read(fetched.model_copy(update={"revision": "b" * 40}), "mnli", "train")


def test_tydiqa_must_have_its_3696_english_questions(tmp_path: Path) -> None:
    """The full GoldP train file holds all languages; a copy that lost or gained one question is refused."""

    def table(english: int) -> pa.Table:
        ids = [f"english-{i}" for i in range(english)] + [f"finnish-{i}" for i in range(20)]
        return qa(*((name, "Ada wrote.", "Who?", ["Ada"], [0]) for name in ids))

    hub = config.known_datasets()["tydiqa"].hub
    assert hub is not None
    rows = hub.rows
    whole = known("tydiqa", repository(tmp_path / "whole", "secondary_task", {"train": table(3696)}), rows=rows)
    assert len(read(whole, "tydiqa", "train")[0]) == 3696
    short = known("tydiqa", repository(tmp_path / "short", "secondary_task", {"train": table(3695)}), rows=rows)
    with pytest.raises(DataError, match=r"3695 rows, expected 3696; the hub's copy changed: pin `hub.revision`"):
        read(short, "tydiqa", "train")


def test_prepare_takes_a_part_from_the_hub(tmp_path: Path) -> None:
    folder = repository(tmp_path / "r", "en", {"train": PAIRS})
    source = Dataset(hub=known("pawsx", folder))
    job = {
        "name": "prepare/pawsx",
        "digest": "abc",
        "plan": {},
        "dataset": "pawsx",
        "kind": "pair",
        "labels": ["0", "1"],
        "source": source.model_dump(mode="json"),
        "root": None,
        "parts": [["train", "en"]],
        "output": str(tmp_path / "out"),
    }
    prepare(job)
    assert pq.read_table(tmp_path / "out" / "train.en.parquet").column("label").to_pylist() == ["0", "1"]
    record = yaml.safe_load((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert record["origin"] == {"hub": str(folder), "revision": "unpinned"}
