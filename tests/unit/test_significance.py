"""Intervals, tests, degenerate runs and best models of a made study whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.unit import made_study
from tests.unit.made_study import LEVELS

from xstilts.analysis import resampling, significance, tables


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the made study."""
    folder = tmp_path_factory.mktemp("study")
    made_study.write(folder)
    return folder / "tables"


def row(frame: pd.DataFrame, **keys: str) -> pd.Series[Any]:
    for key, value in keys.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_a_real_effect_is_found_and_a_null_one_is_not(made: Path) -> None:
    """Eight pairs can reach 2 / 256, times six cells .047: below the level after Holm."""
    found = tables.read(made, "significance")
    keys = {"split": "test", "runs": "all", "target": "pawsx"}
    helped, nothing = (row(found, **keys, intermediate=name) for name in ("qqp", "mnli"))
    assert helped["delta"] == pytest.approx(8, abs=2) and helped["low"] > 0
    assert (helped["pairs"], helped["smallest_p"], helped["p"]) == (8, 2 / 256, 2 / 256)
    assert helped["p_holm"] <= 0.05 < nothing["p_holm"]
    assert nothing["low"] < 0 < nothing["high"]
    assert helped["unit"] == "pair of runs" and (helped["languages"], helped["examples"]) == (3, 600)


def test_scores_of_significance_are_those_of_the_cells(made: Path) -> None:
    cells = tables.read(made, "cells-test")
    means = cells[cells["language"] == "avg"].groupby(["intermediate", "target"])["value"].mean()
    found = tables.read(made, "significance")
    found = found[(found["split"] == "test") & (found["runs"] == "all")].set_index(["intermediate", "target"])["value"]
    assert found.to_dict() == pytest.approx(means.to_dict(), abs=1e-6)


def test_an_intermediate_that_destroys_a_target_is_found_and_ranked_last(made: Path) -> None:
    chosen = tables.read(made, "selection")
    ranks = chosen[chosen["target"] == "pawsx"].set_index("intermediate")["rank"]
    assert (ranks["qqp"], ranks["ccg"]) == (1, len(LEVELS))
    found = row(tables.read(made, "significance"), split="test", runs="all", target="pawsx", intermediate="ccg")
    assert found["high"] < 0 and found["p_holm"] <= 0.05


def test_degenerate_runs_are_flagged_and_shown_with_and_without(made: Path) -> None:
    runs = tables.read(made, "runs")
    flagged = runs[runs["degenerate"]]
    assert set(flagged["intermediate"]) == {"ccg"} and set(flagged["target"]) == {"pawsx"}
    found = tables.read(made, "significance")
    own = found[(found["intermediate"] == "ccg") & (found["target"] == "pawsx") & (found["split"] == "test")]
    with_all = row(own, runs="all")
    assert with_all["seeds"] == 8
    kept = own[own["runs"] == "without degenerate"]
    assert kept.empty or kept.iloc[0]["seeds"] == 8 - len(flagged)
    assert len(found[found["runs"] == "without degenerate"]) > 0


def test_best_models_are_chosen_on_dev_and_an_oracle_is_labelled(made: Path) -> None:
    best = tables.read(made, "best_models")
    assert row(best, rule="dev", target="pawsx")["intermediate"] == "qqp"
    assert set(best["rule"]) == {"dev", "oracle"} and set(best[best["rule"] == "oracle"]["chosen_on"].dropna()) == {
        "test"
    }
    own = best[best["rule"] == "dev"].set_index("target")
    changes = own["delta"].fillna(0)
    assert own.loc["avg", "delta"] == pytest.approx((changes["pawsx"] + changes["xnli"]) / 2)


def test_averages_beside_xtreme_s(made: Path) -> None:
    cells = tables.read(made, "cells-test")
    means = cells[(cells["intermediate"] == "qqp")].groupby("language")["value"].mean()
    found = tables.read(made, "averages")
    keys = {"split": "test", "runs": "all", "intermediate": "qqp"}
    others = (means["sw"] + means["de"]) / 2
    assert row(found, **keys, measure="avg")["value"] == pytest.approx(means["avg"])
    assert row(found, **keys, measure="avg_non_english")["value"] == pytest.approx(others)
    assert row(found, **keys, measure="english_minus_others")["value"] == pytest.approx(means["en"] - others)


def test_runs_with_nested_seeds_are_matched_once_each() -> None:
    assert significance._matched([("mnli", k, f) for k in (1, 2) for f in (5, 6)]) == [0, 3]


def test_a_baseline_without_seeds_is_the_same_for_every_seed() -> None:
    runs: list[significance.Run] = [("none", None, None), *(("mnli", k, None) for k in (1, 2, 3))]
    scores = np.tile(np.array([[[50.0, 60, 62, 64]]]), (5, 1, 1))
    column = significance.Column(
        "b", "tatoeba", runs, {"test": ["sw"]}, {"test": [0, 1, 2, 3]}, {"test": scores}, {"test": 9}, None
    )
    own, change = column.pair("test", "mnli", frozenset(), significance._every)
    assert own is not None and own.value == 62 and change is not None
    assert change.by_seed.tolist() == [10.0, 12.0, 14.0]
    assert resampling.summary(change).smallest_p == 0.25
