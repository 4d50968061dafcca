"""Inputs made before trainings and predictions ask for them: exactly those, and nothing depends on it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from test_packing import HYPER
from tests.workspace import ROOT
from tiny import FAMILIES, table, tokenizer
from trainings import job as training
from trainings import write_data

from xstilts import config
from xstilts.errors import UserError
from xstilts.evaluation.predict import predict
from xstilts.models import checkpoint
from xstilts.models.encoder import load_tokenizer
from xstilts.study import Plan
from xstilts.tasks.features import tokens
from xstilts.training.run import train
from xstilts.training.tokenize import tokenize

KINDS = ("pair", "tagging")
LENGTHS = {"max_length": 24}


def job(data: Path, *kinds: str) -> dict[str, Any]:
    """Inputs of trainings on these kinds of task, and of predictions of the first."""
    return {
        "name": "tokenize", "digest": "0", "plan": {"step": "tokenize"}, "checkpoint": str(data / "backbone"),
        "tasks": [{"kind": kind, "labels": [], "hyper": LENGTHS} for kind in kinds],
        "train": [[str(data / f"{kind}.parquet")] for kind in kinds],
        "evaluated": [[str(data / f"{kind}-dev.parquet")] for kind in kinds],
        "tokens": str(data / "tokens"), "compute": {"threads": 2}, "output": str(data / "tokenized"),
    }  # fmt: skip


def made(data: Path) -> set[str]:
    return {path.name for path in (data / "tokens").glob("*.arrow")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_and_its_predictions_find_their_inputs(tmp_path: Path, kind: str) -> None:
    data = write_data(tmp_path)
    tokenize(job(data, kind))
    before = made(data)
    assert len(before) == 2
    looks = {"checkpoint": "best", "every_steps": 3, "examples": 5}
    trained = training(data, data / "out", kind, hyper={"selection": looks})
    train(trained)
    part = {"name": "t/en", "task": "t", "kind": kind, "labels": checkpoint.spec(data / "out").labels, "language": "en"}
    part |= {"variant": None, "digest": "d", "data": {"dev": str(data / f"{kind}-dev.parquet")}}
    asked = {"checkpoint": str(data / "out"), "parts": [part], "hyper": LENGTHS, "retrieval": None, "batch_tokens": 512}
    predict({**trained, **asked, "store": str(data / "store"), "output": str(data / "predicted")})
    assert made(data) == before


def test_retrieval_finds_its_sentences(tmp_path: Path) -> None:
    data, lengths = write_data(tmp_path), {"max_length": 9}
    rows = [{"side": side, "id": side[0], "text": "the cat sat", "gold": [gold] if gold else []}
            for side, gold in (("foreign", "e"), ("english", ""))]  # fmt: skip
    path = table(data / "retrieval.parquet", rows)
    one = {"tasks": [{"kind": "retrieval", "labels": [], "hyper": lengths}], "train": [[]], "evaluated": [[path]]}
    tokenize({**job(data, "pair"), **one})
    before = made(data)
    assert len(before) == 1
    part = {"name": "t/de", "task": "tatoeba", "kind": "retrieval", "labels": [], "language": "de", "variant": None}
    asked = {"parts": [{**part, "digest": "d", "data": {"dev": path}}], "hyper": None, "batch_tokens": 512}
    asked |= {"retrieval": {**lengths, "layers": [1], "neighbours": 1}, "store": str(data / "store")}
    predict({**training(data, data / "predicted", "pair"), **asked})
    assert made(data) == before


def test_several_tasks_share_a_job_and_what_is_there_stays(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    tokenize(job(data, "tagging"))
    times = {path: path.stat().st_mtime_ns for path in (data / "tokens").glob("*.arrow")}
    tokenize(job(data, *reversed(KINDS)))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(made(data)) == 4
    assert (data / "tokenized" / "record.json").exists()


def test_a_table_without_rows_is_refused_whichever_process_makes_it(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    pq.write_table(pq.read_table(data / "pair.parquet").slice(0, 0), data / "none.parquet")
    wrong = job(data, "pair")
    wrong["evaluated"][0].append(str(data / "none.parquet"))
    with pytest.raises(UserError, match=r"none\.parquet: no rows to make inputs of"):
        tokenize(wrong)
    assert not (data / "tokenized").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_of_a_checkpoint_makes_the_inputs_of_its_backbone_s(tmp_path: Path, family: str) -> None:
    tokenizer(family).save_pretrained(tmp_path / "backbone")
    for before, after in (("backbone", "intermediate"), ("intermediate", "finetune")):
        load_tokenizer(tmp_path / before).save_pretrained(tmp_path / after)
    names = ("backbone", "intermediate", "finetune")
    assert len({tokens.Recipe("pair", (), load_tokenizer(tmp_path / name), HYPER, ()).key() for name in names}) == 1


# --- in the graph


def plan(base: str, **changes: Any) -> Plan:
    raw = yaml.safe_load((ROOT / "config" / f"{base}.yaml").read_text(encoding="utf-8"))
    made = Plan(config.load(config.deep_merge(raw, changes)), scope="all")
    made.steps()
    return made


def test_with_gpus_it_goes_before_trainings_and_changes_no_digest() -> None:
    without, steps = ({step.name: step for step in plan("mini", compute=compute).steps()} for compute in (CPU, GPU))
    tokenized = {name for name in steps if name.startswith("tokenize/")}
    assert {name: step.digest for name, step in without.items()} == {
        name: step.digest for name, step in steps.items() if name not in tokenized
    }
    assert Counter(name.split("/")[2] for name in tokenized)["finetune"] == 6
    assert {"tokenize/mini/intermediate/mnli", "tokenize/mini/intermediate/multi"} <= tokenized
    assert not [name for name in tokenized if "shuffled" in name]

    def first(name: str) -> list[str]:
        return [need.name for need in steps[name].needs if need.phase == "tokenize"]

    assert first("intermediate/mini/mnli/seed-1") == ["tokenize/mini/intermediate/mnli"]
    squad = "tokenize/mini/finetune/squad_v1"
    assert first("finetune/mini/mnli/squad_v1/seed-1") == first("predict/mini/mnli/squad_v1/seed-1") == [squad]
    assert {need.folders[0] for need in steps[squad].needs} == {"mini", "squad_v1", "xquad", "mlqa"}
    assert first("predict/mini/none/encoder/seedless") == ["tokenize/mini/predict/encoder"]


def test_it_makes_what_trainings_look_at() -> None:
    best = {"mini": {"defaults": {"selection": {"checkpoint": "best"}}}}
    looks = {
        step.name: (set(step.payload["dev"]), set(need.payload["evaluated"][0]))
        for step in plan("mini", compute=GPU, recipes=best).steps()
        for need in step.needs
        if need.phase == "tokenize" and step.payload.get("dev")
    }
    assert {"intermediate/mini/mnli/seed-1", "finetune/mini/none/udpos/seed-1"} <= set(looks)
    assert all(dev <= evaluated for dev, evaluated in looks.values())


CPU: dict[str, Any] = {"device": "cpu"}
GPU: dict[str, Any] = {"device": "cuda", "warm": False}
