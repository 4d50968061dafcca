"""The locks, the cluster environment and the package's own requirements say the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def _pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_every_requirement_is_pinned_and_its_pin_fits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime, dev = _pins("requirements.lock"), _pins("requirements-dev.lock")
    for text in project["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(runtime[wanted.name.lower().replace("_", "-")]), text
    for text in project["optional-dependencies"]["dev"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(dev[wanted.name.lower()]), text


def test_the_cluster_environment_is_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "envs" / "xstilts.yaml").read_text(encoding="utf-8"))
    pip = environment["dependencies"][-1]["pip"]
    assert dict(line.split("==") for line in pip) == _pins("requirements.lock")


def test_torch_is_pinned_to_one_version() -> None:
    assert _pins("requirements.lock")["torch"] == "2.13.0"
