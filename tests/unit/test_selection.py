"""The best intermediate is chosen on dev, by a stated rule, by a step that cannot reach a test score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.unit.finished import plan

from xstilts.analysis import selection, tables
from xstilts.errors import UserError
from xstilts.study import Step

VARIANTS = {"b": {"tatoeba": "layer1", "bucc2018": "layer1"}}


def dev(*rows: tuple[str, str, int, float], variant: str = "best", metric: str = "accuracy") -> pd.DataFrame:
    """Averages of (intermediate, target, seed, value)."""
    cells = [
        {
            "study": "s", "backbone": "b", "intermediate": name, "target": target, "regime": "zero-shot",
            "variant": variant, "language": "avg", "split": "dev", "seed_intermediate": seed, "seed_finetune": seed,
            "metric": metric, "value": value, "n": 4,
        }
        for name, target, seed, value in rows
    ]  # fmt: skip
    return pd.DataFrame(cells)


def chosen(found: pd.DataFrame) -> dict[str, str]:
    return dict(found[found["chosen"]][["target", "intermediate"]].to_numpy().tolist())


def test_the_highest_mean_over_seeds_is_chosen() -> None:
    scores = dev(("none", "xnli", 1, 70), ("none", "xnli", 2, 72), ("qqp", "xnli", 1, 60), ("qqp", "xnli", 2, 90))
    found = selection.selection(scores, VARIANTS, ["none", "qqp"], ["xnli"])
    assert found[["rank", "intermediate", "dev", "seeds"]].to_numpy().tolist() == [
        [1, "qqp", 75, 2],
        [2, "none", 71, 2],
    ]
    assert found["sd"].round(3).tolist() == [21.213, 1.414]


def test_equal_scores_go_to_the_first_that_the_study_names() -> None:
    scores = dev(("qqp", "xnli", 1, 70), ("mnli", "xnli", 1, 70), ("none", "xnli", 1, 70 + 1e-12))
    assert chosen(selection.selection(scores, VARIANTS, ["none", "qqp", "mnli"], ["xnli"])) == {"xnli": "none"}
    assert chosen(selection.selection(scores, VARIANTS, ["mnli", "qqp"], ["xnli"])) == {"xnli": "mnli"}


def test_a_target_without_dev_is_chosen_for_on_those_of_its_kind_and_says_so() -> None:
    scores = pd.concat(
        [
            dev(("none", "xnli", 1, 90), ("qqp", "xnli", 1, 10)),
            dev(("none", "mlqa", 1, 40), ("qqp", "mlqa", 1, 50), metric="f1"),
            dev(("none", "mlqa", 1, 30), ("qqp", "mlqa", 1, 40), metric="exact_match"),
        ]
    )
    found = selection.selection(scores, VARIANTS, ["none", "qqp"], ["xnli", "xquad", "mlqa", "tatoeba"])
    assert chosen(found) == {"xnli": "none", "xquad": "qqp", "mlqa": "qqp", "tatoeba": "none"}
    basis = dict(found[["target", "chosen_on"]].to_numpy().tolist())
    assert basis == {"xnli": "xnli", "xquad": "mlqa", "mlqa": "mlqa", "tatoeba": "mlqa xnli"}


def test_the_best_layer_is_chosen_on_dev_of_retrieval() -> None:
    parts = [(1, "", 40.0), (2, "", 50.0), (1, "-centred", 80.0), (2, "-centred", 60.0)]
    rows = [
        dev(("none", "bucc2018", 1, value), variant=f"layer{layer}{kind}", metric="f1") for layer, kind, value in parts
    ]
    found = selection.layers(pd.concat(rows))
    assert found[["centred", "variant"]].to_numpy().tolist() == [[False, "layer2"], [True, "layer1-centred"]]


def test_a_table_with_test_scores_is_refused(tmp_path: Path) -> None:
    scores = dev(("none", "xnli", 1, 70)).assign(split="test")
    tables.write(tmp_path / "cells-dev.csv", scores)
    with pytest.raises(UserError, match=r"cells-dev\.csv: holds test scores"):
        selection.read_dev(tmp_path / "cells-dev.csv")


def paths(value: Any) -> list[str]:
    """Every text in a job that may name a file."""
    if isinstance(value, dict):
        return [path for key, entry in value.items() if key != "plan" for path in paths(entry)]
    if isinstance(value, list):
        return [path for entry in value for path in paths(entry)]
    return [value] if isinstance(value, str) else []


def reachable(step: Step) -> list[str]:
    """What a job names that holds test examples or test scores."""
    held = ("test.", "cells.csv", "cells-test.csv", "scores.json", ".parquet:test", "matrix.csv", "predictions/")
    return [
        path for path in paths(json.loads(step.job())) if any(mark in Path(path).name or mark in path for mark in held)
    ]


def test_nothing_that_selects_can_reach_a_test_split(tmp_path: Path) -> None:
    """Checkpoints are chosen in training, intermediates and layers in `selection`: neither job names a test file."""
    made = plan(tmp_path)
    selecting = [step for step in made.steps() if step.phase in ("intermediate", "finetune")] + [made.select_on_dev()]
    assert {step.phase for step in selecting} == {"intermediate", "finetune", "selection"}
    assert {step.name: reachable(step) for step in selecting if reachable(step)} == {}
    read = [Path(path) for _, path in made.reads(made.select_on_dev())]
    assert read == [made.tabulate().directory / "record.json", tmp_path / "small" / "tables" / "cells-dev.csv"]
    assert reachable(made.significance())  # the guard sees what there is to see


def test_selection_runs_where_test_scores_are_gone(tmp_path: Path) -> None:
    tables.write(tmp_path / "cells-dev.csv", dev(("none", "xnli", 1, 70), ("qqp", "xnli", 1, 80)))
    job = {
        "name": "selection", "digest": "d", "plan": {}, "dev": str(tmp_path / "cells-dev.csv"), "targets": ["xnli"],
        "candidates": ["none", "qqp"], "headline_variants": VARIANTS, "tables": str(tmp_path),
        "output": str(tmp_path / "made" / "d"),
    }  # fmt: skip
    selection.make(job)
    assert chosen(tables.read(tmp_path, "selection")) == {"xnli": "qqp"}
