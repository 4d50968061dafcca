"""What is known of the mini world, since it was made: its tasks can be learned, and near languages are near.

One backbone of full size and the baseline row, fine-tuned with three seeds. That an intermediate helps is never
asserted; `docs/mini-study.md` tells what was seen. `make margins` does the same in three worlds (XSTILTS_WORLDS), each
with a backbone and a seed of its own, and keeps their tables.
"""

from __future__ import annotations

import os
from statistics import mean

import pytest
import yaml
from tests.workspace import ROOT, Workspace

pytestmark = pytest.mark.slow

SEEDS = ("1", "2", "3")
WORLDS = [int(seed) for seed in os.environ.get("XSTILTS_WORLDS", "0").split()]
NEAR, FAR = ("qaa", "qab"), ("qac", "qad", "qae")
# Chance in percent: three labels, two labels, the most frequent tag (about a fifth), no entity found, a random span.
CHANCE = {"xnli": 33.3, "pawsx": 50.0, "udpos": 20.0, "panx": 0.0, "xquad": 15.0, "mlqa": 15.0, "tydiqa": 15.0}
METRIC = {"xnli": "accuracy", "pawsx": "accuracy", "udpos": "accuracy"}


@pytest.fixture(scope="module", params=WORLDS, ids=lambda world: f"world-{world}")
def scores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str, str], float]:
    """(seed, target, language): test score of the baseline, in one world with a backbone of its own seed."""
    config = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))
    config["intermediates"] = {"none": {"tasks": []}}
    config["seeds"] = {"intermediate": [1, 2, 3]}
    config["data"]["world"]["seed"] = config["backbones"]["mini"]["train"]["seed"] = request.param
    workspace = Workspace(tmp_path_factory.mktemp(f"world-{request.param}-"), config)
    workspace.run("all_matrix")
    return {
        (row["seed_finetune"], row["target"], row["language"]): float(row["value"])
        for row in workspace.cells()
        if row["split"] == "test" and row["metric"] == METRIC.get(row["target"], "f1")
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", CHANCE)
def test_english_and_the_nearest_language_beat_chance(
    scores: dict[tuple[str, str, str], float], target: str, seed: str
) -> None:
    for language in ("en", "qaa"):
        assert scores[seed, target, language] > CHANCE[target] + 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", ["udpos", "panx", "pawsx"])
def test_near_languages_beat_far_ones(scores: dict[tuple[str, str, str], float], target: str, seed: str) -> None:
    near, far = (mean(scores[seed, target, code] for code in codes) for codes in (NEAR, FAR))
    assert near > far + 3
