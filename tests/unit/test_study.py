"""The grid: what a study consists of, by the definition of the protocol."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit import finished

from xstilts import config
from xstilts.errors import ConfigError, UserError
from xstilts.study import Plan, Step

ROOT = Path(__file__).parents[2]


def plan(raw: dict[str, Any] | None = None, base: str = "mini") -> Plan:
    """The plan of a committed config with changes laid over it."""
    given = yaml.safe_load((ROOT / "config" / f"{base}.yaml").read_text(encoding="utf-8"))
    return Plan(config.load(config.deep_merge(given, raw or {})))


def digests(made: Plan) -> dict[str, str]:
    return {step.name: step.digest for step in made.steps()}


def changed(raw: dict[str, Any]) -> set[str]:
    """Names of the steps of the changed mini study that are not steps of the unchanged one."""
    before, after = digests(plan()), digests(plan(raw))
    return {name for name, value in after.items() if before.get(name) != value}


def phases(names: set[str]) -> set[str]:
    return {name.split("/")[0] for name in names}


def test_the_mini_study_is_ten_by_nine() -> None:
    counts = Counter(step.phase for step in plan().steps())
    assert counts["intermediate"] == 9
    assert counts["finetune"] == 10 * 6
    assert counts["predict"] == 10 * 7
    assert counts["score"] == 10 * 9


def test_the_full_study_has_six_finetunes_per_intermediate_and_seed() -> None:
    made = plan(base="config")
    assert set(made.left_out) == {"ccg"}
    counts = Counter(step.phase for step in made.steps())
    assert counts["intermediate"] == 8 * 3
    assert counts["finetune"] == 6 * 9 * 3
    assert counts["score"] == 7 * 9 * 3 + 2 * (8 * 3 + 1)


def test_qa_targets_share_a_finetune_and_retrieval_needs_none() -> None:
    made = plan()
    assert made.train_sets()["squad_v1"] == ["xquad", "mlqa"]
    assert made.train_sets()["encoder"] == ["bucc2018", "tatoeba"]
    encoder = made.step("predict", ("mini", "mnli", "encoder", "seed-1"))
    assert [need.phase for need in encoder.needs if need.phase not in ("prepare", "world")] == ["intermediate"]


def test_the_baseline_starts_from_the_backbone() -> None:
    finetune = plan().step("finetune", ("mini", "none", "mnli", "seed-1"))
    assert finetune.inputs["checkpoint"] == plan().step("backbone", ("mini",)).digest


def test_no_training_reads_a_test_part() -> None:
    for step in plan(base="config").steps():
        if step.phase in ("intermediate", "finetune"):
            assert not [role for role in step.inputs if role.startswith("test")]
            assert not [path for path in (*step.payload["train"], *step.payload["dev"]) if "/test." in path]


def test_nested_seeds_cross_and_paired_seeds_do_not() -> None:
    paired = plan({"seeds": {"intermediate": [1, 2], "finetune": "paired"}})
    nested = plan({"seeds": {"intermediate": [1, 2], "finetune": [3, 4]}})
    assert [s.folder for s in paired.seeds("mnli", "mnli")] == ["seed-1", "seed-2"]
    assert [s.folder for s in nested.seeds("mnli", "mnli")] == ["seed-1-3", "seed-1-4", "seed-2-3", "seed-2-4"]
    assert [s.folder for s in nested.seeds("none", "mnli")] == ["seed-3", "seed-4"]
    assert [s.folder for s in nested.seeds("none", "encoder")] == ["seedless"]


def test_a_finetune_learning_rate_reaches_its_own_train_set_only() -> None:
    names = changed({"recipes": {"mini": {"finetune": {"pawsx": {"learning_rate": 5.0e-4}}}}})
    assert {name for name in names if name.startswith("finetune")} == {
        name for name in digests(plan()) if name.startswith("finetune") and "/pawsx/" in name
    }
    assert phases(names) == {"finetune", "predict", "score", "tabulate", "figures"}
    assert not [name for name in names if name.startswith("score") and "/pawsx/" not in name]


@pytest.mark.parametrize(
    "raw",
    [
        {"compute": {"ranks": 2, "threads": 2, "micro_batch": 4}},
        {"compute": {"resources": {"finetune": {"runtime": 2}}}},
        {"evaluation": {"batch_tokens": 1024}},
        {"report": {"print_matrix": False}},
    ],
    ids=["devices", "resources", "inference batch", "display"],
)
def test_what_changes_no_result_changes_no_digest(raw: dict[str, Any]) -> None:
    assert changed(raw) == set()


def test_a_figure_option_redraws_the_figures_only() -> None:
    assert changed({"report": {"figure_formats": ["svg"]}}) == {"figures"}


def test_the_retrieval_layer_touches_retrieval_only() -> None:
    names = changed({"backbones": {"mini": {"retrieval_layer": 2}}})
    assert phases(names) == {"predict", "score", "tabulate", "figures"}
    assert not [n for n in names if n.startswith("predict") and "/encoder/" not in n]


def test_adding_a_seed_computes_its_cells_only() -> None:
    names = changed({"seeds": {"intermediate": [1, 2]}})
    assert {n for n in names if "seed-1" in n or "seedless" in n} == set()
    assert "intermediate/mini/mnli/seed-2" in names


def test_adding_a_language_retrains_nothing() -> None:
    fewer = {"targets": {"xnli": {"languages": ["en", "qaa"]}}}
    before, after = digests(plan(fewer)), digests(plan())
    names = {name for name, value in after.items() if before.get(name) != value}
    assert not phases(names) & {"backbone", "intermediate", "finetune"}
    assert {n.split("/")[3] for n in names if n.startswith("predict")} == {"mnli"}
    assert {n.split("/")[3] for n in names if n.startswith("score")} == {"xnli"}


def test_submissions_are_made_on_request_from_the_seeds_of_one_path() -> None:
    made = plan({"seeds": {"intermediate": [1, 2], "finetune": [3]}})
    matrix = [step.name for step in made.steps()]
    step = made.step("submission", ("mini", "mnli", "seed-2-3"))
    assert {need.folders[-1] for need in step.needs if need.phase == "predict"} == {"seed-2-3", "seed-2"}
    assert {part["task"] for part in step.payload["parts"]} == set(made.study.targets)
    baseline = made.step("submission", ("mini", "none", "seed-3"))
    assert {need.folders[-1] for need in baseline.needs if need.phase == "predict"} == {"seed-3", "seedless"}
    assert [step.name for step in made.steps()] == matrix
    assert not [name for name in matrix if name.startswith("submission")]


def test_overlap_compares_every_training_set_with_every_test_set() -> None:
    payload = plan().overlap().payload
    assert {"mnli", "qqp", "squad_v1", "squad_v2", "udpos", "panx", "tydiqa"} <= set(payload["training"])
    assert set(payload["tests"]) == set(plan().study.targets)
    assert set(payload["tests"]["xnli"]) == set(plan().languages("xnli"))
    fewer = {"targets": {"xnli": {"languages": ["en", "qaa"]}}}
    assert "overlap" in changed(fewer)


@pytest.mark.parametrize(("target", "language"), [("xquad", "fr"), ("tydiqa", "de"), ("xnli", "ja")])
def test_a_language_that_the_hub_s_copy_lacks_is_refused_before_anything_runs(target: str, language: str) -> None:
    expected = rf"targets\.{target}\.languages: the dataset has no test part in {language};"
    with pytest.raises(ConfigError, match=expected):
        plan({"targets": {target: {"languages": ["en", language]}}}, base="config")


def test_the_paper_s_dev_is_offered_by_name_and_labelled() -> None:
    ours, paper = plan(base="config"), plan({"data": {"selection_dev": "paper"}}, base="config")
    assert ours.source("tydiqa").dev is not None and paper.source("tydiqa").dev is None
    assert paper.source("squad_v1").hub.splits["dev"] == "validation"  # type: ignore[union-attr]
    for train_set, target in (("squad_v1", "xquad"), ("tydiqa", "tydiqa")):
        before, after = (p.parts(train_set) for p in (ours, paper))
        assert before["train", "en"].digest != after["train", "en"].digest
        assert before["dev", "en"].digest != after["dev", "en"].digest
        found = [next(s for s in p.steps() if s.phase == "score" and s.folders[2] == target) for p in (ours, paper)]
        assert [step.slice["variant"] for step in found] == ["best", "best-paper-dev"]
    assert ours.parts("tydiqa")["test", "fi"].digest == paper.parts("tydiqa")["test", "fi"].digest
    assert not any(split == "dev" and language != "en" for split, language in paper.parts("tydiqa"))
    after = digests(paper)
    assert all(after[name] == value for name, value in digests(ours).items() if name.endswith("/none/mnli/seed-1"))


def test_the_mini_world_has_no_published_dev() -> None:
    with pytest.raises(ConfigError, match=r"data\.selection_dev: the mini world has no published dev part; use `cut`"):
        plan({"data": {"selection_dev": "paper"}})


def test_two_readings_of_one_dataset_are_refused() -> None:
    raw = {"intermediates": {"odd": {"tasks": [{"task": "qqp", "datasets": ["mnli"]}]}}}
    with pytest.raises(UserError, match="read it with different labels"):
        plan(raw)


def test_planning_imports_nothing_heavy() -> None:
    program = (
        "import sys, yaml; from xstilts.config import load; from xstilts.study import Plan;"
        "Plan(load(yaml.safe_load(open('config/mini.yaml')))).steps();"
        "print(sorted({'torch', 'transformers', 'pandas', 'datasets', 'pyarrow'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_jobs_are_plain_json_and_name_their_output() -> None:
    step: Step = plan().step("finetune", ("mini", "mnli", "panx", "seed-1"))
    job = __import__("json").loads(step.job())
    assert job["output"].endswith(step.digest)
    assert job["plan"]["inputs"] == step.inputs


def test_another_system_is_a_row_of_every_table(tmp_path: Path) -> None:
    for code in ("en", "qaa"):
        (tmp_path / "llm" / "xnli").mkdir(parents=True, exist_ok=True)
        (tmp_path / "llm" / "xnli" / f"test-{code}.tsv").write_text("neutral\n", encoding="utf-8")
    given = {"external": {"llm": {"predictions": str(tmp_path / "llm")}}}
    made = finished.plan(tmp_path, given)
    step = made.external("llm", "xnli")
    assert step in made.tabulate().needs and step in made.significance().needs
    assert made.tabulate().slice["intermediates"][-1] == "llm"
    assert "llm" not in made.select_on_dev().slice["candidates"]
    (tmp_path / "llm" / "xnli" / "test-en.tsv").write_text("entailment\n", encoding="utf-8")
    assert finished.plan(tmp_path, given).external("llm", "xnli").digest != step.digest


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", r"external\.llm\.predictions: .*nowhere has no folder named as a target; name the one with"),
        ("half", r"external\.llm\.predictions: .*test-qaa\.tsv is missing; add it, or remove .*half/xnli"),
    ],
)
def test_another_system_s_missing_files_are_named(tmp_path: Path, folder: str, message: str) -> None:
    (tmp_path / "half" / "xnli").mkdir(parents=True)
    (tmp_path / "half" / "xnli" / "test-en.tsv").touch()
    with pytest.raises(ConfigError, match=message):
        finished.plan(tmp_path, {"external": {"llm": {"predictions": str(tmp_path / folder)}}}).tabulate()


# --- scopes: the matrix, the other rows, all


ROWS = {"none": {}, "mnli": {"tasks": ["mnli"]}}


def of(scope: Any, rows: dict[str, Any], **raw: Any) -> Plan:
    """The plan of a mini study with a few rows besides `none` and `mnli`, which replace the committed ones."""
    given = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))
    study = config.load({**given, "intermediates": {**ROWS, **rows}, **raw})
    return Plan(study, scope=scope)


def test_other_rows_cost_the_matrix_nothing() -> None:
    """Neither a step nor a digest of the matrix changes, and nothing of theirs is read."""
    more = {"mnli+mlm": {"tasks": ["mnli", "mlm"]}, "multi": {"tasks": ["mnli", "qqp"]}, "none-x2": {"like": "none"}}
    more["none-x2"]["finetune"] = {"length": 2}  # type: ignore[index]
    assert digests(of("matrix", more)) == digests(of("matrix", {}))
    assert "mlm" not in of("matrix", more).datasets() and "mlm" in of("all", more).datasets()


def test_a_wider_scope_has_the_same_steps_and_tables_of_its_own() -> None:
    more = {"multi": {"tasks": ["mnli", "qqp"]}}
    matrix, wider = digests(of("matrix", more)), digests(of("all", more))
    shared = {name for name in matrix if name.split("/")[0] in ("intermediate", "finetune", "predict", "score")}
    assert {name: wider[name] for name in shared} == {name: matrix[name] for name in shared}
    assert "tabulate/all" in wider and "tabulate" not in wider
    assert {path.split("/tables/")[1] for path in of("all", more).tabulate().published} >= {"all/cells.csv"}
    others = of("baselines", more)
    assert set(others.intermediates) == {"none", "multi"}


@pytest.mark.parametrize(
    ("row", "block", "mlm", "matrix"),
    [
        ({}, "none", False, True),
        ({"tasks": [{"task": "mnli", "datasets": ["snli"]}]}, "single", False, True),
        ({"tasks": ["mnli", "mlm"]}, "single", True, False),
        ({"tasks": ["mnli", "qqp"]}, "multi-task", False, False),
        ({"tasks": ["mnli", "qqp", "mlm"]}, "multi-task", True, False),
        ({"tasks": [{"task": "mnli", "languages": ["qac"], "translated": "xnli_mt"}]}, "translated", False, False),
        ({"tasks": ["mnli"], "control": "shuffled_labels"}, "control", False, False),
        ({"tasks": ["mlm"]}, "control", True, False),
        ({"like": "none", "finetune": {"length": 2}}, "control", False, False),
    ],
)
def test_a_row_s_block_follows_from_what_it_is(row: dict[str, Any], block: str, mlm: bool, matrix: bool) -> None:
    arm = config.Intermediate.model_validate(row)
    assert (arm.block, arm.mlm, arm.in_matrix) == (block, mlm, matrix)


def test_rows_that_differ_in_phase_3_share_one_phase_2() -> None:
    made = of("all", {"grid": {"like": "mnli", "finetune": {"learning_rates": [1e-3, 5e-4]}}})
    assert [s.name for s in made.steps() if s.phase == "intermediate"] == ["intermediate/mini/mnli/seed-1"]
    best = made.step("finetune", ("mini", "grid", "pawsx", "seed-1"))
    tried = [need for need in best.needs if need.phase == "finetune"]
    assert [step.slice["hyper"]["learning_rate"] for step in tried] == [1e-3, 5e-4]
    assert {step.inputs["checkpoint"] for step in tried} == {made.intermediate("mini", "mnli", 1).digest}
    retrieval = {need.name for s in made.steps() if s.name.startswith("score/mini/grid/tatoeba") for need in s.needs}
    assert retrieval == {"predict/mini/mnli/encoder/seed-1"}
    longer = of("all", {"long": {"like": "none", "finetune": {"length": 2}}})
    hyper = longer.step("finetune", ("mini", "long", "pawsx", "seed-1")).slice["hyper"]
    assert hyper["steps"] == 2 * longer.step("finetune", ("mini", "none", "pawsx", "seed-1")).slice["hyper"]["steps"]


def test_what_a_mixture_depends_on() -> None:
    rows = {"multi": {"tasks": ["mnli", "qqp"], "mixture": {"length": "capped_counts"}}, "m": {"tasks": ["qqp", "mlm"]}}
    before = digests(of("all", rows))

    def changed_by(more: dict[str, Any] | None = None, **raw: Any) -> set[str]:
        after = digests(of("all", {**rows, **(more or {})}, **raw))
        return {name for name in after if before.get(name) != after[name] and name.startswith("intermediate")}

    assert changed_by(mlm={"sentences": 7000}) == {"intermediate/mini/m/seed-1"}
    unread = {"length": "capped_counts", "temperature": 5}
    assert changed_by({"multi": {"tasks": ["mnli", "qqp"], "mixture": unread}}) == set()
    given = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))["recipes"]

    def recipe(**values: Any) -> dict[str, Any]:
        return config.deep_merge(given, {"mini": values})

    # The common rate of several tasks is the recipe's, not one of theirs, and capped counts read no task's own length.
    assert changed_by(recipes=recipe(intermediate={"qqp": {"steps": 17, "learning_rate": 1e-5}})) == {
        "intermediate/mini/m/seed-1"
    }
    assert changed_by(recipes=recipe(with_mlm={"learning_rate": 1e-5})) == {"intermediate/mini/m/seed-1"}
    assert changed_by(recipes=recipe(mixed={"learning_rate": 1e-5})) == {"intermediate/mini/multi/seed-1"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tasks": ["mnli", "qpp"]}, "unknown task 'qpp'; did you mean 'qqp'"),
        ({"tasks": ["mnli", "mnli"]}, "names a task twice"),
        ({"tasks": ["mnli", "tatoeba"]}, "'tatoeba' has no training data"),
        ({"tasks": ["mlm"], "control": "shuffled_labels"}, "shuffled_labels needs a task with labels"),
        ({"tasks": ["mnli"], "control": "mlm_only"}, "mlm_only needs `mlm`"),
        ({"like": "mnlo", "finetune": {"length": 2}}, "unknown row 'mnlo'; did you mean 'mnli'"),
        ({"tasks": ["mnli"], "finetune": {"length": 2}}, "`finetune` needs `like`"),
        ({"tasks": [{"task": "mnli", "languages": ["qac"]}]}, "need `translated`"),
        ({"tasks": [{"task": "mnli", "languages": ["xx"], "translated": "xnli_mt"}]}, "unknown language 'xx'"),
        ({"tasks": [{"task": "mnli", "languages": ["qac"], "translated": "snli"}]}, "no training part in .*qac"),
        ({"tasks": ["mnli", "qqp"], "mixture": {"sampling": "caped"}}, "intermediates.odd.mixture.sampling"),
    ],
)
def test_a_mistake_in_a_row_is_one_line(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        of("all", {"odd": row}).steps()
    assert "\n" not in str(caught.value)


def test_missing_languages_of_mlm_are_named() -> None:
    files = {"mlm": {"files": [{"format": "lines", "languages": ["en"], "files": {"train": "mlm/{lang}.txt"}}]}}
    given = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))["data"]
    with pytest.raises(UserError, match=r"data\.datasets\.mlm: has no training part in .* \(qaa\)"):
        of("all", {"m": {"tasks": ["mnli", "mlm"]}}, data={**given, "datasets": files}).steps()
