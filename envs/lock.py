"""Writes the locks and envs/xstilts.yaml from the packages installed in the running environment (`make lock`).

Walks the requirements of xstilts itself, so that a stray package in the environment does not get into a lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

TORCH = "2.13.0"
ROOT = Path(__file__).parent.parent
PYTHON = "3.12"
_LOCK_HEADER = "# Every runtime dependency, pinned; written by `make lock`.\n"
_DEV_HEADER = "# What tests and checks need besides requirements.lock; written by `make lock`.\n-r requirements.lock\n"
_ENV_HEADER = """\
# The environment of every rule, for `--software-deployment-method conda`; written by `make lock`. xstilts itself is
# not in it: rules find it in src/, and a path in here would break, for Snakemake reads a copy of this file elsewhere.
# To run Snakemake itself in such an environment, add it:
#   conda env create -n xstilts -f envs/xstilts.yaml && conda run -n xstilts pip install --no-deps -e .
"""


def pins(extras: frozenset[str]) -> dict[str, str]:
    """Name: pinned line, of everything that xstilts needs with these extras, torch first."""
    found = {name: f"{name}=={distribution(name).version}" for name in sorted(set(_walk("xstilts", extras, set())))}
    found.pop("xstilts")
    return {"torch": f"torch=={TORCH}"} | {name: line for name, line in found.items() if name != "torch"}


def _walk(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    name = re.sub(r"[-_.]+", "-", name).lower()
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    try:
        requirements = [Requirement(text) for text in distribution(name).requires or []]
    except PackageNotFoundError:
        return
    yield name
    for wanted in requirements:
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in (*extras, "")):
            yield from _walk(wanted.name, frozenset(wanted.extras), seen)


def environment(runtime: dict[str, str]) -> str:
    """The conda environment that holds exactly the runtime lock."""
    lines = "".join(f"      - {line}\n" for line in runtime.values())
    return f"{_ENV_HEADER}channels:\n  - conda-forge\ndependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n{lines}"


def main() -> None:
    """Write the two locks and the conda environment."""
    runtime, everything = pins(frozenset()), pins(frozenset({"dev"}))
    only_dev = [line for name, line in everything.items() if name not in runtime]
    (ROOT / "requirements.lock").write_text(_LOCK_HEADER + "\n".join(runtime.values()) + "\n", encoding="utf-8")
    (ROOT / "requirements-dev.lock").write_text(_DEV_HEADER + "\n".join(only_dev) + "\n", encoding="utf-8")
    (ROOT / "envs" / "xstilts.yaml").write_text(environment(runtime), encoding="utf-8")


if __name__ == "__main__":
    main()
