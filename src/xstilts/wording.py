"""Differences between two definitions of a step, in the words of the study.

Texts follow the config: `learning rate of finetune/pawsx: 1e-3 → 5e-4`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from xstilts import digest

_KINDS = {
    "metrics": "metric code",
    "training": "training code",
    "tasks": "task code",
    "models": "model code",
    "evaluation": "evaluation code",
    "analysis": "table code",
    "mini": "code of the mini world",
}


@dataclass(frozen=True)
class Cause:
    """One root cause.

    Attributes:
        form: its text; `{items}`, `{n}` and `{s}` stand for what it is about, their number, and the plural's s.
        item: what it is about; causes of one form and one effect are told in one line.
    """

    form: str
    item: str = ""


def told(form: str, items: list[str]) -> str:
    """The text of causes of one form."""
    plural = "" if len(items) == 1 else "s"
    return form.replace("{n}", str(len(items))).replace("{s}", plural).replace("{items}", ", ".join(items))


def value(given: Any) -> str:
    """A config value as a researcher writes it."""
    if given is None:
        return "none"
    if isinstance(given, bool):
        return "yes" if given else "no"
    if isinstance(given, float):
        return _number(given)
    if isinstance(given, list | tuple):
        return ", ".join(value(entry) for entry in given) or "none"
    return given if isinstance(given, str) else json.dumps(given, sort_keys=True, ensure_ascii=False)


def _number(given: float) -> str:
    if given == int(given):
        return str(int(given))
    exact = Decimal(repr(given)).normalize()
    return f"{exact:e}" if abs(given) < 0.01 else f"{exact:f}"


def leaves(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key: value; lists and empty dictionaries are values."""
    flat: dict[str, Any] = {}
    for key, entry in given.items():
        inner = isinstance(entry, Mapping) and entry
        flat |= leaves(entry, f"{prefix}{key}.") if inner else {f"{prefix}{key}": entry}
    return flat


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, old and new value, of every leaf in which two slices differ."""
    before, after = leaves(old), leaves(new)
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            yield key, before.get(key), after.get(key)


def setting(what: str, old: Any, new: Any) -> Cause:
    """A changed value."""
    return Cause(f"{what}: {value(old)} → {value(new)}")


def words(key: str) -> str:
    """A config key in words."""
    return key.replace("_", " ").replace(".", " ")


def code(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Cause]:
    """The modules in which two codes differ."""
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            continue
        if name.startswith("library "):
            yield setting(name, old.get(name), new.get(name))
        else:
            kind, file = module(name)
            done = "changed" if name in old and name in new else "added" if name in new else "removed"
            yield Cause(f"{kind} {done}: {{items}}", file)


def module(name: str) -> tuple[str, str]:
    """What kind of code a name in a record stands for, and its file as users see it."""
    if not name.startswith("xstilts"):
        kind = "shell command" if name.startswith("shell of ") else "file" if name.startswith("data/") else "script"
        return kind, name.removeprefix("shell of ")
    parts = name.split(".")[1:]
    package = digest.PACKAGE.joinpath(*parts).is_dir()
    file = "/".join([*parts, "__init__.py"]) if package else "/".join(parts) + ".py"
    kind = "data reading code" if parts[:2] == ["tasks", "formats"] else _KINDS.get(parts[0] if parts else "", "code")
    return kind, file
