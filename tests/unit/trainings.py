"""Training jobs on data made on the spot, for tests of trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tiny import backbone, table

from xstilts.config import Hyperparameters

WORDS = ["the", "cat", "sat", "on", "mat", "and", "dog", "ran", "away", "quick", "brown", "fox", "jumps", "over"]


def pair_rows(number: int, seed: int) -> list[dict[str, Any]]:
    """Is the second text a cut of the first?"""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(number):
        words = rng.choice(WORDS, size=rng.integers(2, 9)).tolist()
        same = bool(rng.integers(2))
        other = words if same else rng.choice(WORDS, size=3).tolist()
        label = "same" if same else "other"
        rows.append({"id": str(i), "text_a": " ".join(words), "text_b": " ".join(other), "label": label})
    return rows


def tagging_rows(number: int, seed: int) -> list[dict[str, Any]]:
    """The tag of a word is its first letter."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(number):
        words = rng.choice(WORDS, size=rng.integers(1, 14)).tolist()
        rows.append({"id": str(i), "tokens": words, "tags": [f"B-{word[0]}" for word in words]})
    return rows


def write_data(folder: Path, **encoder: Any) -> Path:
    """A backbone and the train and dev parts of two kinds of task."""
    backbone(folder / "backbone", **encoder)
    table(folder / "pair.parquet", pair_rows(50, 0))
    table(folder / "pair-dev.parquet", pair_rows(20, 1))
    table(folder / "tagging.parquet", tagging_rows(50, 0))
    table(folder / "tagging-dev.parquet", tagging_rows(20, 1))
    return folder


def job(data: Path, output: Path, kind: str = "pair", **changes: Any) -> dict[str, Any]:
    """A job of 6 steps of 8 examples; `hyper` and `compute` take single changes."""
    hyper = {"learning_rate": 0.01, "batch": 8, "steps": 6, "max_length": 24, "selection": {"checkpoint": "last"}}
    compute = {
        "device": "cpu",
        "ranks": 1,
        "micro_batch": None,
        "micro_tokens": None,
        "threads": 1,
        "deepspeed": None,
        "activation_checkpointing": False,
        "state_minutes": 15,
        "report_to": [],
    }
    criteria = {"pair": "classification.accuracy", "tagging": "tagging.span_f1"}
    return {
        "name": f"finetune/{kind}",
        "digest": "0",
        "plan": {"step": "finetune"},
        "phase": "finetune",
        "task": kind,
        "kind": kind,
        "labels": [],
        "criterion": criteria.get(kind, ""),
        "backbone": {"pooling": "mean"},
        "seed": 1,
        "precision": "fp32",
        "checkpoint": str(data / "backbone"),
        "train": [str(data / f"{kind}.parquet")],
        "dev": [str(data / f"{kind}-dev.parquet")],
        "target_dev": {},
        "output": str(output),
        "work": str(output) + "-work",
        "tokens": str(data / "tokens"),
        "tensorboard": str(output) + "-tensorboard",
        **changes,
        "hyper": Hyperparameters(**{**hyper, **changes.get("hyper", {})}).model_dump(mode="json"),
        "compute": {**compute, **changes.get("compute", {})},
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Encoder's and head's."""
    return {**load_file(folder / "model.safetensors"), **load_file(folder / "head.safetensors")}


def distance(one: Path, other: Path) -> float:
    """The largest difference of two checkpoints' weights."""
    a, b = weights(one), weights(other)
    assert set(a) == set(b)
    return max((a[name] - b[name]).abs().max().item() for name in a)


def curve(folder: Path) -> list[dict[str, Any]]:
    """The learning curve."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def record(folder: Path) -> dict[str, Any]:
    """The record."""
    told: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return told


SCRIPT = "from xstilts.job import main\nmain('xstilts.training.run:train')\n"


def start(tmp_path: Path, one: dict[str, Any], script: str = SCRIPT) -> subprocess.Popen[str]:
    """Start a job as its rule does, in a process group of its own."""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    (tmp_path / "job.json").write_text(json.dumps(one), encoding="utf-8")
    ranks = one["compute"]["ranks"]
    launcher = [] if ranks == 1 else ["-m", "xstilts.training.launch", str(ranks)]
    outer = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")}
    return subprocess.Popen(
        [sys.executable, *launcher, str(tmp_path / "script.py"), str(tmp_path / "job.json"), str(tmp_path / "log")],
        env={**outer, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
