"""What edits of the baselines' rows, translations, hub revisions and the mini world rerun, and nothing else.

As in test_invalidation.py, on finished studies that nothing had to train: every output and record is there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.dryruns import DryRuns
from tests.graph import invalidated, reads
from tests.reduced import REDUCED, Copy, units
from tests.unit.finished import study
from tests.unit.test_invalidation import NONE, TRAININGS, Edit, append, apply, recipe, remove, rewrite, source, without
from tests.workspace import Workspace

from xstilts.config import deep_merge, load
from xstilts.mini.make import make
from xstilts.mini.sizes import Sizes
from xstilts.mini.world import write_world
from xstilts.study import Plan
from xstilts.tasks.prepare import prepare

pytestmark = pytest.mark.slow

Config = dict[str, Any]
A, B = "a" * 40, "b" * 40  # commits


def use(task: str, translated: str, *languages: str) -> Config:
    return {"tasks": [{"task": task, "languages": list(languages), "translated": translated}]}


QQP_MT = {
    "format": "pairs",
    "header": True,
    "files": {"train": "translated/{lang}/QQP/train.tsv"},
    "columns": {"text_a": "question1", "text_b": "question2", "label": "is_duplicate"},
    "labels": {"0": "not_duplicate", "1": "duplicate"},
}
ROWS: Config = {
    "none": {},
    "mnli": {"tasks": ["mnli"]},
    "multi": {"tasks": ["mnli", "hellaswag"], "mixture": {"length": "capped_counts", "epochs": 1}},
    "mnli+mlm": {"tasks": ["mnli", "mlm"]},
    "mnli-shuffled": {"tasks": ["mnli"], "control": "shuffled_labels"},
    "mnli-made": use("mnli", "made", "qaa"),
    "qqp-both": use("qqp", "qqp_mt", "en", "qaa"),
    "mnli-doubled": {"like": "mnli", "finetune": {"length": 2}},
    "none-grid": {"like": "none", "finetune": {"learning_rates": [5.0e-4, 1.0e-3]}},
}
RECIPE: Config = deep_merge(
    REDUCED["recipes"]["reduced"], {"intermediate": {"qqp": {}, "mlm": {}}, "with_mlm": {"learning_rate": 5.0e-4}}
)
ARMS: Config = {
    **REDUCED,
    "study": "arms",
    "data": {
        "source": "files",
        "root": "data",
        "datasets": {"qqp_mt": {"files": [QQP_MT]}},
        "translations": {"made": {"of": "mnli", "path": "data/model"}},
    },
    "recipes": {"reduced": RECIPE},
    "intermediates": ROWS,
    "targets": {"xnli": {"languages": ["en", "qaa"]}, "tatoeba": {"languages": ["qaa"]}},
}
SMALL = {size.name: 12 for size in fields(Sizes) if size.name != "dev"}
WORLD: Config = {
    **REDUCED,
    "study": "world",
    "data": {"world": {"seed": 0, "sizes": SMALL}},
    "intermediates": {"none": {}, "hellaswag": {"tasks": ["hellaswag"]}},
    "targets": {"udpos": {"languages": ["en", "qaa"]}, "tatoeba": {"languages": ["qaa"]}},
}
HUB: Config = {
    **REDUCED,
    "study": "hub",
    "data": {
        "source": "hub",
        "datasets": {"mnli": {"hub": {"revision": A}}},
        "translations": {"made": {"of": "mnli", "hub": "org/translator"}},
    },
    "backbones": {"fetched": {"hub": "org/encoder"}},
    "intermediates": {"none": {}, "hellaswag": {"tasks": ["hellaswag"]}, "mnli-made": use("mnli", "made", "de")},
    "targets": {"xnli": {"languages": ["en", "de"]}, "tatoeba": {"languages": ["de"]}},
}
STUDIES = {"arms": ARMS, "world": WORLD, "hub": HUB}


def row(name: str, **values: Any) -> Config:
    return {"intermediates": {name: values}}


def mixture(name: str, **values: Any) -> Config:
    return row(name, mixture=values)


def translation(**values: Any) -> Config:
    return {"data": {"translations": {"made": values}}}


def sizes(**values: int) -> Config:
    return {"data": {"world": {"sizes": values}}}


def limit(dataset: str, rows: int) -> Config:
    return {"data": {"datasets": {dataset: {"limit": {"train": rows}}}}}


HELLASWAG = "world/*/hellaswag/hellaswag_train.jsonl"


def locked(kind: str, repository: str, commit: str) -> Callable[[Copy], object]:
    """What `python -m xstilts.lock` would write for one repository."""
    lock = {kind: {repository: {"unpinned": commit}}}
    return lambda copy: (copy.directory / "study.lock.yaml").write_text(yaml.safe_dump(lock))


def data_of(path: str, old: str, new: str) -> Callable[[Copy], object]:
    return lambda copy: rewrite(copy.directory / "data" / path, old, new)


MNLI = tuple(f"intermediate/*/{name}/*" for name in ("mnli", "mnli-shuffled", "mnli-made", "mnli+mlm"))
PLAIN = tuple(f"finetune/*/{name}/mnli/*" for name in ROWS if name != "none-grid")
WITH_MLM = ("intermediate/*/mnli+mlm/*",)
MULTI = ("intermediate/*/multi/*",)
MADE = ("world", "part/*", "text/*")

EDITS: dict[str, dict[str, Edit]] = {
    "arms": {
        "a task more in a mixture": Edit(NONE, row("multi", tasks=["mnli", "hellaswag", "qqp"])),
        "sampling": Edit(MULTI, mixture("multi", sampling="uniform")),
        "cap": Edit(MULTI, mixture("multi", cap=100)),
        "temperature where sizes are only capped": Edit(NONE, mixture("multi", temperature=3.0)),
        "cap of a row of one task": Edit(NONE, mixture("mnli", cap=100)),
        "passes of a mixture": Edit(MULTI, mixture("multi", epochs=2)),
        "how the steps of a mixture are counted": Edit(MULTI, mixture("multi", length="own_epochs")),
        "steps of a task, which a mixture of capped counts does not take": Edit(
            MNLI, recipe("intermediate", "mnli", steps=9)
        ),
        "batch of a task of a mixture": Edit(MULTI, recipe("intermediate", "hellaswag", batch=4)),
        "learning rate of mixtures": Edit(MULTI, {"recipes": {"reduced": {"mixed": {"learning_rate": 2.0e-3}}}}),
        "learning rate with MLM": Edit(WITH_MLM, {"recipes": {"reduced": {"with_mlm": {"learning_rate": 2.0e-3}}}}),
        "sentences, and so the share, of MLM": Edit(WITH_MLM, {"mlm": {"sentences": 500}}),
        "shares of the languages of MLM": Edit(WITH_MLM, {"mlm": {"alpha": 0.7}}),
        "languages of MLM": Edit(NONE, {"mlm": {"languages": ["en"]}}),
        "labels in random order": Edit(("intermediate/*/qqp-both/*",), row("qqp-both", control="shuffled_labels")),
        "fine-tuning three times as long": Edit(
            ("finetune/*/mnli-doubled/*",), row("mnli-doubled", finetune={"length": 3})
        ),
        "a rate of a grid": Edit(NONE, row("none-grid", finetune={"learning_rates": [5.0e-4, 2.0e-3]})),
        "learning rate of fine-tunes, which a grid does not take": Edit(
            PLAIN, recipe("finetune", "mnli", learning_rate=5.0e-4)
        ),
        "a row less": Edit(NONE, without("intermediates", "mnli-doubled")),
        "a seed more": Edit(NONE, {"seeds": {"intermediate": [1, 2]}}),
        "oracle in the report": Edit(("significance/all",), {"report": {"oracle": True}}),
        "a row of a translated file": Edit(
            ("part/qqp_mt/train/qaa",), files=data_of("translated/qaa/QQP/train.tsv", "\t0\n", "\t1\n")
        ),
        "a translated file by another name for the same": Edit(
            NONE, files=lambda c: (c.directory / "data/translated/qaa/QQP/train.tsv").touch()
        ),
        "another translation model": Edit(("model/made",), files=append("data/model/model.safetensors", "other")),
        "beams of the translation": Edit(("translate/*",), translation(beams=2)),
        "code of the translation": source(("translate/*",), "translation/translate.py"),
        "code that checks translations": source(NONE, "translation/match.py"),
        "code of shuffled labels": source(("intermediate/*/mnli-shuffled/*",), "training/shuffling.py"),
        "code of masking": source(WITH_MLM, "training/masking.py"),
        "code of the head for MLM": source(WITH_MLM, "models/masked_lm.py"),
        "code of mixtures": source(TRAININGS, "training/mixing.py"),
        "code that chooses of a grid": source(("finetune/*/none-grid/*/seed-1",), "training/choose.py"),
        "code of the choice on dev": source(("selection/all",), "analysis/selection.py"),
        "code of the tests": source(("significance/all",), "analysis/significance.py"),
        "code of the report": source(("report/all",), "analysis/report.py"),
    },
    "world": {
        "seed": Edit(MADE, {"data": {"world": {"seed": 1}}}),
        "size of one training set": Edit(("world", "part/hellaswag/train/en"), sizes(hellaswag=100)),
        "size of dev parts": Edit(("world", "part/*/dev/*"), sizes(dev=100)),
        "size of the raw text": Edit(("world", "text/*"), sizes(text_lines=100)),
        "size of a task that the study does not have": Edit(("world",), sizes(qqp=100)),
        "a size as it is by default": Edit(NONE, sizes(dev=150)),
        "distances of the languages": source(MADE, "mini/tongues.py"),
        "a language": Edit(NONE, {"targets": {"udpos": {"languages": ["en", "qaa", "qab"]}}}),
        "a deleted file that nothing has to read": Edit(NONE, files=remove(HELLASWAG)),
        "a deleted file that a changed part is made from": Edit(
            ("part/hellaswag/train/en", "world"), limit("hellaswag", 5), files=remove(HELLASWAG)
        ),
    },
    "hub": {
        "a lock on what the config names": Edit(
            NONE,
            {"data": {"datasets": {"mnli": {"hub": {"revision": "unpinned"}}}}},
            files=locked("datasets", "nyu-mll/glue", A),
        ),
        "a lock on another commit": Edit(
            ("part/mnli/*",),
            {"data": {"datasets": {"mnli": {"hub": {"revision": "unpinned"}}}}},
            files=locked("datasets", "nyu-mll/glue", B),
        ),
        "another commit in the config": Edit(
            ("part/mnli/*",), {"data": {"datasets": {"mnli": {"hub": {"revision": B}}}}}
        ),
        "a lock of a target's dataset": Edit(("part/xnli/*",), files=locked("datasets", "facebook/xnli", A)),
        "a lock of the backbone": Edit(("model/fetched",), files=locked("models", "org/encoder", A)),
        "a lock of the translation model": Edit(("model/made",), files=locked("models", "org/translator", A)),
        "another revision of the translation model": Edit(("model/made",), translation(revision=B)),
        "a lock of what is not used": Edit(NONE, files=locked("models", "org/other", A)),
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workspace]:
    """The three studies."""
    found = {}
    for name, config in STUDIES.items():
        directory = tmp_path_factory.mktemp(name)
        (directory / "data").mkdir()
        if name == "arms":
            write_world(directory / "data", seed=0, languages=["qaa"], sizes=SMALL)
            (directory / "data/model").mkdir()
            for file in ("config.json", "model.safetensors"):
                (directory / "data/model" / file).write_text("{}")
        if name == "world":
            make_world(directory)
        found[name] = study(directory, config)
    return found


def make_world(directory: Path) -> None:
    """The files of the mini world and one dataset, by the code of the jobs."""
    with contextlib.chdir(directory):
        plan = Plan(load(WORLD))
        make(json.loads(plan.world().job()))
        prepare(json.loads(plan.prepare("hellaswag").job()))


@pytest.mark.parametrize("name", STUDIES)
def test_a_finished_study_has_nothing_to_run(
    name: str, finished: dict[str, Workspace], dry_runs: DryRuns, tmp_path: Path
) -> None:
    assert units(Copy(tmp_path, finished[name]), dry_runs, "all") == frozenset()


@pytest.mark.parametrize(("name", "edit"), [(name, edit) for name, edits in EDITS.items() for edit in edits])
def test_an_edit_reruns_exactly_what_it_can_change(
    name: str, edit: str, finished: dict[str, Workspace], dry_runs: DryRuns, tmp_path: Path
) -> None:
    made = EDITS[name][edit]
    copy = Copy(tmp_path, finished[name], code=made.code)
    config = apply(made, copy)
    wanted = invalidated(reads(STUDIES[name], "all"), reads(config, "all"), made.touched)
    found = units(copy, dry_runs, "all")
    needless, missed = ({"/".join(unit) for unit in units} for units in (found - wanted, wanted - found))
    assert (needless, missed) == (set(), set())
    told = (tmp_path / "dry-run.txt").read_text(encoding="utf-8")
    assert ("xstilts: why these jobs would run:" in told) == bool(wanted)
    assert "not made yet" not in told and "missing: " not in told  # there is a reason for all


def test_data_that_was_cut_short_is_refused_before_anything_reads_it(
    finished: dict[str, Workspace], dry_runs: DryRuns, tmp_path: Path
) -> None:
    copy = Copy(tmp_path, finished["world"])
    for pattern in ("data/hellaswag/*/train.en.parquet", HELLASWAG):
        (path,) = copy.results.glob(pattern)
        remove(pattern)(copy)
        path.write_text("cut")
    assert units(copy, dry_runs, "all") == frozenset()  # nothing has to read them
    for change, name in (
        (recipe("intermediate", "hellaswag", steps=9), "train.en.parquet: 3 bytes, but"),
        (limit("hellaswag", 5), "hellaswag_train.jsonl: 3 bytes, but"),
    ):
        copy.configure(WORLD, **change)
        code, text = dry_runs.run(tmp_path, "all")
        assert code != 0
        assert name in text and "when it was made; delete it, and it is made again" in text
