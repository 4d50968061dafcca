"""The whole chain as a user runs it, on a study of the mini world that is only long enough to run."""

from __future__ import annotations

import csv
import json
import os
import signal
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.workspace import SMALL, Workspace, kill, wait_for
from transformers import AutoModel

from xstilts.evaluation.official import score_folders

pytestmark = pytest.mark.slow

DEV_AND_TEST = ("xnli", "pawsx", "udpos", "mlqa", "bucc2018")
TEST_ONLY = ("xquad", "tydiqa", "tatoeba")
POS_ACCURACY = ("udpos", "accuracy")  # beside XTREME's metrics


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The study, run once on two cores."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    told = workspace.run("all_matrix").stdout
    assert "mini, test: score of none, change against it" in told
    return workspace


def test_every_cell_has_every_language_and_the_average(finished: Workspace) -> None:
    found = {(r["intermediate"], r["target"], r["split"], r["language"]) for r in finished.cells()}
    expected = set()
    for intermediate in SMALL["intermediates"]:
        for target, block in SMALL["targets"].items():
            for split in ("dev", "test") if target in DEV_AND_TEST else ("test",):
                expected |= {(intermediate, target, split, code) for code in (*block["languages"], "avg")}
    assert found == expected


def test_values_are_percentages_of_examples(finished: Workspace) -> None:
    for row in finished.cells():
        assert 0 <= float(row["value"]) <= 100
        assert int(row["n"]) > 0
        assert (row["seed_intermediate"] == "") == (row["intermediate"] == "none")
        assert (row["seed_finetune"] == "") == (row["target"] in ("bucc2018", "tatoeba"))


def test_tables_and_figures_are_there(finished: Workspace) -> None:
    for name in ("matrix.csv", "deltas.csv", "per_language.csv"):
        assert (finished.results / "tables" / name).stat().st_size > 0
    for split in ("dev", "test"):
        for kind in ("deltas", "per-language"):
            figure = finished.results / "figures" / f"{kind}-{split}"
            assert figure.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")
            assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_overlap_of_every_training_set_with_every_test_set_is_told(finished: Workspace) -> None:
    with (finished.results / "tables" / "overlap.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    targets = {target: set(block["languages"]) for target, block in SMALL["targets"].items()}
    assert {row["training"] for row in rows} >= {"mnli", "pawsx", "udpos", "squad_v1"}
    assert {row["test"]: {r["language"] for r in rows if r["test"] == row["test"]} for row in rows} == targets
    assert all(0 <= float(row["share"]) <= float(row["share_any_text"]) <= 100 for row in rows)


def test_submission_files_score_what_the_cells_say(finished: Workspace) -> None:
    finished.run("all_submissions")
    for intermediate in SMALL["intermediates"]:
        (made,) = finished.results.glob(f"submissions/mini/{intermediate}/seed-1/*")
        report: Any = score_folders(made / "predictions", made / "labels", languages_present=True)
        cells = [r for r in finished.cells() if (r["intermediate"], r["split"]) == (intermediate, "test")]
        wanted = [r for r in cells if r["variant"] in ("last", "layer1") and (r["target"], r["metric"]) != POS_ACCURACY]
        assert {row["target"] for row in wanted} == set(SMALL["targets"])
        for row in wanted:
            of_target, metric = report[row["target"]], row["metric"]
            average = row["language"] == "avg"
            value = of_target[f"avg_{metric}"] if average else of_target[row["language"]][metric]
            assert value == pytest.approx(float(row["value"]), abs=1e-7), row


def test_checkpoints_are_hugging_face_directories(finished: Workspace) -> None:
    checkpoints = [path.parent for path in finished.results.glob("*/mini/**/model.safetensors")]
    assert len(checkpoints) == 1 + 1 + 2 * 5
    for directory in checkpoints:
        assert AutoModel.from_pretrained(directory).config.hidden_size == 64


def test_every_output_has_its_provenance(finished: Workspace) -> None:
    for pattern in ("*/mini/**/model.safetensors", "predictions/mini/**/*.parquet", "scores/**/scores.json"):
        outputs = list(finished.results.glob(pattern))
        assert outputs
        for output in outputs:
            folder = output.parent if (output.parent / "record.json").exists() else output.parent.parent
            record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
            assert {"slice", "inputs", "code", "versions", "device", "wall_seconds", "peak_memory_mib"} <= set(record)
            assert record["digest"] == folder.name


def test_predictions_hold_the_scores_behind_them(finished: Workspace) -> None:
    columns = {"xnli": "logits", "udpos": "log_probabilities", "xquad": "log_normaliser", "tatoeba": "margin"}
    for target, column in columns.items():
        for path in finished.results.glob(f"predictions/mini/**/{target}/qaa.parquet"):
            table = pq.read_table(path)
            assert {"split", "gold", column} <= set(table.column_names)
            assert table[column].null_count == 0


def test_a_second_run_has_nothing_to_do(finished: Workspace) -> None:
    assert finished.planned() == {}
    assert "Nothing to be done" in finished.run("all_matrix").stdout


def test_results_without_snakemake_s_own_records_are_still_up_to_date(finished: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path)
    (tmp_path / "results").symlink_to(finished.directory / "results")
    for path in finished.results.rglob("*.safetensors"):
        path.touch()
    assert other.planned() == {}


def test_a_deleted_prediction_is_made_again_and_what_depends_on_it(finished: Workspace) -> None:
    before = finished.cells_text()
    victim = next(finished.results.glob("predictions/mini/mnli/squad_v1/seed-1/*/xquad/qaa.parquet"))
    content = pq.read_table(victim)
    victim.unlink()
    assert finished.planned() == {"predict_squad_v1": 1, "score": 1, "tabulate": 1, "figures": 1}
    finished.run("all_matrix")
    assert pq.read_table(victim).equals(content)
    assert finished.cells_text() == before


def test_a_config_that_is_changed_and_changed_back_reruns_the_change_only(finished: Workspace) -> None:
    changed = {"recipes": {"small": {"finetune": {"pawsx": {"learning_rate": 5.0e-4}}}}}
    finished.configure(SMALL, **changed)
    assert finished.planned() == {"finetune": 2, "predict_pawsx": 2, "score": 2, "tabulate": 1, "figures": 1}
    finished.configure(SMALL)
    assert finished.planned() == {}


def test_the_report_runs_alone_when_it_is_edited(finished: Workspace) -> None:
    finished.run("report")
    assert "<h2>Question and answer</h2>" in (finished.results / "report.html").read_text(encoding="utf-8")
    assert finished.planned("report") == {}
    finished.configure(SMALL, report={"delta_range": 7})
    assert finished.planned("report") == {"report": 1}
    finished.configure(SMALL, report={"oracle": True})
    assert finished.planned("report") == {"significance": 1, "report": 1}
    finished.configure(SMALL)


def test_snakemake_s_own_report_holds_the_page(finished: Workspace, tmp_path: Path) -> None:
    finished.run("report", "--report", str(tmp_path / "made.zip"))
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        (page,) = [name for name in archive.namelist() if name.endswith("/report.html") and "/data/" in name]
        assert archive.read(page) == (finished.results / "report.html").read_bytes()


def test_another_system_becomes_a_row(finished: Workspace) -> None:
    """Our own test predictions from `mnli`, handed in as another system's: the same row."""
    finished.run("all_submissions")
    (made,) = finished.results.glob("submissions/mini/mnli/seed-1/*")
    finished.configure(SMALL, external={"other": {"predictions": str(made / "predictions")}})
    finished.run("report")
    rows = finished.cells()
    wanted = [r for r in rows if (r["intermediate"], r["split"], r["language"]) == ("mnli", "test", "avg")]
    own = {(r["target"], r["metric"]): float(r["value"]) for r in wanted if r["variant"] in ("last", "layer1")}
    other = [r for r in rows if (r["intermediate"], r["language"], r["regime"]) == ("other", "avg", "external")]
    found = {(r["target"], r["metric"]): float(r["value"]) for r in other}
    assert {key: own[key] for key in found} == pytest.approx(found)
    assert {target for target, _ in found} == set(SMALL["targets"])
    assert "Other systems" in (finished.results / "report.html").read_text(encoding="utf-8")
    finished.configure(SMALL)
    finished.run("all_matrix")


def fine_tuned(workspace: Workspace) -> list[Path]:
    """Records of the finished fine-tunings."""
    return list(workspace.results.glob("finetune/mini/*/*/*/[!.]*/record.json"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_an_interrupted_run_on_one_core_ends_with_the_same_cells(
    finished: Workspace, tmp_path: Path, number: int
) -> None:
    workspace = Workspace(tmp_path)
    process = workspace.start("all_matrix", cores=1)
    wait_for("a fine-tuning", lambda: fine_tuned(workspace), process)
    kill(process, number)
    assert not (workspace.results / "tables" / "cells.csv").exists()
    workspace.run("all_matrix", "--unlock")
    workspace.run("all_matrix", cores=1)
    assert workspace.cells_text() == finished.cells_text()
    assert not [path for path in workspace.results.rglob(".*") if path.is_file() and path.suffix == ".parquet"]


def test_what_a_job_finished_after_its_snakemake_was_killed_is_kept_and_all_else_is_planned(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.configure(SMALL, recipes={"small": {"finetune": {"squad_v1": {"steps": 150}}}})
    process = workspace.start("all_matrix", cores=1)
    wait_for("a fine-tuning's log", lambda: list(workspace.results.glob("logs/finetune/**/*.log")), process)
    os.kill(process.pid, signal.SIGKILL)  # its job goes on
    process.wait()
    assert not fine_tuned(workspace)
    wait_for("a fine-tuning", lambda: fine_tuned(workspace))
    assert list((tmp_path / ".snakemake" / "incomplete").iterdir())
    workspace.run("all_matrix", "--unlock")
    planned = workspace.planned()
    assert planned["finetune"] == 2 * 5 - 1
    assert {"predict_squad_v1", "score", "tabulate", "figures"} <= set(planned)


def test_a_forced_rule_makes_again_what_rests_on_it_and_nothing_else(finished: Workspace) -> None:
    for path in finished.results.glob("intermediate/**/record.json"):
        path.touch()
    scores = {"score": 16, "tabulate": 1, "figures": 1}
    assert finished.planned("all_matrix", "--forcerun", "score") == scores
    predictions = {"predict_squad_v1": 2, "score": 4, "tabulate": 1, "figures": 1}
    assert finished.planned("all_matrix", "--forcerun", "predict_squad_v1") == predictions
    for lost in ("tables/made/*/record.json", "tables/cells.csv", "figures/deltas-test.svg"):
        (path,) = finished.results.glob(lost)
        path.rename(hidden := path.with_name("hidden"))
        assert finished.planned("all_matrix", "--forcerun", "score") == scores
        hidden.rename(path)
    assert finished.planned() == {}


def test_two_cpu_ranks_under_deepspeed_train_an_intermediate(tmp_path: Path) -> None:
    compute = {"ranks": 2, "micro_batch": 4, "deepspeed": {"zero_stage": 2}}
    workspace = Workspace(tmp_path)
    workspace.configure(SMALL, compute=compute)
    workspace.run("all_matrix", "--until", "intermediate")
    directory = next(workspace.results.glob("intermediate/mini/mnli/seed-1/*"))
    record = json.loads((directory / "record.json").read_text(encoding="utf-8"))
    assert record["compute"]["ranks"] == 2
    assert record["steps"] == 12
    AutoModel.from_pretrained(directory)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"recipee": "small"}, "recipee: unknown key; did you mean 'recipe'?"),
        ({"targets": {"xnli": {"languages": ["en", "zz"]}}}, "targets.xnli.languages: unknown language 'zz'"),
        ({"compute": {"ranks": 3}}, "compute.ranks: 3 ranks cannot share a batch of 16; use 2 or 4"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path: Path, changes: dict[str, object], line: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.configure(SMALL, **changes)
    done = workspace.run("all_matrix", "--dry-run", check=False)
    assert done.returncode == 1
    assert line in done.stdout
    assert "Traceback" not in done.stdout
    assert len([text for text in done.stdout.splitlines() if text.startswith("xstilts:")]) == 1
