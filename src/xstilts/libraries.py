"""Finished results that were made with other versions of the libraries than are installed today."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

from xstilts import provenance
from xstilts.study import Plan

COUNTED = ("backbone", "intermediate", "finetune", "predict", "score")
_VERSIONS = re.compile(r'"versions": (\{[^}]*\})')


def versions_of(record: Path) -> dict[str, str]:
    """Library: version, as a record has it; empty where it cannot be read. The rest of the record is not parsed."""
    try:
        found = _VERSIONS.search(record.read_text(encoding="utf-8"))
    except OSError:
        return {}
    return dict(json.loads(found[1])) if found else {}


def other_versions(plan: Plan) -> Counter[tuple[str, str]]:
    """(Library, other version than today's): finished results of the study made with it."""
    today = provenance.versions()
    found: Counter[tuple[str, str]] = Counter()
    for step in plan.steps():
        if step.phase in COUNTED:
            then = versions_of(step.directory / "record.json")
            found.update((name, version) for name, version in then.items() if today.get(name, version) != version)
    return found


def changed_libraries(plan: Plan) -> None:
    """Warn on stderr, in one line, that finished results are kept although a library has changed since."""
    if plan.study.library_changes == "rerun":
        return
    today = provenance.versions()
    mixed = [
        f"{name} {version} ({number} results; today {today[name]})"
        for (name, version), number in sorted(other_versions(plan).items())
    ]
    if mixed:
        remedy = "they are kept; tables/provenance.csv flags mixed ones; `library_changes: rerun` computes them again"
        print(f"xstilts: finished results were made with {', '.join(mixed)}: {remedy}", file=sys.stderr)
