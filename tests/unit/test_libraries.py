"""Results of other library versions: one warning line at planning, and flags in tables/provenance.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.unit.finished import finish, plan

from xstilts import provenance
from xstilts.analysis.origins import COLUMNS, write_origins
from xstilts.libraries import changed_libraries, other_versions
from xstilts.study import Plan

TODAY = provenance.versions()


def origins(made: Plan) -> list[dict[str, str]]:
    tables = made.tabulate()
    write_origins(tables.payload["cells"], made.root, made.root / "tables")
    with (made.root / "tables" / "provenance.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_unchanged_libraries_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(plan(tmp_path).steps())
    changed_libraries(plan(tmp_path))
    assert capsys.readouterr().err == ""


def test_a_changed_library_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = [s for s in plan(tmp_path).steps() if s.phase in ("intermediate", "finetune")]
    finish(before, versions={**TODAY, "torch": "1.0"})
    finish(plan(tmp_path).steps())
    assert other_versions(plan(tmp_path)) == {("torch", "1.0"): 9}
    changed_libraries(plan(tmp_path))
    told = capsys.readouterr().err
    assert told.startswith(f"xstilts: finished results were made with torch 1.0 (9 results; today {TODAY['torch']}): ")
    assert told.count("\n") == 1
    assert all(step.done for step in plan(tmp_path).steps())


def test_where_changes_rerun_there_is_nothing_to_warn_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strict = {"library_changes": "rerun"}
    finish(plan(tmp_path, strict).steps(), versions={**TODAY, "torch": "1.0"})
    changed_libraries(plan(tmp_path, strict))
    assert capsys.readouterr().err == ""


def test_the_table_flags_cells_of_other_versions_than_the_newest_result(tmp_path: Path) -> None:
    steps = plan(tmp_path).steps()
    finish(
        [s for s in steps if s.name == "finetune/mini/mnli/squad_v1/seed-1"],
        "2025-12-31T00:00:00Z",
        versions={**TODAY, "torch": "1.0"},
    )
    finish(steps)
    rows = origins(plan(tmp_path))
    assert len(rows) == 14
    assert tuple(rows[0]) == COLUMNS
    flagged = {(row["intermediate"], row["target"]): row["mixed_libraries"] for row in rows if row["mixed_libraries"]}
    assert flagged == {("mnli", "xquad"): "torch", ("mnli", "mlqa"): "torch"}
    row = next(r for r in rows if (r["intermediate"], r["target"]) == ("mnli", "mlqa"))
    assert "torch=1.0" in row["versions"].split()
    assert (tmp_path / "small" / row["record"]).is_file()
    assert (row["host"], row["device"], row["accepted"]) == ("node-7", "cpu_(test)", "")


def test_results_of_one_other_version_are_not_mixed(tmp_path: Path) -> None:
    finish(plan(tmp_path).steps(), versions={**TODAY, "torch": "1.0"})
    assert {row["mixed_libraries"] for row in origins(plan(tmp_path))} == {""}
