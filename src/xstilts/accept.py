"""`python -m xstilts.accept --step finetune`: after a refactor that changes nothing, keep finished results.

Today's code of a step kind is recorded, in `results/<study>/accepted.json`, to count as the code by which the finished
results were made. Only results that differ in nothing but code are accepted; `--list` shows what was.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from xstilts import command, digest, files, history, wording
from xstilts.errors import UserError
from xstilts.history import Code, Record
from xstilts.study import Phase, Plan, Step

KINDS: tuple[Phase, ...] = get_args(Phase)  # upstream first
Pair = tuple[Code, Code]


def accept(plans: Sequence[Plan], phase: str) -> dict[str, Any]:
    """Let today's code of a step kind count as that of the finished results.

    Args:
        plans: of all scopes of the study's rows.

    Where finished results are of several older codes, each of today's codes counts as the one with most results (the
    newest among equals); the others stay out of date.

    Returns:
        What was accepted: step, time, user, modules, results.

    Raises:
        UserError: no finished result differs from today's plan in its code alone.
    """
    chosen, results = _chosen(plans, phase)
    if not chosen:
        raise UserError(
            f"nothing to accept for {phase!r}: no finished result differs from today's plan in its code alone; "
            "accept the steps before it first, and see `snakemake -n` for what else has changed"
        )
    head = {"step": phase, "time": _now(), "user": history.user(), "modules": _modules(chosen), "results": results}
    entries = [{**head, "new": digest.of(new), "old": old} for new, old in chosen]
    again = {(phase, entry["new"]) for entry in entries}
    root = plans[0].root
    known = [entry for entry in history.acceptances(root) if (entry["step"], entry["new"]) not in again]
    files.write_json(root / history.ACCEPTED, {"acceptances": [*known, *entries]})
    return head


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _chosen(plans: Sequence[Plan], phase: str) -> tuple[list[Pair], int]:
    """Today's codes with the older code that each is to count as, and the number of results found again."""
    votes: dict[str, Counter[str]] = {}
    codes: dict[str, Code] = {}
    steps = {step.directory: step for plan in plans for step in plan.every_step() if step.phase == phase}
    found = 0
    for step in (step for step in steps.values() if not step.done):
        pairs = next(filter(None, (pairs_of(step, record) for record in history.records(step.directory.parent))), [])
        found += bool(pairs)
        for new, old in pairs:
            keys = digest.of(new), digest.of(old)
            codes |= zip(keys, (new, old), strict=True)
            votes.setdefault(keys[0], Counter())[keys[1]] += 1
    return [(codes[new], codes[counter.most_common(1)[0][0]]) for new, counter in votes.items()], found


def pairs_of(step: Step, record: Record) -> list[Pair]:
    """Today's and the older code of what the step and the record have in common, if code is all that differs.

    A record that differs in anything else, or in nothing, gives an empty list.
    """
    if record["digest"] == step.digest or record["slice"] != step.slice:
        return []
    old_parts, new_parts = _parts(record.get("detail") or {}), _parts(step.detail)
    if (old_parts or new_parts) and not _same_but_code(old_parts, new_parts, step, record):
        return []
    if not new_parts and record["inputs"] != step.inputs:
        return []
    old_codes, codes = history.part_codes(record), step.detail.get("codes", {})
    parts = [(codes[part["code"]], old_codes[name]) for name, part in new_parts.items() if name in old_codes]
    return [(new, old) for new, old in ((dict(step.code), dict(record["code"])), *parts) if new != old]


def _parts(detail: Any) -> dict[str, Any]:
    return dict(detail.get("parts", {}))


def _same_but_code(old: dict[str, Any], new: dict[str, Any], step: Step, record: Record) -> bool:
    """Do the parts and settings that a step and a record tell agree in all but their code?"""
    if old.keys() != new.keys():
        return False
    settings = [{k: v for k, v in d.items() if k not in ("parts", "codes")} for d in (step.detail, record["detail"])]
    bare = [{name: {**part, "code": ""} for name, part in parts.items()} for parts in (old, new)]
    return settings[0] == settings[1] and bare[0] == bare[1]


def _modules(chosen: Sequence[Pair]) -> list[str]:
    causes = {cause.item or cause.form for new, old in chosen for cause in wording.code(old, new)}
    return sorted(causes)


def listed(root: Path) -> Iterator[str]:
    """One line for each acceptance (which may concern several codes of one step kind)."""
    heads = [(e["time"], e["user"], e["step"], e["results"], tuple(e["modules"])) for e in history.acceptances(root)]
    for when, user, step, results, modules in dict.fromkeys(heads):
        yield f"{when} {user} accepted {results} {step} under changed {', '.join(modules)}"


def _publish_origins(plans: Sequence[Plan]) -> None:
    """Let the tables that stand say what was accepted."""
    from xstilts.analysis.origins import write_origins

    for tables in (plan.tabulate() for plan in plans):
        if tables.done:
            write_origins(tables.payload["cells"], tables.root, Path(tables.payload["tables"]))


def _arguments() -> argparse.Namespace:
    parser = command.parser("accept", "Keep finished results after a change of code that changes no result.")
    parser.add_argument("--step", action="append", choices=KINDS, default=[], help="step kind; repeatable")
    parser.add_argument("--list", action="store_true", help="show what was accepted")
    given = parser.parse_args()
    if not given.step and not given.list:
        parser.error("name step kinds with --step, or give --list")
    return given


def main() -> None:
    """The command."""
    given = _arguments()
    for phase in (p for p in KINDS if p in given.step):  # each changes the inputs of the next
        done = accept(command.plans_of(given.configfile, given.config), phase)
        print(f"xstilts: accepted {done['results']} {phase} under changed {', '.join(done['modules'])}")
    plans = command.plans_of(given.configfile, given.config)
    if given.step:
        _publish_origins(plans)
    if given.list:
        print("\n".join(listed(plans[0].root)) or "xstilts: nothing was accepted")


if __name__ == "__main__":
    command.run(main)
