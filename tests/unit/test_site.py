"""What a site asks of its users comes from one file; a mistake in it is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workspace import ROOT

from xstilts import site
from xstilts.errors import ConfigError


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(site.VARIABLE, str(tmp_path / "site.yaml"))
    return tmp_path / "site.yaml"


def test_without_a_file_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(site.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert site.read().resources(2) == {"gpu": 2, "nodes": 1}


@pytest.mark.parametrize(
    ("text", "gpus", "asked"),
    [
        ("gpu: {slurm_partition: a}\ncpu: {slurm_partition: b}", 4, {"gpu": 4, "nodes": 1, "slurm_partition": "a"}),
        ("gpu: {slurm_partition: a}\ncpu: {slurm_partition: b}", 0, {"gpu": 0, "nodes": 1, "slurm_partition": "b"}),
        ("all: {gpu_model: a100}", 2, {"gpu": 2, "gpu_model": "a100", "nodes": 1}),
        ("all: {gpu_model: a100, qos: low}", 0, {"gpu": 0, "qos": "low", "nodes": 1}),
        ("gpu: {gres: 'gpu:a100'}", 2, {"gpu": 0, "gres": "gpu:a100:2", "nodes": 1}),
        ("all: {slurm_account: lab}\ngpu: {slurm_account: big}", 1, {"gpu": 1, "slurm_account": "big", "nodes": 1}),
    ],
)
def test_jobs_with_gpus_and_without_ask_for_their_own(given: Path, text: str, gpus: int, asked: dict[str, Any]) -> None:
    given.write_text(text, encoding="utf-8")
    assert site.read().resources(gpus) == asked


def test_the_example_is_a_site_file(given: Path) -> None:
    example = yaml.safe_load((ROOT / "profiles/slurm/site.example.yaml").read_text(encoding="utf-8"))
    given.write_text(yaml.safe_dump(example), encoding="utf-8")
    assert site.read().resources(1)["slurm_partition"] == "gpu"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gpu: {partition: a}", "site.yaml: gpu.partition: Extra inputs are not permitted; known are all, gpu, cpu"),
        ("gpu: [", "no YAML"),
        (None, f"{site.VARIABLE}="),
    ],
)
def test_a_mistake_is_one_line(given: Path, text: str | None, line: str) -> None:
    if text is not None:
        given.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        site.read()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
