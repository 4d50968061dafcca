"""Tables from score files: a small study computed by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from xstilts.analysis import tables
from xstilts.errors import UserError

Scores = dict[tuple[str, str, str], float]  # (language, split, metric): value


def score(
    folder: Path,
    intermediate: str,
    target: str,
    seed: int | None,
    values: Scores,
    variants: tuple[str, ...] = ("best",),
) -> dict[str, Any]:
    """A cell whose score file holds `values`; every further variant is worth ten less."""
    phases = (None if intermediate == "none" else seed, None if target == "tatoeba" else seed)
    path = folder / f"{intermediate}-{target}-{seed}.json"
    rows = [
        {"variant": v, "language": lang, "split": split, "metric": metric, "value": value - 10 * k, "n": 4}
        for k, v in enumerate(variants)
        for (lang, split, metric), value in values.items()
    ]
    path.write_text(json.dumps({"rows": rows}), encoding="utf-8")
    cell = {
        "study": "s", "backbone": "b", "intermediate": intermediate, "target": target, "regime": "zero-shot",
        "seed_intermediate": phases[0], "seed_finetune": phases[1],
    }  # fmt: skip
    return {"cell": cell, "scores": str(path)}


def xnli(en: float, sw: float) -> Scores:
    """Dev and test of two languages; test is one point below dev."""
    found: Scores = {}
    for split, less in (("dev", 0.0), ("test", 1.0)):
        for lang, value in (("en", en), ("sw", sw), ("avg", (en + sw) / 2)):
            found[lang, split, "accuracy"] = value - less
    return found


def xquad(f1: float, em: float) -> Scores:
    return {("en", "test", "f1"): f1, ("en", "test", "exact_match"): em,
            ("avg", "test", "f1"): f1, ("avg", "test", "exact_match"): em}  # fmt: skip


def tatoeba(value: float) -> Scores:
    return {("sw", "test", "accuracy"): value, ("avg", "test", "accuracy"): value}


def small_study(folder: Path) -> list[dict[str, Any]]:
    """none: two seeds of XNLI; mnli: XQuAD is missing; qqp: a Tatoeba of two layers throughout."""
    layers = ("layer2", "layer1")
    return [
        score(folder, "qqp", "xnli", 1, xnli(70, 50)),
        score(folder, "none", "xnli", 2, xnli(84, 64)),
        score(folder, "none", "xnli", 1, xnli(80, 60)),
        score(folder, "mnli", "xnli", 1, xnli(90, 60)),
        score(folder, "none", "xquad", 1, xquad(80, 60)),
        score(folder, "qqp", "xquad", 1, xquad(76, 58)),
        score(folder, "none", "tatoeba", None, tatoeba(30), layers),
        score(folder, "mnli", "tatoeba", 1, tatoeba(80), layers),
        score(folder, "qqp", "tatoeba", 1, tatoeba(50), layers),
    ]


def job(folder: Path, cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "tables", "digest": "d", "plan": {"step": "tables"}, "study": "s", "cells": cells,
        "targets": ["xnli", "xquad", "tatoeba"], "intermediates": ["none", "mnli", "qqp"],
        "headline_variants": {"b": {"tatoeba": "layer2"}}, "output": str(folder / "tables"), "root": str(folder),
    }  # fmt: skip


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tables.write_tables(job(tmp_path, small_study(tmp_path)))
    return tmp_path


def test_cells_are_the_contract(written: Path) -> None:
    text = (written / "tables" / "cells.csv").read_text(encoding="utf-8")
    header = (
        "study,backbone,intermediate,target,regime,variant,language,split,"
        "seed_intermediate,seed_finetune,metric,value,n"
    )
    assert text.splitlines()[0] == header
    assert "s,b,none,xnli,zero-shot,best,en,test,,2,accuracy,83,4" in text.splitlines()
    assert "s,b,mnli,tatoeba,zero-shot,layer1,sw,test,1,,accuracy,70,4" in text.splitlines()
    assert len(text.splitlines()) == 1 + 4 * 6 + 2 * 4 + 3 * 4


def test_values_have_eight_decimals(tmp_path: Path) -> None:
    cells = [score(tmp_path, "none", "tatoeba", None, tatoeba(200 / 3))]
    tables.write_tables(job(tmp_path, cells))
    assert {row["value"] for row in read(tmp_path, "cells")} == {"66.66666667"}


def test_order_of_the_score_files_does_not_matter(tmp_path: Path, written: Path) -> None:
    before = {name: (written / "tables" / f"{name}.csv").read_bytes() for name in tables.NAMES}
    tables.write_tables(job(tmp_path, small_study(tmp_path)[::-1]))
    assert before == {name: (tmp_path / "tables" / f"{name}.csv").read_bytes() for name in tables.NAMES}


def test_matrix_by_hand(written: Path) -> None:
    found = {(row["split"], row["intermediate"]): row for row in read(written, "matrix")}
    assert list(found) == [(s, i) for s in ("dev", "test") for i in ("none", "mnli", "qqp")]
    columns = ("xnli", "xquad", "tatoeba", "avg", "avg_without_retrieval", "targets", "dev_is_test")
    values = {key: [row[c] for c in columns] for key, row in found.items()}
    borrowed = "xquad tatoeba"
    # none on dev: XNLI (70 + 74) / 2, XQuAD (80 + 60) / 2; averages (72 + 70 + 30) / 3 and (72 + 70) / 2
    assert values["dev", "none"] == ["72", "70", "30", "57.33333333", "71", "3", borrowed]
    assert values["dev", "mnli"] == ["75", "", "80", "77.5", "75", "2", borrowed]
    assert values["dev", "qqp"] == ["60", "67", "50", "59", "63.5", "3", borrowed]
    assert values["test", "none"] == ["71", "70", "30", "57", "70.5", "3", ""]


def test_deltas_average_over_what_both_rows_have(written: Path) -> None:
    found = {(row["split"], row["intermediate"]): row for row in read(written, "deltas")}
    columns = ("xnli", "xquad", "tatoeba", "avg", "avg_without_retrieval", "targets")
    assert [found["dev", "mnli"][c] for c in columns] == ["3", "", "50", "26.5", "3", "2"]
    assert [found["test", "qqp"][c] for c in columns] == ["-12", "-3", "20", "1.66666667", "-7.5", "3"]
    assert {intermediate for _, intermediate in found} == {"mnli", "qqp"}


def test_languages_by_hand(written: Path) -> None:
    rows = read(written, "per_language")
    key = ("intermediate", "target", "split", "language", "metric")
    found = {tuple(row[c] for c in key): row for row in rows}
    none = found["none", "xnli", "dev", "sw", "accuracy"]
    # seeds 60 and 64: the sample's standard deviation is the root of 8
    assert [none[c] for c in ("mean", "sd", "seeds", "delta")] == ["62", "2.82842712", "2", "0"]
    mnli = found["mnli", "xnli", "dev", "en", "accuracy"]
    assert [mnli[c] for c in ("mean", "sd", "seeds", "delta")] == ["90", "", "1", "8"]
    assert found["qqp", "xquad", "test", "en", "exact_match"]["delta"] == "-2"
    assert found["qqp", "tatoeba", "test", "sw", "accuracy"]["mean"] == "50"
    first = [tuple(row[c] for c in ("intermediate", "target", "split", "language")) for row in rows[:3]]
    assert first == [("none", "xnli", "dev", language) for language in ("avg", "en", "sw")]


def test_a_study_without_baseline_has_no_deltas(tmp_path: Path) -> None:
    tables.write_tables(job(tmp_path, [score(tmp_path, "mnli", "xnli", 1, xnli(90, 60))]))
    assert read(tmp_path, "deltas") == []
    assert read(tmp_path, "matrix")[0]["avg"] == "75"
    assert {row["delta"] for row in read(tmp_path, "per_language")} == {""}


def test_equal_scores_differ_by_nothing(tmp_path: Path) -> None:
    pairs = (("none", xquad(0.1 + 0.2, 60)), ("mnli", xquad(0.3, 60)))
    tables.write_tables(job(tmp_path, [score(tmp_path, name, "xquad", 1, values) for name, values in pairs]))
    assert {row["xquad"] for row in read(tmp_path, "deltas")} == {"0"}


def test_retrieval_alone_has_no_average_without_it(tmp_path: Path) -> None:
    cells = [score(tmp_path, "none", "tatoeba", None, tatoeba(30))]
    tables.write_tables({**job(tmp_path, cells), "targets": ["tatoeba"]})
    row = read(tmp_path, "matrix")[0]
    assert [row[c] for c in ("avg", "avg_without_retrieval", "targets")] == ["30", "", "1"]


def test_two_backbones_do_not_mix(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    cells = [
        score(tmp_path, "none", "tatoeba", None, tatoeba(30)),
        score(other, "none", "tatoeba", None, tatoeba(50)),
    ]
    cells[0]["cell"]["backbone"] = "z"
    tables.write_tables(job(tmp_path, cells))
    found = [(row["backbone"], row["split"], row["tatoeba"]) for row in read(tmp_path, "matrix")]
    assert found == [("z", "dev", "30"), ("z", "test", "30"), ("b", "dev", "50"), ("b", "test", "50")]


def test_several_variants_need_a_name(tmp_path: Path) -> None:
    cells = [score(tmp_path, "none", "tatoeba", None, tatoeba(30), ("layer1", "layer2"))]
    with pytest.raises(UserError, match="layer1, layer2"):
        tables.write_tables({**job(tmp_path, cells), "headline_variants": {}})


def test_a_number_given_twice_is_an_error(tmp_path: Path) -> None:
    cells = [score(tmp_path, "none", "xnli", 1, xnli(80, 60))] * 2
    with pytest.raises(UserError, match="two values for"):
        tables.write_tables(job(tmp_path, cells))
    assert not (tmp_path / "tables").exists()


def test_record_counts_the_rows(written: Path) -> None:
    record = json.loads((written / "tables" / "record.json").read_text(encoding="utf-8"))
    assert (record["digest"], record["step"]) == ("d", "tables")
    assert record["rows"]["matrix"] == 6
