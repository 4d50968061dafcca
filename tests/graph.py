"""What a study consists of and what reads what, written down from its definition and apart from `xstilts.study`.

Units are (step, cell, language): a prediction counts per language. `part`, `text` and `model` stand for data: what a
dataset holds in one split and language, the raw text of one language, and a pretrained model. They are read, not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from xstilts.config import deep_merge

Unit = tuple[str, ...]
Units = frozenset[Unit]
Reads = dict[Unit, Units]
Config = dict[str, Any]

# The field's definition of the tasks that the reduced studies have.
TRAIN_SET = {"xnli": "mnli", "udpos": "udpos", "xquad": "squad_v1", "mlqa": "squad_v1", "tatoeba": None}
EVALUATED = {"xnli": ("dev", "test"), "udpos": ("dev", "test"), "mlqa": ("dev", "test")}  # others: test alone
TABLES: Units = frozenset({("tabulate",), ("figures",)})


def reads(config: Config, scope: str = "matrix") -> Reads:
    """Each unit of a study, and what it reads.

    Args:
        scope: `matrix`, the rows of at most one task in English; `all`, those and all others, and the report on them.
    """
    found: Reads = {}
    for name, backbone in config["backbones"].items():
        found["backbone", name] = frozenset(_origin(name, backbone))
        for row in _rows(config, scope):
            found |= _row(config, name, row)
    parts = _parts(found, config)
    for plan in dict.fromkeys(("matrix", scope)):
        found |= _said(config, plan, found)
    found |= _first(config, parts, found)
    for dataset in {part[1] for part in parts}:
        found["prepare", dataset] = frozenset(part for part in parts if part[1] == dataset)
    return found


def _origin(name: str, backbone: Config) -> Iterator[Unit]:
    """What a backbone is made from."""
    if "train" in backbone:
        yield from (("text", code) for code in backbone["train"]["languages"])
    else:
        yield ("model", name)


def _parts(found: Reads, config: Config) -> Units:
    """All of the datasets that is read: dev of a task's own data too, since its training may look at it."""
    parts = {part for inputs in found.values() for part in inputs if part[0] == "part"}
    own = {_named(use)["task"] for arm in config["intermediates"].values() for use in arm.get("tasks", ())} - {"mlm"}
    own |= {TRAIN_SET[target] or "" for target in config["targets"]} - {""}
    return frozenset(parts | {("part", task, "dev", "en") for task in own})


def _first(config: Config, parts: Units, found: Reads) -> Reads:
    """What goes before everything that reads files: the mini world is made, or all files are looked for."""
    texts = {unit for inputs in found.values() for unit in inputs if unit[0] == "text"}
    if config["data"].get("world"):
        return {("world",): frozenset({("tongues", code) for unit in parts | texts for code in unit[-1:]})}
    return {("preflight",): parts | texts}


def _said(config: Config, scope: str, found: Reads) -> Reads:
    """Tables of a scope's rows and what is said of them."""
    part = () if scope == "matrix" else (scope,)
    rows = _rows(config, scope)
    scores = frozenset(unit for unit in found if unit[0] == "score" and unit[2] in rows)
    cells = {unit for unit in found if unit[0] in ("intermediate", "finetune", "predict") and unit[2] in rows}
    texts = frozenset(text for unit in cells for text in found[unit] if text[0] in ("part", "translate"))
    made: Reads = {
        ("tabulate", *part): scores,
        ("figures", *part): frozenset({("tabulate", *part)}),
        ("overlap", *part): frozenset(t for t in texts if t[0] == "translate" or (t[2] != "dev" and t[1] != "mlm")),
    }
    if scope != "matrix":
        made["selection", *part] = frozenset({("tabulate", *part)})
        made["significance", *part] = frozenset({*scores, ("selection", *part)})
        made["report", *part] = frozenset((step, *part) for step in ("tabulate", "selection", "significance"))
    return made


def _rows(config: Config, scope: str) -> list[str]:
    return [name for name, arm in config["intermediates"].items() if scope == "all" or _in_matrix(arm)]


def _in_matrix(arm: Config) -> bool:
    """No task, or a single one in English as it is."""
    tasks = arm.get("tasks", ())
    return len(tasks) < 2 and all(isinstance(use, str) for use in tasks) and not (arm.get("like") or arm.get("control"))


def _row(config: Config, backbone: str, row: str) -> Reads:
    """Everything that is trained, predicted and scored from one intermediate."""
    found: Reads = {}
    arm = config["intermediates"][row]
    encoder = arm.get("like", row)  # rows that are alike have one phase 2
    tasks = config["intermediates"][encoder].get("tasks", ())
    for seed in config["seeds"]["intermediate"] if tasks else (None,):
        start: Unit = ("backbone", backbone)
        if seed is not None:
            start = ("intermediate", backbone, encoder, f"seed-{seed}")
            found |= _phase2(config, ("backbone", backbone), start)
        finetunes = (seed,) if seed is not None else config["seeds"]["intermediate"]
        for target in config["targets"]:
            for second in finetunes if TRAIN_SET[target] else (seed,):
                found |= _cell(config, start, row, encoder, target, second)
    return found


def _phase2(config: Config, backbone: Unit, unit: Unit) -> Reads:
    """An intermediate, and what is made for it alone: translations, and checks of the user's own."""
    arm = config["intermediates"][unit[2]]
    uses = [_named(use) for use in arm["tasks"]]
    lone = uses[0]["task"] if len(uses) == 1 else None
    looks = lone is not None and not arm.get("control") and _selects(config, "intermediate", lone)
    found: Reads = {unit: frozenset({backbone, *(part for use in uses for part in _trained_on(config, use))})}
    found[unit] |= {("part", lone, "dev", "en")} if looks and lone else set()
    for use in uses:
        for code in set(use.get("languages", ("en",))) - {"en"}:
            found |= _translated(config, use["task"], use["translated"], code)
    return found


def _named(use: Any) -> Config:
    return {"task": use} if isinstance(use, str) else use


def _trained_on(config: Config, use: Config) -> Iterator[Unit]:
    """The training data of one task of an intermediate."""
    if use["task"] == "mlm":
        given = {code for block in config["targets"].values() for code in block["languages"]}
        yield from (("part", "mlm", "train", code) for code in config.get("mlm", {}).get("languages") or given | {"en"})
        return
    for code in use.get("languages", ("en",)):
        if code == "en":
            yield ("part", use["task"], "train", "en")
        elif use["translated"] in config["data"].get("translations", {}):
            yield ("translate", use["translated"], code)
        else:
            yield ("part", use["translated"], "train", code)


def _translated(config: Config, task: str, dataset: str, code: str) -> Reads:
    """What a model translates; a file of the user's own is held against its original."""
    made = config["data"].get("translations", {}).get(dataset)
    if made:
        return {("translate", dataset, code): frozenset({("part", made["of"], "train", "en"), ("model", dataset)})}
    if dataset in config["data"].get("datasets", {}):
        both = frozenset({("part", task, "train", "en"), ("part", dataset, "train", code)})
        return {("match", task, dataset, code): both}
    return {}


def _cell(config: Config, start: Unit, row: str, encoder: str, target: str, seed: int | None) -> Reads:
    """One box of the matrix: its fine-tune, predictions and score."""
    found: Reads = {}
    train_set, backbone, seeds = TRAIN_SET[target], start[1], "seedless" if seed is None else f"seed-{seed}"
    if train_set:
        place = ("finetune", backbone, row, train_set, seeds)
        found |= _phase3(config, start, place)
        start = place
    predictions = set()
    for code in config["targets"][target]["languages"]:
        data = {("part", target, split, code) for split in EVALUATED.get(target, ("test",))}
        predicted = ("predict", backbone, row if train_set else encoder, train_set or "encoder", seeds, target, code)
        found[predicted] = frozenset({start, *data})
        predictions.add(predicted)
    return found | {("score", backbone, row, target, seeds): frozenset(predictions)}


def _phase3(config: Config, start: Unit, place: Unit) -> Reads:
    """A fine-tune: one, or the best on dev of one for each learning rate."""
    train_set = place[3]
    data = {("part", train_set, split, "en") for split in ("train", "dev")}
    trained = {part for part in data if part[2] == "train" or _selects(config, "finetune", train_set)}
    rates = config["intermediates"][place[2]].get("finetune", {}).get("learning_rates", ())
    if not rates:
        return {place: frozenset({start, *trained})}
    tried: Reads = {(*place[:4], f"{place[4]}-lr{rate:g}"): frozenset({start, *trained}) for rate in rates}
    return tried | {place: frozenset({*tried, ("part", train_set, "dev", "en")})}


def _selects(config: Config, phase: str, task: str) -> bool:
    """Does a training select its checkpoint on dev?"""
    recipe = config["recipes"][config["recipe"]]
    values = deep_merge(recipe["defaults"], recipe[phase][task])
    return bool(values["selection"]["checkpoint"] == "best")


def matching(units: Iterable[Unit], patterns: Iterable[str]) -> Iterator[Unit]:
    """Units whose text `step/cell/language` fits a pattern; each pattern must fit one at least."""
    named = {"/".join(unit): unit for unit in units}
    for pattern in patterns:
        hits = [unit for name, unit in named.items() if fnmatchcase(name, pattern)]
        assert hits, f"{pattern} names nothing in this study"
        yield from hits


def invalidated(before: Reads, after: Reads, touched: Iterable[str]) -> Units:
    """The units of a study that must run after an edit: those it touches, those that read other things, and whatever
    reads one of these. Data counts only where it is read, and what goes before it only where files are read."""
    everything = {*after, *(unit for inputs in after.values() for unit in inputs)}
    changed = set(matching(everything, touched)) | {unit for unit in after if before.get(unit) != after[unit]}
    size = -1
    while len(changed) != size:
        size = len(changed)
        changed |= {unit for unit, inputs in after.items() if not changed.isdisjoint(inputs)}
    run = frozenset(changed) & frozenset(after)
    for phases in (("match",), ("prepare",), ("preflight", "world")):  # each asks for the next
        run = frozenset(unit for unit in run if unit[0] not in phases or _wanted(unit, run, after))
    return run


def _wanted(unit: Unit, run: Units, after: Reads) -> bool:
    """Does something run for which a unit is made that nothing reads as it stands?"""
    match unit:
        case ("match", _, dataset, code):
            read = ("part", dataset, "train", code)
            return any(read in after[other] for other in run if other[0] == "intermediate")
        case ("prepare", dataset):
            readers = (other for other in run if other[0] not in ("prepare", "preflight"))
            return any(part[:2] == ("part", dataset) for other in readers for part in after[other])
    return any(other[0] in ("prepare", "backbone") for other in run)
