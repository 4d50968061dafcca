"""Comparisons with published numbers: what counts as a match, what does not, and what the study plans for them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from xstilts import config
from xstilts.analysis import published, verify
from xstilts.analysis.published import Published
from xstilts.study import Plan

ROOT = Path(__file__).parents[2]
AUTHORS = [n for n in published.numbers() if n.source.key == verify.REPLICATION]
SETTINGS = {"hub": "org/m", "revision": "unpinned", "retrieval_layer": 14, "retrieval_length": 256, "precision": "fp32"}
SIZES = {"tatoeba": {n.language: config.known_rows("tatoeba", n.language) for n in AUTHORS if n.target == "tatoeba"}}
Change = Callable[[Published], tuple[float, int] | None]


def size(number: Published) -> int:
    return (SIZES["tatoeba"].get(number.language) if number.target == "tatoeba" else None) or 900


def cells(folder: Path, numbers: list[Published], change: Change, variant: str) -> list[dict[str, Any]]:
    """Score files of a study that has `change` of every number: value and n, or nothing."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for number in numbers:
        if (found := change(number)) is not None:
            row = {"variant": variant, "language": number.language, "split": number.split, "metric": number.metric}
            rows.setdefault(number.target, []).append({**row, "value": found[0], "n": found[1]})
    made = []
    for target, scores in rows.items():
        path = folder / f"{target}.json"
        path.write_text(json.dumps({"rows": scores}), encoding="utf-8")
        cell = {"study": "s", "backbone": "b", "intermediate": "none", "target": target, "regime": "zero-shot",
                "seed_intermediate": None, "seed_finetune": None}  # fmt: skip
        made.append({"cell": cell, "scores": str(path)})
    return made


def job(folder: Path, numbers: list[Published], change: Change, **given: Any) -> dict[str, Any]:
    return {
        "name": "verify", "digest": "0", "plan": {}, "output": str(folder / "out"), "formats": ["svg"],
        "cells": cells(folder, numbers, change, "layer14"), "models": {"b": {**SETTINGS, "model": "xlm-roberta-large"}},
        "headline_variants": {}, "recipes": ["jiant"], "sizes": SIZES, "partial": [], **given,
    }  # fmt: skip


def same(number: Published) -> tuple[float, int]:
    return number.value, size(number)


def changed(target: str, language: str, value: Callable[[Published], float | None]) -> Change:
    """The published numbers, but for one."""

    def change(number: Published) -> tuple[float, int] | None:
        if (number.target, number.language) != (target, language):
            return same(number)
        found = value(number)
        return None if found is None else (found, size(number))

    return change


def language_checks(folder: Path, change: Change) -> list[verify.Check]:
    checks = verify.per_language(job(folder, AUTHORS, change))
    assert len(checks) == 4 + 36
    return checks


def test_the_authors_own_numbers_match(tmp_path: Path) -> None:
    checks = language_checks(tmp_path, same)
    assert verify.overall(checks) == "matches"
    assert {check.difference for check in checks} == {0}
    assert {check.unit for check in checks if check.target == "bucc2018"} == {"points"}


@pytest.mark.parametrize(
    ("target", "language", "value", "difference", "verdict"),
    [
        # Javanese: 205 sentences, 10.2 % printed, so 21 right
        ("tatoeba", "jv", 100 * 23 / 205, 2, "within"),
        ("tatoeba", "jv", 100 * 24 / 205, 3, "outside"),
        ("tatoeba", "jv", 100 * 18 / 205, -3, "outside"),
        # German: 1,000 sentences, 639 right
        ("tatoeba", "de", 63.7, -2, "within"),
        ("tatoeba", "de", 63.6, -3, "outside"),
        ("bucc2018", "fr", 63.2, 0.5, "within"),
        ("bucc2018", "fr", 62.19, -0.51, "outside"),
    ],
)
def test_tolerances_are_two_sentences_and_half_a_point(
    tmp_path: Path, target: str, language: str, value: float, difference: float, verdict: str
) -> None:
    checks = language_checks(tmp_path, changed(target, language, lambda _: value))
    (found,) = (check for check in checks if (check.target, check.language) == (target, language))
    assert (found.difference, found.verdict) == (pytest.approx(difference), verdict)
    assert verify.overall(checks) == ("matches" if verdict == "within" else "does not match")


def test_a_missing_language_is_no_match(tmp_path: Path) -> None:
    checks = language_checks(tmp_path, changed("tatoeba", "sw", lambda _: None))
    assert [(c.language, c.value, c.difference) for c in checks if c.verdict == "missing"] == [("sw", None, None)]
    assert verify.overall(checks) == "incomplete"


def test_the_right_accuracy_on_other_data_is_no_match(tmp_path: Path) -> None:
    checks = language_checks(tmp_path, lambda n: (n.value, 100 if n.language == "hi" else size(n)))
    assert [(c.target, c.language) for c in checks if c.verdict == "other data"] == [("tatoeba", "hi")]
    assert verify.overall(checks) == "does not match"


def test_a_random_model_does_not_match_and_the_files_say_so(tmp_path: Path) -> None:
    made = job(tmp_path, AUTHORS, lambda n: (100 / size(n), size(n)), formats=["svg", "png"])
    verify.write_published(made)
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {
        "comparison.csv", "verdict.json", "comparison.svg", "comparison.png", "record.json"
    }  # fmt: skip
    found = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
    assert found["backbones"]["b"]["verdict"] == "does not match"
    assert found["backbones"]["b"]["counts"] == {"outside": 40}
    with (out / "comparison.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert (rows[0]["language"], rows[0]["published"], rows[0]["verdict"]) == ("de", "77.7", "outside")
    assert len(rows) == 40
    stream = io.StringIO()
    verify.show(out, stream)
    told = "verify_published: b: does not match: of 40 published numbers 40 outside (org/m at unpinned; retrieval: "
    assert f"{told}hidden_states[14], 256 tokens, fp32)" in stream.getvalue()
    drawn = (out / "comparison.svg").read_text(encoding="utf-8")
    assert "does not match" in drawn
    assert "b · bucc2018" in drawn


def test_an_empty_study_is_incomplete(tmp_path: Path) -> None:
    verify.write_published(job(tmp_path, [], same))
    found = json.loads((tmp_path / "out" / "verdict.json").read_text(encoding="utf-8"))
    assert found["backbones"]["b"] | {"settings": {}} == {
        "verdict": "incomplete", "compared": 40, "counts": {"missing": 40}, "settings": {}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "recipes", "targets", "xnli"),
    [
        ("xlm-roberta-large", ["jiant"], 8, 79.5),
        ("xlm-roberta-large", ["mine", "xtreme-2020"], 7, 79.2),
        ("xlm-roberta-base", ["xtreme-2020"], 7, 75.0),
    ],
)
def test_each_model_and_recipe_has_its_own_row(model: str, recipes: list[str], targets: int, xnli: float) -> None:
    found = published.baseline(model, recipes)
    assert len({n.target for n in found}) == targets
    assert [n.value for n in found if n.target == "xnli"] == [xnli]
    assert {(n.split, n.measure, n.language) for n in found} == {("test", "score", "avg")}


@pytest.mark.parametrize(("shift", "verdict"), [(1.0, "matches"), (-1.01, "does not match")])
def test_the_baseline_may_be_one_point_off(tmp_path: Path, shift: float, verdict: str) -> None:
    numbers = published.baseline("xlm-roberta-base", ["jiant"])
    assert len(numbers) == 7 + 3  # QA has two each
    made = job(
        tmp_path, numbers, lambda n: (n.value + shift, 9), models={"b": {**SETTINGS, "model": "xlm-roberta-base"}}
    )
    assert verify.overall(verify.per_target(made)) == verdict
    verify.write_baseline(made)
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["backbones"]["b"]["verdict"] == verdict


def test_a_mean_over_other_languages_and_an_unknown_model_are_no_match(tmp_path: Path) -> None:
    numbers = published.baseline("xlm-roberta-large", ["jiant"])
    made = job(tmp_path, numbers, same, partial=["xnli"])
    checks = verify.per_target(made)
    assert [c.target for c in checks if c.verdict == "other languages"] == ["xnli"]
    assert verify.overall(checks) == "does not match"
    assert verify.per_target({**made, "models": {"b": {"model": "mini"}}}) == []
    assert verify.overall([]) == "no published numbers"


def test_verify_yaml_has_the_authors_settings_and_trains_nothing() -> None:
    plan = Plan(config.load(yaml.safe_load((ROOT / "config" / "verify.yaml").read_text(encoding="utf-8"))))
    assert sorted({step.phase for step in plan.steps()}) == [
        "backbone", "figures", "predict", "preflight", "prepare", "score", "tabulate", "tokenize"
    ]  # fmt: skip
    predict = plan.step("predict", ("xlm-roberta-large", "none", "encoder", "seedless"))
    assert predict.slice["retrieval"] == {"layers": [14], "max_length": 256, "neighbours": 4}
    parts = {(p["task"], p["language"]): set(p["data"]) for p in predict.payload["parts"]}
    assert {key for key, splits in parts.items() if splits == {"dev"}} == {
        ("bucc2018", c) for c in ("de", "fr", "ru", "zh")
    }
    assert len([key for key, splits in parts.items() if splits == {"test"}]) == 36
    step = plan.verify("published")
    assert {need.folders[2] for need in step.needs} == {"bucc2018", "tatoeba"}
    assert step.slice["partial"] == []


def test_a_study_asks_for_no_comparison_by_itself() -> None:
    study = config.load(yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8")))
    plan = Plan(study)
    assert not [step for step in plan.steps() if step.phase.startswith("verify")]
    compared = plan.verify("baseline")
    assert {need.folders[1] for need in compared.needs} == {"none"}
    assert len(compared.needs) == 9
    assert not [step for step in plan.steps() if compared in step.needs]
