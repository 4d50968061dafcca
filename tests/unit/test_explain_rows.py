"""What a dry run of all rows, `why` and `accept` say of the baselines' rows and of what is said of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.finished import edited, finish, plan
from tests.unit.test_invalidation_arms import ARMS, mixture, row, translation

from xstilts import accept
from xstilts.explain import report
from xstilts.study import Plan
from xstilts.why import why

pytestmark = pytest.mark.slow

SCOPES = ("all", "baselines", "matrix")
END = "tables, figures, choice on dev, tests, report"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results of all rows, in a directory that has the model that translates."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data/model/config.json", "{}")
    for made in plans(tmp_path / "results"):
        finish(made.every_step())
    return tmp_path / "results"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def plans(root: Path, *changes: dict[str, Any], base: dict[str, Any] = ARMS) -> list[Plan]:
    return [plan(root, *changes, base=base, scope=scope) for scope in SCOPES]


def told(root: Path, *changes: dict[str, Any], base: dict[str, Any] = ARMS) -> list[str]:
    made = plans(root, *changes, base=base)
    left = [path for one in made for step in one.every_step() if not step.done for path in step.outputs]
    return [line.strip() for line in report(made, left).splitlines()[1:]]


RECIPE = {"recipes": {"reduced": {"intermediate": {"hellaswag": {"batch": 4}}}}}
AFTER = f"1 finetune, 3 predictions, 2 scores, {END}"
EDITS: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "cap",
        mixture("multi", cap=100),
        [f"mixture cap of intermediate/multi: 131072 → 100 — 1 intermediate, then {AFTER}"],
    ),
    (
        "batch of a task of a mixture",
        RECIPE,
        [f"batch of hellaswag in intermediate/multi: 8 → 4 — 1 intermediate, then {AFTER}"],
    ),
    (
        "a task more",
        row("multi", tasks=["mnli", "hellaswag", "qqp"]),
        [
            "tasks of intermediate/multi: mnli, hellaswag → mnli, hellaswag, qqp — 1 intermediate, "
            f"then {AFTER}"
        ],
    ),
    (
        "sentences of MLM",
        {"mlm": {"sentences": 500}},
        [f"sentences of mlm in intermediate/mnli+mlm: 2000000 → 500 — 1 intermediate, then {AFTER}"],
    ),
    (
        "learning rate with MLM",
        {"recipes": {"reduced": {"with_mlm": {"learning_rate": 2.0e-3}}}},
        [f"learning rate of intermediate/mnli+mlm: 5e-4 → 2e-3 — 1 intermediate, then {AFTER}"],
    ),
    (
        "labels in random order",
        row("qqp-both", control="shuffled_labels"),
        [f"shuffled labels of intermediate/qqp-both: none → yes — 1 intermediate, then {AFTER}"],
    ),
    (
        "beams",
        translation(beams=2),
        [
            "beams of translation made: 1 → 2 — 1 translation, "
            f"then 1 intermediate, {AFTER.replace('figures', 'figures, text overlap')}"
        ],
    ),
    (
        "longer fine-tuning",
        row("mnli-doubled", finetune={"length": 3}),
        [f"steps of finetune/mnli-doubled/mnli: 16 → 24 — 1 finetune, then 2 predictions, 1 score, {END}"],
    ),
    (
        "a rate of a grid",
        row("none-grid", finetune={"learning_rates": [5.0e-4, 2.0e-3]}),
        [
            "learning rates of finetune/mnli: 5e-4, 1e-3 → 5e-4, 2e-3 — 1 finetune, "
            f"then 1 finetune, 2 predictions, 1 score, {END}"
        ],
    ),
    ("oracle", {"report": {"oracle": True}}, ["oracle of the report: no → yes — tests, then report"]),
    ("a colour scale", {"report": {"delta_range": 5.0}}, [
        "delta range of the figures: none → 5 — figures",
        "delta range in the report: none → 5 — report",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "lines"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_each_edit_of_a_row_has_its_words(root: Path, change: dict[str, Any], lines: list[str]) -> None:
    assert "\n".join(sorted(told(root, change))) == "\n".join(sorted(lines))


def test_what_is_said_of_the_tables_is_told_of_when_it_is_deleted(root: Path) -> None:
    for name in ("tables/all/selection.csv", "all/report.html", "tables/cells.csv"):
        (root / "arms" / name).unlink()
    assert told(root) == [
        "file deleted: all/selection.csv — choice on dev",
        "file deleted: all/report.html — report",
        "file deleted: tables/cells.csv — tables",
    ]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("finetune/mini/none-grid/mnli/seed-1/*/model.safetensors", "finetune/mini/none-grid/mnli/seed-1"),
        ("finetune/mini/none-grid/mnli/seed-1-lr0.001/*/log.jsonl", "finetune/mini/none-grid/mnli/seed-1-lr0.001"),
        ("translated/made/qaa/*/train.qaa.parquet", "translate/made/qaa"),
        ("tables/all/cells.csv", "tabulate/all"),
        ("tables/baselines/cells.csv", "tabulate/baselines"),
        ("tables/all/selection.csv", "selection/all"),
        ("tables/all/significance.csv", "significance/all"),
        ("all/report.html", "report/all"),
        ("tables/overlap.csv", "overlap"),
    ],
)
def test_why_knows_every_row_and_what_is_said_of_the_tables(root: Path, pattern: str, name: str) -> None:
    (path,) = (root / "arms").glob(pattern)
    lines = list(why(plans(root), str(path)))
    assert lines[0].startswith(f"made by   {name} (")
    assert lines[-1] == "today     the same: this is what today's config, data and code make"
    other = list(why(plans(root, {"compute": {"precision": "bf16"}}), str(path)))
    assert other[-1] == ("          precision: fp32 → bf16" if name != "overlap" else lines[-1])


def test_accepting_reaches_all_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(monkeypatch, "xstilts.training.shuffling", "xstilts.analysis.significance")
    assert len(told(root)) == 2
    assert accept.accept(plans(root), "intermediate")["results"] == 1
    assert accept.accept(plans(root), "significance")["results"] == 3
    assert told(root) == []
