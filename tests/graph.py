"""What a study consists of and what reads what, written down from its definition and apart from `xstilts.study`.

Units are (step, cell, language): a prediction counts per language. `part` and `text` stand for data: what a dataset
holds in one split and language, and the raw text of one language. They are read, not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from xstilts.config import deep_merge

Unit = tuple[str, ...]
Units = frozenset[Unit]
Reads = dict[Unit, Units]

# The field's definition of the tasks that the reduced study has.
TRAIN_SET = {"xnli": "mnli", "udpos": "udpos", "xquad": "squad_v1", "mlqa": "squad_v1", "tatoeba": None}
EVALUATED = {"xnli": ("dev", "test"), "udpos": ("dev", "test"), "mlqa": ("dev", "test")}  # others: test alone
TABLES: Units = frozenset({("tabulate",), ("figures",)})


def reads(config: dict[str, Any]) -> Reads:
    """Each unit of a study, and what it reads."""
    found: Reads = {}
    for name, backbone in config["backbones"].items():
        found["backbone", name] = frozenset(("text", code) for code in backbone["train"]["languages"])
        for row, arm in config["intermediates"].items():
            found |= _row(config, name, row, arm["tasks"])
    found["tabulate",] = frozenset(unit for unit in found if unit[0] == "score")
    found["figures",] = frozenset({("tabulate",)})
    parts = frozenset(part for inputs in found.values() for part in inputs if part[0] == "part")
    parts |= {("part", part[1], "dev", "en") for part in parts if part[2] == "train"}  # trainings may look at it
    found["overlap",] = frozenset(part for part in parts if part[2] != "dev")
    found["preflight",] = parts | {text for inputs in found.values() for text in inputs if text[0] == "text"}
    for dataset in {part[1] for part in parts}:
        found["prepare", dataset] = frozenset(part for part in parts if part[1] == dataset)
    return found


def _row(config: dict[str, Any], backbone: str, row: str, tasks: list[str]) -> Reads:
    """Everything that is trained, predicted and scored from one intermediate."""
    found: Reads = {}
    for seed in config["seeds"]["intermediate"] if tasks else (None,):
        start: Unit = ("backbone", backbone)
        if seed is not None:
            found["intermediate", backbone, row, f"seed-{seed}"] = _trained(config, "intermediate", start, *tasks)
            start = ("intermediate", backbone, row, f"seed-{seed}")
        finetunes = (seed,) if seed is not None else config["seeds"]["intermediate"]
        for target, block in config["targets"].items():
            for second in finetunes if TRAIN_SET[target] else (seed,):
                found |= _cell(config, start, row, target, block["languages"], second)
    return found


def _cell(config: dict[str, Any], start: Unit, row: str, target: str, languages: list[str], seed: int | None) -> Reads:
    """One box of the matrix: its fine-tune, predictions and score."""
    found: Reads = {}
    train_set, backbone, seeds = TRAIN_SET[target], start[1], "seedless" if seed is None else f"seed-{seed}"
    if train_set:
        found["finetune", backbone, row, train_set, seeds] = _trained(config, "finetune", start, train_set)
        start = ("finetune", backbone, row, train_set, seeds)
    for code in languages:
        data = {("part", target, split, code) for split in EVALUATED.get(target, ("test",))}
        found["predict", backbone, row, train_set or "encoder", seeds, target, code] = frozenset({start, *data})
    predictions = frozenset(found) - {start}
    return found | {("score", backbone, row, target, seeds): frozenset(predictions)}


def _trained(config: dict[str, Any], phase: str, start: Unit, dataset: str) -> Units:
    """What a training reads: dev only where it selects its checkpoint on it."""
    recipe = config["recipes"][config["recipe"]]
    values = deep_merge(recipe["defaults"], recipe[phase][dataset])
    splits = ("train", "dev") if values["selection"]["checkpoint"] == "best" else ("train",)
    return frozenset({start, *(("part", dataset, split, "en") for split in splits)})


def matching(units: Iterable[Unit], patterns: Iterable[str]) -> Iterator[Unit]:
    """Units whose text `step/cell/language` fits a pattern; each pattern must fit one at least."""
    named = {"/".join(unit): unit for unit in units}
    for pattern in patterns:
        hits = [unit for name, unit in named.items() if fnmatchcase(name, pattern)]
        assert hits, f"{pattern} names nothing in this study"
        yield from hits


def invalidated(before: Reads, after: Reads, touched: Iterable[str]) -> Units:
    """The units of a study that must run after an edit: those it touches, those that read other things, and whatever
    reads one of these. What all files are checked for counts only where files are read."""
    everything = {*after, *(unit for inputs in after.values() for unit in inputs)}
    changed = set(matching(everything, touched)) | {unit for unit in after if before.get(unit) != after[unit]}
    size = -1
    while len(changed) != size:
        size = len(changed)
        changed |= {unit for unit, inputs in after.items() if not changed.isdisjoint(inputs)}
    reading = any(unit[0] in ("prepare", "backbone") for unit in changed & set(after))
    return (frozenset(changed) & frozenset(after)) - (frozenset() if reading else {("preflight",)})
