"""What the commands of the study share: the config that is asked about, and errors in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from xstilts import revisions
from xstilts.config import deep_merge, load
from xstilts.errors import UserError
from xstilts.study import Plan
from xstilts.study.step import Scope

DEFAULT = Path("config/config.yaml")


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """A command's arguments, with `--configfile` and `--config` as Snakemake has them."""
    made = argparse.ArgumentParser(prog=f"python -m xstilts.{program}", description=description)
    made.add_argument("--configfile", type=Path, default=DEFAULT, help=f"the study's config (default: {DEFAULT})")
    made.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="values laid over the config's")
    return made


def plans_of(configfile: Path, changes: Sequence[str] = ()) -> list[Plan]:
    """The plans of all scopes of a config file's rows, the matrix's first.

    A mistake in rows that only a wider scope has is no reason to say nothing of the matrix: it is told on stderr.

    Raises:
        UserError: as `plan_of`, of the matrix.
    """
    narrow, *wider = get_args(Scope)
    plans = [plan_of(configfile, changes, narrow)]
    for scope in wider:
        try:
            plans.append(plan_of(configfile, changes, scope))
        except UserError as error:
            print(f"xstilts: without the rows of {scope}: {error}", file=sys.stderr)
    return plans


def plan_of(configfile: Path, changes: Sequence[str] = (), scope: Scope = "matrix") -> Plan:
    """The plan of a config file, in the working directory.

    Args:
        changes: `KEY=VALUE` laid over the file's, as Snakemake's `--config` does.
        scope: the study's rows.

    Raises:
        UserError: the file cannot be read as a config, or a change is none.
    """
    try:
        raw = yaml.safe_load(configfile.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{configfile}: cannot be read as a config: {error}; name one with --configfile") from None
    for text in changes:
        raw = deep_merge(raw, _change(text))
    study = load(raw)
    plan = Plan(study, revisions=revisions.read(revisions.path_of(configfile)), scope=scope)
    plan.steps()
    return plan


def _change(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    try:
        if equals:
            return {key: yaml.safe_load(value)}
    except yaml.YAMLError:
        pass
    raise UserError(f"--config {text}: not KEY=VALUE with a YAML value; write --config 'seeds={{intermediate: [1]}}'")


def run(command: Callable[[], None]) -> None:
    """Run a command; a user's mistake ends in one line."""
    try:
        command()
    except UserError as error:
        sys.exit(f"xstilts: {error}")
