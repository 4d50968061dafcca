"""A made study of two targets and eight seeds whose truth is known: every table of it, and no training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.analysis import selection, significance, tables
from xstilts.evaluation.examples import Examples

LANGUAGES, SEEDS, N = ("en", "sw", "de"), range(1, 9), 200
# Percent right of each intermediate: qqp helps, ccg destroys, mnli does nothing.
LEVELS = {"none": 70.0, "mnli": 70.0, "qqp": 78.0, "ccg": 50.0}


def cell(folder: Path, name: str, target: str, seed: int, level: float, rng: np.random.Generator) -> dict[str, Any]:
    """A run of a target with the same share of right answers, up to chance, in every language and split."""
    place = folder / "scores" / name / target / str(seed)
    place.mkdir(parents=True)
    rows, parts = [], []
    for split in ("dev", "test"):
        values = []
        for language in LANGUAGES:
            right = (rng.random(N) < (level + rng.normal(0, 1)) / 100).astype(float)
            parts.append(Examples([str(k) for k in range(N)], right, [1.0] * N).table("last", split, language))
            values.append(100 * right.mean())
        scored = dict(zip((*LANGUAGES, "avg"), (*values, float(np.mean(values))), strict=True))
        rows += [
            {"variant": "last", "language": code, "split": split, "metric": "accuracy", "value": value, "n": N}
            for code, value in scored.items()
        ]
    chance = [{"split": "dev", "language": "en", "value": 50.0}]
    (place / "scores.json").write_text(json.dumps({"rows": rows, "chance": chance}), encoding="utf-8")
    pq.write_table(pa.concat_tables(parts), place / "examples.parquet")
    seeds = {"seed_intermediate": None if name == "none" else seed, "seed_finetune": seed}
    identity = {"study": "s", "backbone": "b", "intermediate": name, "target": target, "regime": "zero-shot", **seeds}
    return {"cell": identity, "scores": str(place / "scores.json")}


def write(folder: Path) -> dict[str, Any]:
    """Write its scores and tables; returns the job that they were made of."""
    rng = np.random.default_rng(0)
    cells = [
        cell(folder, name, target, seed, level if target == "pawsx" else 70.0, rng)
        for name, level in LEVELS.items()
        for target in ("pawsx", "xnli")
        for seed in SEEDS
    ]
    job = {
        "name": "x", "digest": "d", "plan": {}, "study": "s", "cells": cells, "targets": ["pawsx", "xnli"],
        "intermediates": list(LEVELS), "candidates": list(LEVELS), "headline_variants": {"b": {}}, "oracle": True,
        "train_sets": {"pawsx": "pawsx", "xnli": "mnli"}, "tables": str(folder / "tables"), "root": str(folder),
    }  # fmt: skip
    tables.write_tables({**job, "output": job["tables"]})
    selection.make({**job, "dev": str(folder / "tables" / "cells-dev.csv"), "output": str(folder / "a" / "d")})
    significance.make({**job, "output": str(folder / "b" / "d")})
    return job
