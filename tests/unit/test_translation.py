"""Translated training data: a model's, with ids and labels kept, and a user's, held against the original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.unit import tiny_seq2seq

from xstilts import config
from xstilts.errors import DataError, UserError
from xstilts.study import Plan, Step
from xstilts.tasks.prepare import SCHEMAS
from xstilts.translation.match import match
from xstilts.translation.translate import translate

ROOT = Path(__file__).parents[2]
PAIRS = [
    {"id": "a", "text_a": "the cat sat on the mat", "text_b": "the dog ran away", "label": "neutral"},
    {"id": "b", "text_a": "the cat sat on the mat", "text_b": "a quick brown fox", "label": "entailment"},
]
CHOICES = [{"id": "c", "context": "the dog", "question": "", "choices": ["ran away", "sat"], "label": 1}]


def part(path: Path, kind: str, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[kind]), path)
    return str(path)


def job(tmp_path: Path, model: Path, kind: str, rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    given = {
        "name": "translate/d/de",
        "digest": "0",
        "plan": {},
        "kind": kind,
        "hub": None,
        "revision": "unpinned",
        "path": str(model),
        "source": "en",
        "target": "de",
        "beams": 1,
        "max_length": 12,
        "batch": 2,
        "precision": "fp32",
        "train": part(tmp_path / "train.en.parquet", kind, rows),
        "language": "de",
        "compute": {"device": "cpu", "threads": 1},
        "output": str(tmp_path / "out"),
    }
    return {**given, **changes}


def made(tmp_path: Path) -> pa.Table:
    return pq.read_table(tmp_path / "out" / "train.de.parquet")


@pytest.mark.parametrize("family", [tiny_seq2seq.marian, tiny_seq2seq.m2m], ids=["marian", "m2m"])
def test_texts_are_translated_and_ids_labels_and_schema_are_kept(tmp_path: Path, family: Any) -> None:
    translate(job(tmp_path, family(tmp_path / "model"), "pair", PAIRS))
    table = made(tmp_path)
    assert table.schema == SCHEMAS["pair"]
    rows = table.to_pylist()
    assert [(row["id"], row["label"]) for row in rows] == [("a", "neutral"), ("b", "entailment")]
    assert rows[0]["text_a"] == rows[1]["text_a"] != PAIRS[0]["text_a"]
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert (record["rows"], record["texts"]) == (2, 3)
    before = rows
    translate(job(tmp_path, tmp_path / "model", "pair", PAIRS, output=str(tmp_path / "again")))
    assert pq.read_table(tmp_path / "again" / "train.de.parquet").to_pylist() == before


def test_choices_are_translated_one_by_one_and_an_empty_question_stays_empty(tmp_path: Path) -> None:
    translate(job(tmp_path, tiny_seq2seq.marian(tmp_path / "model"), "choice", CHOICES, max_length=2))
    (row,) = made(tmp_path).to_pylist()
    assert (row["question"], len(row["choices"]), row["label"]) == ("", 2, 1)
    assert row["context"] != "the dog"
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert record["cut"] == 3


def test_a_model_that_cannot_serve_is_one_line(tmp_path: Path) -> None:
    m2m = tiny_seq2seq.m2m(tmp_path / "m2m")
    several = tiny_seq2seq.marian(tmp_path / "marian", (">>fra<<",))
    empty = tmp_path / "empty"
    empty.mkdir()
    mistakes: list[tuple[Path, str, str]] = [
        (m2m, "xx", "knows no language 'xx'; give the model's own code"),
        (several, "deu", "knows no language 'deu'"),
        (empty, "de", "no safetensors weights, no others are read"),
    ]
    for model, target, message in mistakes:
        with pytest.raises(UserError, match=message) as caught:
            translate(job(tmp_path, model, "pair", PAIRS, target=target))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# --- files of a user


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (PAIRS[:1], r"mine.tsv: row 2: 1 rows, the original has 2; row i must translate row i"),
        (
            [PAIRS[0], {**PAIRS[1], "label": "neutral"}],
            "mine.tsv: row 2: label 'neutral', the original has 'entailment'",
        ),
    ],
)
def test_translated_rows_that_do_not_match_are_one_line(tmp_path: Path, rows: list[Any], message: str) -> None:
    original = part(tmp_path / "en.parquet", "pair", PAIRS)
    given = {"name": "match", "digest": "0", "plan": {}, "files": ["mine.tsv"], "output": str(tmp_path / "out")}
    match({**given, "originals": [original], "translated": original})
    (tmp_path / "out" / "record.json").unlink()
    with pytest.raises(DataError, match=message) as caught:
        match({**given, "originals": [original], "translated": part(tmp_path / "de.parquet", "pair", rows)})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "record.json").exists()


# --- the plan


def plan(translation: dict[str, Any], task: str = "mnli", **settings: Any) -> Plan:
    raw = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))
    use = {"task": task, "languages": ["en", "qaa"], "translated": "made"}
    raw["intermediates"] = {"none": {"tasks": []}, "row": {"tasks": [use]}}
    raw = config.deep_merge(config.deep_merge(raw, settings), {"data": {"translations": {"made": translation}}})
    return Plan(config.load(raw), scope="all")


def step(translation: dict[str, Any], **settings: Any) -> Step:
    return plan(translation, **settings).step("translate", ("made", "qaa"))


def test_a_row_trains_on_what_is_translated_and_on_english() -> None:
    study = plan({"of": "mnli", "hub": "a/b", "codes": {"qaa": "de"}})
    trained = study.step("intermediate", ("mini", "row", "seed-1"))
    translated = study.step("translate", ("made", "qaa"))
    assert trained.inputs["train:made/qaa"] == translated.digest and "train:mnli" in trained.inputs
    assert f"{translated.directory}/train.qaa.parquet" in trained.payload["train"]
    assert ("models", "a/b", "unpinned") in study.repositories()
    assert translated.digest in study.overlap().inputs.values()


def test_what_a_translation_depends_on(tmp_path: Path) -> None:
    base = {"of": "mnli", "hub": "a/b", "codes": {"qaa": "de"}}
    before = step(base)
    for change in ({"revision": "c" * 40}, {"beams": 4}, {"max_length": 64}, {"batch": 8}, {"codes": {"qaa": "fr"}}):
        assert step({**base, **change}).digest != before.digest
    assert step(base, data={"world": {"seed": 1}}).digest != before.digest
    assert step(base, compute={"threads": 7}, recipes={"mini": {"intermediate": {"mnli": {"steps": 7}}}}).digest == (
        before.digest
    )
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    local = step({"of": "mnli", "path": str(tmp_path)})
    (tmp_path / "config.json").write_text("{ }", encoding="utf-8")
    assert step({"of": "mnli", "path": str(tmp_path)}).digest != local.digest


@pytest.mark.parametrize(
    ("translation", "task", "message"),
    [
        ({"of": "squad_v1", "hub": "a/b"}, "squad_v1", r"'squad_v1' \(span\) has labels that point into its text"),
        ({"of": "ccg", "hub": "a/b"}, "ccg", r"'ccg' \(tagging\) has labels that point into its text"),
        ({"of": "qqp", "hub": "a/b"}, "mnli", "'made' translates 'qqp', which 'mnli' does not train on"),
        ({"of": "mnli"}, "mnli", "give exactly one of `hub` and `path`"),
    ],
)
def test_a_translation_that_cannot_be_is_one_line(translation: dict[str, Any], task: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(translation, task)
    assert "\n" not in str(caught.value)


def test_files_of_the_user_are_checked_before_they_are_trained_on() -> None:
    raw = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))
    raw["intermediates"] = {name: raw["intermediates"][name] for name in ("none", "qqp-en-qaa")}
    raw["intermediates"]["qqp-qaa"] = {"tasks": [{"task": "qqp", "languages": ["qaa"], "translated": "qqp_mt"}]}
    study = Plan(config.load(raw), scope="all")
    checks = [found for found in study.steps() if found.phase == "match"]
    assert [found.name for found in checks] == ["match/qqp/qqp_mt/qaa"]
    for row in ("qqp-en-qaa", "qqp-qaa"):
        assert checks[0] in study.step("intermediate", ("mini", row, "seed-1")).needs
    alone = {"none": raw["intermediates"]["none"], "qqp-qaa": raw["intermediates"]["qqp-qaa"]}
    study = Plan(config.load({**raw, "intermediates": alone}), scope="all")
    (check,) = (found for found in study.steps() if found.phase == "match")
    assert set(check.inputs) == {"train:qqp", "train:qqp_mt/qaa"}
    assert checks[0].payload["files"][0].endswith("translated/qaa/QQP/train.tsv")
