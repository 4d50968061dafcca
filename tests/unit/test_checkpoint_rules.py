"""Which checkpoints of one training are kept and scored: last, best, average, oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from test_study import digests, plan
from tiny import table
from trainings import WORDS, curve, distance, job, pair_rows, tagging_rows, write_data
from transformers import AutoModel

from xstilts.errors import ConfigError, UserError
from xstilts.evaluation.predict import predict
from xstilts.evaluation.score import score
from xstilts.models import checkpoint
from xstilts.schema.training import Selection
from xstilts.training.choose import choose
from xstilts.training.run import train

COMMON = {"learning_rate": 0.02, "schedule": "constant", "warmup": 0, "steps": 8}
LABELS = {"pair": ["other", "same"], "tagging": sorted({f"B-{word[0]}" for word in WORDS})}
LOOKS = {"every_steps": 2, "examples": None, "average_of": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def trained(data: Path, output: Path, steps: int | None = None, **changes: Any) -> Path:
    """A training with a constant rate, so that one of fewer steps is its beginning."""
    hyper = {**COMMON, **({"steps": steps} if steps else {}), **changes.pop("hyper", {})}
    train(job(data, output, hyper=hyper, **changes))
    return output


def test_rules_come_once_and_the_one_that_counts_first() -> None:
    chosen = Selection(checkpoint="average", also=("oracle", "last", "average", "last"), average_of=3)
    assert chosen.rules == ("average", "last", "oracle")
    assert [chosen.variant(rule) for rule in chosen.rules] == ["average3", "last", "oracle"]


def test_the_average_is_the_mean_of_the_weights_at_the_last_looks(data: Path, tmp_path: Path) -> None:
    selection = {"checkpoint": "average", **LOOKS}
    average = load_file(trained(data, tmp_path / "average", hyper={"selection": selection}) / "model.safetensors")
    looks = [load_file(trained(data, tmp_path / str(n), n) / "model.safetensors") for n in (4, 6, 8)]
    for name, value in average.items():
        mean = torch.stack([look[name] for look in looks]).mean(dim=0)
        assert torch.allclose(value, mean, atol=1e-6), name
    record = json.loads((tmp_path / "average" / "record.json").read_text(encoding="utf-8"))
    assert record["averaged_steps"] == [4, 6, 8]


def test_further_rules_change_nothing_in_what_counts(data: Path, tmp_path: Path) -> None:
    target_dev = {"t/de": table(tmp_path / "de.parquet", pair_rows(20, 7))}
    also = {"also": ["oracle", "best", "average"], **LOOKS, "patience": 1}
    trained(data, tmp_path / "alone")
    trained(data, tmp_path / "beside", hyper={"selection": {"checkpoint": "last", **also}}, target_dev=target_dev)
    assert distance(tmp_path / "alone", tmp_path / "beside") == 0
    for name in ("best", "average3"):
        assert AutoModel.from_pretrained(tmp_path / "beside" / "also" / name).config.hidden_size == 16
    best = [e["step"] for e in curve(tmp_path / "beside") if "dev" in e]
    assert best == [2, 4, 6, 8]  # patience belongs to `best` as the one that counts


def test_of_several_rates_the_best_on_dev_is_published(data: Path, tmp_path: Path) -> None:
    rates = [0.001, 0.02]
    tried = [trained(data, tmp_path / str(rate), kind="tagging", hyper={"learning_rate": rate}) for rate in rates]
    hyper = {"max_length": 24, "selection": {"checkpoint": "last"}}
    told = {**job(data, tmp_path / "best", "tagging"), "hyper": hyper}
    choose({**told, "candidates": list(map(str, tried)), "learning_rates": rates})
    record = json.loads((tmp_path / "best" / "record.json").read_text(encoding="utf-8"))
    scores = [one["dev"] for one in record["tried"]]
    assert record["chosen"] == 0.02 and scores[1] == record["dev"] > scores[0]
    assert distance(tmp_path / "best", tried[1]) == 0


def test_the_oracle_keeps_the_best_look_of_each_target_language(data: Path, tmp_path: Path) -> None:
    """One language's tags are what the first look predicts, the other's what the last one does."""
    rows = tagging_rows(30, 9)
    first, last = (trained(data, tmp_path / str(steps), steps, kind="tagging") for steps in (2, 8))
    target_dev = {
        "t/aa": table(tmp_path / "aa.parquet", _tagged_by(first, rows, tmp_path)),
        "t/bb": table(tmp_path / "bb.parquet", _tagged_by(last, rows, tmp_path)),
    }
    hyper = {"selection": {"checkpoint": "last", "also": ["oracle"], **LOOKS}}
    made = trained(data, tmp_path / "oracle", hyper=hyper, target_dev=target_dev, kind="tagging")
    record = json.loads((made / "record.json").read_text(encoding="utf-8"))
    assert record["also"]["oracle"] == {
        "t/aa": {"selected_step": 2, "dev": 100.0},
        "t/bb": {"selected_step": 8, "dev": 100.0},
    }
    assert distance(checkpoint.of_rule(made, "oracle", "t/aa"), first) == 0
    assert distance(checkpoint.of_rule(made, "oracle", "t/bb"), last) == 0


def _tagged_by(directory: Path, rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Rows whose tags are what a checkpoint predicts for them."""
    tags = predictions(folder, directory, rows, [("t/de", None)], "tagging")["t/de"]["prediction"].to_pylist()
    return [{**row, "tags": found} for row, found in zip(rows, tags, strict=True)]


def predictions(
    folder: Path, directory: Path, rows: list[dict[str, Any]], tables: list[tuple[str, str | None]], kind: str = "pair"
) -> dict[str, pa.Table]:
    """Prediction tables of a checkpoint, by name; each is given with its variant."""
    path = table(folder / "rows.parquet", rows)
    parts = [
        {
            "name": name, "task": "t", "kind": kind, "labels": LABELS[kind], "language": name[-2:],
            "variant": variant, "data": {"test": path}, "digest": f"{directory.name}-{name}".replace("/", "-"),
        }
        for name, variant in tables
    ]  # fmt: skip
    predict(
        {
            "name": "predict/t", "digest": "0", "plan": {}, "checkpoint": str(directory), "precision": "fp32",
            "hyper": {"max_length": 24}, "retrieval": None, "batch_tokens": 64, "parts": parts,
            "compute": {"device": "cpu", "threads": 1}, "store": str(folder / "store"),
            "tokens": str(folder / "tokens"), "output": str(folder / "made"),
        }
    )  # fmt: skip
    return {name: pq.read_table(folder / "made" / f"{name}.parquet") for name, _ in tables}


def test_every_rule_is_predicted_by_its_own_checkpoint_and_scored_under_its_name(data: Path, tmp_path: Path) -> None:
    rows = pair_rows(30, 9)
    dev = {"t/aa": table(tmp_path / "aa.parquet", rows)}
    hyper = {"selection": {"checkpoint": "last", "also": ["average", "oracle"], **LOOKS}}
    made = trained(data, tmp_path / "made-by", hyper=hyper, target_dev=dev)
    names = [("t/aa", None), ("t/bb", None), ("t/average3/aa", "average3"), ("t/average3/bb", "average3")]
    tables = predictions(tmp_path, made, rows, [*names, ("t/oracle/aa", "oracle")])
    (tmp_path / "x").mkdir()
    alone = predictions(tmp_path / "x", made / "also" / "average3", rows, [("t/aa", None)])
    assert tables["t/average3/aa"].equals(alone["t/aa"]) and not tables["t/aa"].equals(alone["t/aa"])
    found = scores(tmp_path, {"average3": ["aa", "bb"], "oracle": ["aa"]})
    assert set(found) == {
        *((variant, code) for variant in ("last", "average3") for code in ("aa", "bb", "avg")),
        ("oracle", "aa"),  # a mean over other languages than the others' would mislead
    }


def scores(folder: Path, also: dict[str, list[str]]) -> dict[tuple[str, str], float]:
    """Accuracy by variant and language."""
    place = folder / "made" / "t"
    score(
        {
            "name": "score/t", "digest": "0", "plan": {}, "kind": "pair", "metrics": ["accuracy"],
            "scorer": "classification", "variant": "last", "output": str(folder / "scores"),
            "predictions": {code: str(place / f"{code}.parquet") for code in ("aa", "bb")},
            "also": {v: {code: str(place / v / f"{code}.parquet") for code in codes} for v, codes in also.items()},
        }
    )  # fmt: skip
    rows = json.loads((folder / "scores" / "scores.json").read_text(encoding="utf-8"))["rows"]
    return {(row["variant"], row["language"]): row["value"] for row in rows}


# --- in the graph


def also(*rules: str, train_set: str = "mnli") -> dict[str, Any]:
    return {"recipes": {"mini": {"finetune": {train_set: {"selection": {"also": list(rules), "every_steps": 100}}}}}}


def test_further_rules_give_tables_of_their_own_and_the_oracle_reads_target_dev() -> None:
    made = plan(also("oracle", "average"))
    (step, *_) = (s for s in made.steps() if s.name == "predict/mini/none/mnli/seed-1")
    assert {f"xnli/{variant}qaa.parquet" for variant in ("", "average5/", "oracle/")} <= set(step.files)
    training = made.step("finetune", ("mini", "none", "mnli", "seed-1"))
    assert "dev.qaa:xnli" in training.inputs and "dev:mnli" not in training.inputs
    assert set(training.payload["target_dev"]) == {f"xnli/{code}" for code in made.languages("xnli")}
    assert made.tabulate().slice["headline_variants"]["mini"]["xnli"] == "last"


def test_only_fine_tunings_keep_further_checkpoints() -> None:
    everywhere = {"recipes": {"mini": {"defaults": {"selection": {"also": ["average"]}}}}}
    before, after = digests(plan()), digests(plan(everywhere))
    changed = {name for name, value in after.items() if before.get(name) != value}
    assert not any(name.startswith("intermediate/") for name in changed)
    assert sum(name.startswith("finetune/") for name in changed) == 60


def test_a_setting_of_a_rule_that_is_not_used_changes_nothing() -> None:
    unused = {"recipes": {"mini": {"defaults": {"selection": {"average_of": 9, "patience": 3, "examples": 7}}}}}
    assert digests(plan(unused)) == digests(plan())


def test_an_oracle_needs_a_dev_part_and_cannot_be_the_one_that_counts() -> None:
    with pytest.raises(ConfigError, match=r"finetune\.tydiqa\.selection\.also: no target of tydiqa has a dev part"):
        plan(also("oracle", train_set="tydiqa")).steps()
    with pytest.raises(UserError, match=r"selection\.checkpoint: Input should be 'last', 'best' or 'average'"):
        plan({"recipes": {"mini": {"defaults": {"selection": {"checkpoint": "oracle"}}}}}).steps()
