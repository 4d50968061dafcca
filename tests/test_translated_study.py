"""A row on data that a tiny random model translates, from config to scores."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.unit import tiny_seq2seq
from tests.workspace import SMALL, Workspace

pytestmark = pytest.mark.slow


def test_a_row_trains_on_what_a_model_translates(tmp_path: Path) -> None:
    model = tiny_seq2seq.marian(tmp_path / "model")
    study = copy.deepcopy(SMALL)
    study["data"]["translations"] = {"made": {"of": "mnli", "path": str(model), "max_length": 4, "batch": 256}}
    study["data"]["datasets"] = {"mnli": {"limit": {"train": 200}}}
    use = {"task": "mnli", "languages": ["qaa"], "translated": "made"}
    study["intermediates"] = {"none": {"tasks": []}, "mnli-made": {"tasks": [use]}}
    study["targets"] = {"tatoeba": {"languages": ["qaa"]}}
    workspace = Workspace(tmp_path, study)
    workspace.run("all_baselines")
    (record,) = workspace.results.glob("translated/made/qaa/*/record.json")
    assert json.loads(record.read_text(encoding="utf-8"))["rows"] == 200
    original = pq.read_table(next(workspace.results.glob("data/mnli/*/train.en.parquet")))
    translated = pq.read_table(record.with_name("train.qaa.parquet"))
    assert translated.schema == original.schema
    assert translated["label"].equals(original["label"]) and not translated["text_a"].equals(original["text_a"])
    (trained,) = workspace.results.glob("intermediate/mini/mnli-made/*/*/record.json")
    assert record.parent.name in json.loads(trained.read_text(encoding="utf-8"))["inputs"].values()
