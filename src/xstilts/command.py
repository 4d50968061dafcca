"""What the commands of the study share: the config that is asked about, and errors in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from xstilts import revisions
from xstilts.config import deep_merge, load
from xstilts.errors import UserError
from xstilts.study import Plan
from xstilts.study.step import Scope

DEFAULT = Path("config/config.yaml")


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """A command's arguments, with `--configfile` as Snakemake has it."""
    made = argparse.ArgumentParser(prog=f"python -m xstilts.{program}", description=description)
    made.add_argument("--configfile", type=Path, default=DEFAULT, help=f"the study's config (default: {DEFAULT})")
    return made


def plan_of(configfile: Path, changes: Mapping[str, Any] | None = None, scope: Scope = "matrix") -> Plan:
    """The plan of a config file, in the working directory.

    Args:
        changes: values laid over the file's, as Snakemake's `--config` does.
        scope: the study's rows.

    Raises:
        UserError: the file cannot be read as a config.
    """
    try:
        raw = yaml.safe_load(configfile.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{configfile}: cannot be read as a config: {error}; name one with --configfile") from None
    study = load(deep_merge(raw, changes or {}))
    plan = Plan(study, revisions=revisions.read(revisions.path_of(configfile)), scope=scope)
    plan.steps()
    return plan


def run(command: Callable[[], None]) -> None:
    """Run a command; a user's mistake ends in one line."""
    try:
        command()
    except UserError as error:
        sys.exit(f"xstilts: {error}")
