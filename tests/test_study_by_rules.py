"""One training scored by every checkpoint rule, as a user runs it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from tests.workspace import SMALL, Workspace

pytestmark = pytest.mark.slow

RULES = ("best", "last", "average2", "oracle")


def study() -> dict[str, object]:
    """A backbone and its baseline row; XQuAD has no dev part, and shares its fine-tuning with MLQA, which has one."""
    config = copy.deepcopy(SMALL)
    selection = {"also": ["last", "average", "oracle"], "average_of": 2, "every_steps": 4, "examples": 20}
    config["recipes"]["small"]["defaults"]["selection"] = {"checkpoint": "best", **selection}
    config["intermediates"] = {"none": {"tasks": []}}
    config["targets"] = {name: SMALL["targets"][name] for name in ("udpos", "xquad", "mlqa")}
    return config


def test_every_rule_has_its_scores_and_the_matrix_the_one_that_counts(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, study())
    workspace.run("all_matrix")
    cells = workspace.cells()
    found = {(row["target"], row["split"], row["language"], row["variant"]) for row in cells}
    expected = {
        (target, split, language, rule)
        for target, splits in (("udpos", ("dev", "test")), ("mlqa", ("dev", "test")), ("xquad", ("test",)))
        for split in splits
        for language in ("en", "qaa", "avg")
        for rule in RULES
        if (target, rule) != ("xquad", "oracle")
    }
    assert found == expected
    matrix = (workspace.results / "tables" / "matrix.csv").read_text(encoding="utf-8").splitlines()
    test = dict(zip(matrix[0].split(","), next(line for line in matrix if ",test," in line).split(","), strict=True))
    (best,) = (
        row["value"]
        for row in cells
        if (row["target"], row["split"], row["language"], row["variant"], row["metric"])
        == ("udpos", "test", "avg", "best", "f1")
    )
    assert float(test["udpos"]) == pytest.approx(float(best))
    assert workspace.planned() == {}
    next(workspace.results.glob("predictions/mini/none/udpos/*/*/udpos/oracle/qaa.parquet")).unlink()
    again = workspace.planned()
    assert again["predict_udpos"] == 1 and again["score"] == 1 and "finetune" not in again
