"""Scores from prediction tables, every value worked out by hand."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xstilts.errors import UserError
from xstilts.evaluation.score import score

Columns = dict[str, list[Any]]


def run(directory: Path, tables: dict[tuple[str, str], Columns], **job: Any) -> dict[str, Any]:
    """Write tables by (split, language), score them, and return the scores."""
    predictions: dict[str, str] = {}
    for language in dict.fromkeys(language for _, language in tables):
        parts = [_table(split, columns) for (split, code), columns in tables.items() if code == language]
        predictions[language] = str(directory / f"{language}.parquet")
        pq.write_table(pa.concat_tables(parts, promote_options="permissive"), predictions[language])
    whole = {"name": "score/test", "digest": "0", "plan": {"step": "score"}, "variant": "best", "also": {}, **job}
    score({**whole, "predictions": predictions, "output": str(directory)})
    found: dict[str, Any] = json.loads((directory / "scores.json").read_text(encoding="utf-8"))
    return found


def _table(split: str, columns: Columns) -> pa.Table:
    table = pa.table(columns)
    return table.add_column(0, "split", pa.array([split] * table.num_rows, type=pa.string()))


def values(scores: dict[str, Any]) -> dict[tuple[str, str, str, str], tuple[float, int]]:
    """(variant, language, split, metric): (value, n)."""
    keys = ("variant", "language", "split", "metric")
    return {tuple(row[key] for key in keys): (pytest.approx(row["value"]), row["n"]) for row in scores["rows"]}


PAIR = {"kind": "pair", "scorer": "classification", "metrics": ["accuracy"]}


def pairs(gold: str, prediction: str) -> Columns:
    return {
        "id": [str(i) for i in range(len(gold))],
        "gold": list(gold),
        "prediction": list(prediction),
        "logits": [[0.0, 1.0]] * len(gold),
    }


def test_accuracy_and_its_mean_over_languages(tmp_path: Path) -> None:
    tables = {("test", "en"): pairs("ABAB", "ABAA"), ("test", "de"): pairs("AB", "BA"), ("dev", "en"): pairs("A", "A")}
    assert values(run(tmp_path, tables, **PAIR)) == {
        ("best", "en", "test", "accuracy"): (75.0, 4),
        ("best", "de", "test", "accuracy"): (0.0, 2),
        ("best", "avg", "test", "accuracy"): (37.5, 6),
        ("best", "en", "dev", "accuracy"): (100.0, 1),
        ("best", "avg", "dev", "accuracy"): (100.0, 1),
    }
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["step"] == "score" and record["rows"] == 5


def test_tagging_gives_the_metrics_asked_for(tmp_path: Path) -> None:
    """Two gold spans, one found, one predicted wrongly: P 1/2, R 1/2; 3 of 4 tokens right."""
    table = {
        "id": ["1"],
        "gold": [["B-PER", "I-PER", "O", "B-LOC"]],
        "prediction": [["B-PER", "I-PER", "O", "B-ORG"]],
        "log_probabilities": [[[-0.1, -2.0]] * 4],
    }
    job = {"kind": "tagging", "scorer": "tagging", "metrics": ["f1", "precision", "recall", "accuracy"]}
    found = values(run(tmp_path, {("test", "sw"): table}, **job))
    of_sw = {metric: value for (_, language, _, metric), value in found.items() if language == "sw"}
    assert of_sw == {"f1": (50.0, 1), "precision": (50.0, 1), "recall": (50.0, 1), "accuracy": (75.0, 1)}


def spans(gold: list[list[str]], prediction: list[str]) -> Columns:
    count = len(gold)
    return {
        "id": [str(i) for i in range(count)],
        "gold": gold,
        "prediction": prediction,
        "log_probability": [-1.0] * count,
        "log_normaliser": [2.0] * count,
    }


def test_answers_are_scored_by_the_task_s_own_script(tmp_path: Path) -> None:
    """ "die Stadt" against "Stadt": MLQA takes German articles out, SQuAD does not (F1 2 * 1/2 * 1 / (3/2) = 2/3)."""
    tables = {("test", "de"): spans([["Stadt"], ["Rom", "in Rom"]], ["die Stadt", "in Rom"])}
    job = {"kind": "span", "metrics": ["f1", "exact_match"]}
    squad = values(run(tmp_path, tables, scorer="squad", **job))
    assert squad["best", "de", "test", "exact_match"] == (50.0, 2)
    assert squad["best", "de", "test", "f1"] == (100 * (2 / 3 + 1) / 2, 2)
    mlqa = values(run(tmp_path, tables, scorer="mlqa", **job))
    assert mlqa["best", "de", "test", "exact_match"] == mlqa["best", "de", "test", "f1"] == (100.0, 2)


SEARCH = {"kind": "retrieval", "scorer": "retrieval", "metrics": ["accuracy"], "variant": None}


def searched(prediction: dict[tuple[int, bool], str], gold: str = "ab") -> Columns:
    rows = [
        (*key, str(i), g, p)
        for key, text in prediction.items()
        for i, (g, p) in enumerate(zip(gold, text, strict=True))
    ]
    layer, centred, ids, golds, found = map(list, zip(*rows, strict=True))
    similarity = [0.5] * len(rows)
    return {
        "layer": layer, "centred": centred, "id": ids, "gold": golds, "prediction": found,
        "similarity": similarity, "margin": similarity,
    }  # fmt: skip


def test_every_layer_is_a_variant(tmp_path: Path) -> None:
    table = searched({(1, False): "ab", (1, True): "aa", (2, False): "bb", (2, True): "ba"})
    found = values(run(tmp_path, {("test", "fr"): table}, **SEARCH))
    of_fr = {variant: value for (variant, language, _, _), (value, _) in found.items() if language == "fr"}
    assert of_fr == {"layer1": 100.0, "layer1-centred": 50.0, "layer2": 50.0, "layer2-centred": 0.0}


def mined(rows: list[tuple[str, float, bool]]) -> Columns:
    return {
        "layer": [3] * len(rows),
        "centred": [False] * len(rows),
        "foreign": [name for name, _, _ in rows],
        "english": [name.upper() for name, _, _ in rows],
        "score": [value for _, value, _ in rows],
        "gold": [gold for _, _, gold in rows],
    }


MINING = {"kind": "retrieval", "scorer": "retrieval", "metrics": ["f1", "precision", "recall"], "variant": None}
DEV = [("a", 1.5, True), ("b", 1.3, True), ("c", 1.1, False), ("d", 1.0, True), ("e", math.nan, True)]
TEST = [("f", 1.9, True), ("g", 1.21, True), ("h", 1.19, True), ("i", 1.4, False), ("j", math.nan, True)]


def test_mining_tunes_its_threshold_on_dev(tmp_path: Path) -> None:
    """Dev F1 after 1, 2, 3, 4 candidates: 2/5, 4/6, 4/7, 6/8: all four are kept and the threshold is the lowest, 1.0.

    Without d it would lie between b and c, at 1.2: test then keeps f, g and i of four gold pairs.
    """
    tables = {("dev", "de"): mined(DEV), ("test", "de"): mined(TEST)}
    found = values(run(tmp_path, tables, **MINING))
    assert found["layer3", "de", "dev", "f1"] == (75.0, 4)
    assert found["layer3", "de", "test", "precision"] == (75.0, 4)
    assert found["layer3", "de", "test", "recall"] == (75.0, 4)

    tables["dev", "de"] = mined([*DEV[:3], ("d", math.nan, True), DEV[4]])
    scores = run(tmp_path, tables, **MINING)
    found = values(scores)
    assert found["layer3", "de", "dev", "f1"] == (100 * 4 / 6, 4)
    assert found["layer3", "de", "test", "precision"] == (100 * 2 / 3, 4)
    assert found["layer3", "de", "test", "recall"] == (50.0, 4)
    assert found["layer3", "avg", "test", "f1"] == (100 * 4 / 7, 4)
    assert ratio(points(tmp_path)["layer3", "test", "de"]) == pytest.approx(100 * 4 / 7)
    assert "dev" in scores["notes"][0]


def test_mining_that_found_nothing_scores_nought(tmp_path: Path) -> None:
    nothing = mined([("a", math.nan, True)])
    found = values(run(tmp_path, {("dev", "de"): nothing, ("test", "de"): nothing}, **MINING))
    assert len(found) == 2 * 2 * 3  # splits, de and avg, metrics
    assert all(value == (0.0, 1) for value in found.values())


def test_mining_without_dev_candidates_keeps_all_of_test(tmp_path: Path) -> None:
    tables = {("dev", "de"): mined([("a", math.nan, True)]), ("test", "de"): mined(TEST)}
    assert values(run(tmp_path, tables, **MINING))["layer3", "de", "test", "recall"] == (75.0, 4)


def test_mining_needs_gold_pairs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"de\.parquet: .*no gold pairs"):
        run(tmp_path, {("dev", "de"): mined([("a", 1.0, False)])}, **MINING)


def test_mining_needs_dev(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"de\.parquet: no dev predictions to tune the threshold on"):
        run(tmp_path, {("test", "de"): mined(TEST)}, **MINING)


@pytest.mark.parametrize(
    ("column", "content", "message"),
    [
        ("id", ["1", "1"], "id '1' stands 2 times"),
        ("logits", [[0.0, math.nan], [0.0, 1.0]], "not a number"),
        ("prediction", ["A", None], "column 'prediction' holds empty values"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, column: str, content: list[Any], message: str) -> None:
    table = pairs("AB", "AB") | {column: content}
    with pytest.raises(UserError, match=rf"en\.parquet: .*{message}"):
        run(tmp_path, {("test", "en"): table}, **PAIR)
    assert not (tmp_path / "scores.json").exists()


def test_missing_and_extra_rows_are_refused(tmp_path: Path) -> None:
    whole = searched({(1, False): "ab", (2, False): "ab"})
    cut = {name: column[:-1] for name, column in whole.items()}
    with pytest.raises(UserError, match="layer2 holds other ids than the variant before it"):
        run(tmp_path, {("test", "fr"): cut}, **SEARCH)
    less = searched({(1, False): "ab"})
    with pytest.raises(UserError, match=r"de\.parquet: layer2 is missing, though other tables have it"):
        run(tmp_path, {("test", "fr"): whole, ("test", "de"): less}, **SEARCH)
    unequal = pairs("AB", "AB") | {"gold": [["X"], ["X", "X"]], "prediction": [["X"], ["X"]]}
    tagging = {"kind": "tagging", "scorer": "tagging", "metrics": ["f1"]}
    with pytest.raises(UserError, match=r"en\.parquet: .* 1 predicted and 2 gold"):
        run(tmp_path, {("test", "en"): unequal}, **tagging)


def test_mining_refuses_candidates_without_a_score(tmp_path: Path) -> None:
    bad = mined([("a", math.nan, False), ("b", 1.0, True)])
    with pytest.raises(UserError, match=r"de\.parquet: a candidate's score is not a number"):
        run(tmp_path, {("dev", "de"): bad}, **MINING)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR0")
    job = {"name": "x", "digest": "0", "plan": {}, "variant": "best", "also": {}, "output": str(tmp_path), **PAIR}
    with pytest.raises(UserError, match=r"x\.parquet: cannot be read"):
        score({**job, "predictions": {"en": str(tmp_path / "x.parquet")}})
    with pytest.raises(UserError, match=r"y\.parquet: cannot be read"):
        score({**job, "predictions": {"en": str(tmp_path / "y.parquet")}})


def test_a_scoring_job_loads_nothing_heavy(tmp_path: Path) -> None:
    """To its end, by the script: also what libraries import only once they are used counts."""
    pq.write_table(_table("test", pairs("AB", "AA")), tmp_path / "en.parquet")
    job = {"name": "x", "digest": "0", "plan": {}, "variant": "best", "also": {}, "output": str(tmp_path), **PAIR}
    (tmp_path / "job.json").write_text(json.dumps({**job, "predictions": {"en": str(tmp_path / "en.parquet")}}))
    heavy = {"torch", "transformers", "pandas", "scipy", "matplotlib", "snakemake"}
    code = f"from xstilts import job; job.main('xstilts.evaluation.score:score'); print({heavy} & set(sys.modules))"
    command = [sys.executable, "-c", f"import sys; {code}", str(tmp_path / "job.json")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()" and (tmp_path / "scores.json").exists()


def points(directory: Path) -> dict[tuple[str, str, str], list[tuple[str, float, float]]]:
    """(variant, split, language): id, points and weight of each example."""
    found: dict[tuple[str, str, str], list[tuple[str, float, float]]] = {}
    for row in pq.read_table(directory / "examples.parquet").to_pylist():
        key = (row["variant"], row["split"], row["language"])
        found.setdefault(key, []).append((row["id"], row["points"], row["weight"]))
    return found


def ratio(rows: list[tuple[str, float, float]]) -> float:
    return 100 * sum(row[1] for row in rows) / sum(row[2] for row in rows)


def test_examples_add_up_to_the_headline(tmp_path: Path) -> None:
    """Of answers the headline is the mean of F1 and exact match, of tags and pairs F1, else accuracy."""
    found = run(tmp_path, {("test", "en"): pairs("ABAB", "ABAA"), ("dev", "en"): pairs("AB", "BA")}, **PAIR)
    assert points(tmp_path)["best", "test", "en"] == [("0", 1, 1), ("1", 1, 1), ("2", 1, 1), ("3", 0, 1)]
    assert ratio(points(tmp_path)["best", "dev", "en"]) == 0.0
    job = {"kind": "span", "metrics": ["f1", "exact_match"], "scorer": "squad"}
    found = run(tmp_path, {("test", "de"): spans([["Stadt"], ["Rom", "in Rom"]], ["die Stadt", "in Rom"])}, **job)
    headline = sum(row["value"] for row in found["rows"] if row["language"] == "de") / 2
    assert ratio(points(tmp_path)["best", "test", "de"]) == pytest.approx(headline)


def test_examples_of_tags_add_up_to_f1(tmp_path: Path) -> None:
    tags = {
        "id": ["1", "2"],
        "gold": [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER"]],
        "prediction": [["B-PER", "I-PER", "O", "B-ORG"], ["B-PER", "B-PER"]],
        "log_probabilities": [[[-0.1, -2.0]] * 4, [[-0.1, -2.0]] * 2],
    }
    found = run(tmp_path, {("test", "sw"): tags}, kind="tagging", scorer="tagging", metrics=["f1"])
    assert points(tmp_path)["best", "test", "sw"] == [("1", 2, 4), ("2", 2, 3)]
    assert ratio(points(tmp_path)["best", "test", "sw"]) == pytest.approx(found["rows"][0]["value"])


ORPHAN = """
import json, os, signal, sys
from pathlib import Path
from xstilts.evaluation.score import score
rename = Path.replace
def stopping(self, target):
    os.kill(os.getpid(), signal.SIGSTOP)
    return rename(self, target)
Path.replace = stopping
score(json.loads(sys.argv[1]))
"""


def test_an_orphan_that_publishes_after_its_successor_changes_nothing(tmp_path: Path) -> None:
    """Its scheduler was killed and it was not: it goes on, file by file, while and after the job runs anew."""
    run(tmp_path, {("test", "en"): pairs("ABAB", "ABAA")}, **PAIR)
    job = {"name": "score/test", "digest": "0", "plan": {"step": "score"}, "variant": "best", "also": {}, **PAIR}
    job |= {"predictions": {"en": str(tmp_path / "en.parquet")}, "output": str(tmp_path)}
    before, stops = published(tmp_path), 0
    orphan = subprocess.Popen([sys.executable, "-c", ORPHAN, json.dumps(job)])
    while os.WIFSTOPPED(os.waitpid(orphan.pid, os.WUNTRACED)[1]):
        assert published(tmp_path) == before
        for name in ("scores.json", "examples.parquet", "record.json"):
            (tmp_path / name).unlink()  # Snakemake deletes a job's outputs before it starts
        score(job)
        assert published(tmp_path) == before
        stops += 1
        orphan.send_signal(signal.SIGCONT)
    assert stops == 3
    assert published(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def published(directory: Path) -> dict[str, Any]:
    """What readers find of a score, times and memory apart."""
    record = json.loads((directory / "record.json").read_text(encoding="utf-8"))
    kept = {key: record[key] for key in ("name", "digest", "step", "rows", "versions")}
    return {"record": kept, **{n: (directory / n).read_bytes() for n in ("scores.json", "examples.parquet")}}
