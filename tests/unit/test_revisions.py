"""Locking hub repositories to commits: what is asked, recorded, enforced, and which steps it concerns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from xstilts import config, lock, revisions
from xstilts.errors import ConfigError, UserError
from xstilts.revisions import Revisions
from xstilts.study import Plan, notices

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
STUDY: dict[str, Any] = {
    "backbones": {"x": {"hub": "org/model"}, "local": {"path": "nowhere"}},
    "intermediates": {"none": {"tasks": []}, "mnli": {"tasks": ["mnli"]}},
    "targets": {"pawsx": {"languages": ["en", "de"]}, "tatoeba": {"languages": ["de"]}},
}
PAWSX, MNLI, TATOEBA = "google-research-datasets/paws-x", "nyu-mll/glue", "mteb/tatoeba-bitext-mining"
CONVERTED = "refs/convert/parquet"


class Hub:
    """A hub that knows some commits and notes what it was asked."""

    def __init__(self, commits: dict[tuple[str, str, str | None], str]) -> None:
        self.commits = commits
        self.asked: list[tuple[str, str, str | None]] = []

    def repo_info(self, repo_id: str, *, revision: str | None, repo_type: str) -> Any:
        self.asked.append((repo_type, repo_id, revision))
        try:
            return SimpleNamespace(sha=self.commits[repo_type, repo_id, revision])
        except KeyError:
            raise OSError(f"404: no {repo_id}\nsecond line") from None


COMMITS: dict[tuple[str, str, str | None], str] = {
    ("dataset", PAWSX, None): A,
    ("dataset", MNLI, None): B,
    ("dataset", TATOEBA, CONVERTED): C,
    ("model", "org/model", None): "d" * 40,
}


def write(directory: Path, raw: dict[str, Any]) -> Path:
    path = directory / "my.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def digests(revision: Revisions | None = None, raw: dict[str, Any] = STUDY) -> dict[str, str]:
    return {step.name: step.digest for step in Plan(config.load(raw), revisions=revision).steps()}


def test_a_commit_is_forty_hexadecimal_digits() -> None:
    assert revisions.is_commit(A)
    assert not any(map(revisions.is_commit, ("unpinned", "main", CONVERTED, "a" * 39, A.upper(), A + "\n")))


def test_rows_beyond_the_matrix_are_locked_too(tmp_path: Path) -> None:
    translated = {"tasks": [{"task": "mnli", "languages": ["de"], "translated": "made"}]}
    study = {
        **STUDY,
        "intermediates": {**STUDY["intermediates"], "mnli-de": translated},
        "data": {"translations": {"made": {"of": "mnli", "hub": "org/translator"}}},
    }
    hub = Hub({**COMMITS, ("model", "org/translator", None): "f" * 40})
    assert lock.lock(write(tmp_path, study), hub).models["org/translator"] == {"unpinned": "f" * 40}


def test_every_repository_is_asked_for_once_and_recorded(tmp_path: Path) -> None:
    hub = Hub(COMMITS)
    found = lock.lock(write(tmp_path, STUDY), hub)
    assert sorted(hub.asked, key=str) == sorted(COMMITS, key=str)
    assert found.path == tmp_path / "my.lock.yaml"
    assert found.datasets == {PAWSX: {"unpinned": A}, MNLI: {"unpinned": B}, TATOEBA: {CONVERTED: C}}
    assert found.models == {"org/model": {"unpinned": "d" * 40}}


def test_what_is_recorded_stays_until_it_is_updated(tmp_path: Path) -> None:
    path = write(tmp_path, STUDY)
    first = lock.lock(path, Hub(COMMITS))
    silent = Hub({})
    assert lock.lock(path, silent) == first
    assert silent.asked == []
    moved = {**COMMITS, ("dataset", PAWSX, None): "e" * 40}
    assert lock.lock(path, Hub(moved), update=True).datasets[PAWSX] == {"unpinned": "e" * 40}


def test_a_new_dataset_is_added_and_the_others_are_not_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, {**STUDY, "targets": {"tatoeba": {"languages": ["de"]}}})
    lock.lock(path, Hub(COMMITS))
    hub = Hub(COMMITS)
    lock.lock(write(tmp_path, STUDY), hub)
    assert hub.asked == [("dataset", PAWSX, None)]


def test_the_hubs_refusal_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"\(revision unpinned\): the hub gives no commit: 404: no .*; check id"
    ) as caught:
        lock.lock(write(tmp_path, STUDY), Hub({}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "my.lock.yaml").exists()


def test_the_plan_loads_the_locked_commits(tmp_path: Path) -> None:
    locked = lock.lock(write(tmp_path, STUDY), Hub(COMMITS))
    made = Plan(config.load(STUDY), revisions=locked)
    assert made.backbone("x").payload["revision"] == "d" * 40
    assert made.prepare("tatoeba").payload["source"]["hub"]["revision"] == C
    assert made.repositories() == {
        ("datasets", PAWSX, A), ("datasets", MNLI, B), ("datasets", TATOEBA, C), ("models", "org/model", "d" * 40)
    }  # fmt: skip


def test_pinning_one_dataset_changes_its_own_steps_and_what_follows() -> None:
    before, after = digests(), digests(Revisions(datasets={PAWSX: {"unpinned": A}}))
    names = {name for name, value in after.items() if before[name] != value}
    assert {n for n in names if n.startswith("prepare")} == {"prepare/pawsx"}
    assert {n.split("/")[0] for n in names} == {
        "preflight", "prepare", "tokenize", "finetune", "predict", "score", "tabulate", "figures", "overlap"
    }  # fmt: skip
    assert not [n for n in names if n.split("/")[0] in ("finetune", "predict", "score") and "/pawsx/" not in n]
    assert {n.split("/", 2)[2] for n in names if n.startswith("tokenize")} == {"finetune/pawsx"}


def test_a_lock_without_the_studys_repositories_changes_nothing() -> None:
    assert digests(Revisions(datasets={"other/data": {"unpinned": A}}, models={PAWSX: {"unpinned": A}})) == digests()


def test_the_lock_equals_the_same_commit_in_the_config() -> None:
    named = {**STUDY, "backbones": {**STUDY["backbones"], "x": {"hub": "org/model", "revision": B}}}
    locked = Revisions(models={"org/model": {"unpinned": B}})
    assert digests(locked) == digests(raw=named) == digests(locked, named)


def test_a_config_that_contradicts_the_lock_is_refused(tmp_path: Path) -> None:
    named = {**STUDY, "backbones": {"x": {"hub": "org/model", "revision": C}}}
    locked = Revisions(models={"org/model": {"unpinned": B}}, path=Path("my.lock.yaml"))
    with pytest.raises(ConfigError, match=rf"backbones\.x\.revision: {C} contradicts my\.lock\.yaml, which has {B}"):
        Plan(config.load(named), revisions=locked).steps()
    lock.lock(write(tmp_path, STUDY), Hub(COMMITS))
    with pytest.raises(ConfigError, match="contradicts"):
        lock.lock(write(tmp_path, named), Hub(COMMITS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: {a/b: {unpinned: main}}", r"datasets\.a/b: 'main' is not a commit"),
        ("dataset: {}", "unknown key 'dataset'"),
        ("datasets: [a]", "not a lock"),
        ("a: [", "not a lock"),
    ],
)
def test_a_broken_lock_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "my.lock.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        revisions.read(path)
    assert str(path) in str(caught.value)


def test_what_is_unpinned_is_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    notices(Plan(config.load(STUDY)))
    assert f"unpinned: {PAWSX}, {TATOEBA}, {MNLI} and 1 more; record" in capsys.readouterr().err
    everything = Revisions({PAWSX: {"unpinned": A}, MNLI: {"unpinned": B}, TATOEBA: {CONVERTED: C}})
    notices(Plan(config.load({**STUDY, "backbones": {"l": {"path": "nowhere"}}}), revisions=everything))
    assert capsys.readouterr().err == ""


def test_a_backbones_record_changes_no_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    raw = {**STUDY, "backbones": {"local": {"path": str(tmp_path)}}}
    before = digests(raw=raw)
    (tmp_path / "record.json").write_text("{}", encoding="utf-8")
    assert digests(raw=raw) == before
    (tmp_path / "config.json").write_text("{ }", encoding="utf-8")
    assert digests(raw=raw)["backbone/local"] != before["backbone/local"]
