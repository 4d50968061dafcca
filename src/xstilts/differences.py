"""Why a step is not what an older record made: root causes only.

A changed input is followed to the step that makes it, and compared there with the record of the older input; so a
cell that is stale since its intermediate is stale has the intermediate's causes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from xstilts import history, wording
from xstilts.history import Record
from xstilts.schema.data import Split
from xstilts.schema.training import Optimization, Selection
from xstilts.study import ENCODER, Plan, Step
from xstilts.study.training import DECODING
from xstilts.wording import Cause, changed, setting, words

_EVERY = frozenset({""})
TOLD = ("tabulate", "figures", "selection", "significance")
"""What the scores are told by."""
# What a training's slice holds only where it selects its checkpoint on dev.
_RULES = ("checkpoint", "also")
_LOOKS = {"criterion", *(f"hyper.selection.{key}" for key in Selection.model_fields if key not in _RULES)}
_LOOKS |= {f"hyper.{key}" for key in DECODING}


_CONTROLS = {"shuffled": "shuffled labels"}


@dataclass(frozen=True)
class Effect:
    """What a cause does to a step.

    Attributes:
        own: does it change the step itself, or something before it?
        parts: the tables of a prediction (files of a dataset) that it concerns; `{""}` for the whole.
    """

    own: bool
    parts: frozenset[str] = _EVERY


Causes = dict[Cause, Effect]


def add(causes: Causes, cause: Cause, effect: Effect) -> None:
    """Join one more effect of a cause to those that are known."""
    known = causes.get(cause)
    causes[cause] = Effect(effect.own or known.own, effect.parts | known.parts) if known else effect


class Differences:
    """Compares the steps of a plan with records; remembers what it read and found."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._records: dict[str, list[Record]] = {}
        self._known: dict[tuple[str, str], Causes] = {}

    def records(self, step: Step) -> list[Record]:
        """All finished results at the step's place, newest first, its own included."""
        folder = str(step.directory.parent)
        if folder not in self._records:
            self._records[folder] = history.records(step.directory.parent)
        return self._records[folder]

    def sibling(self, step: Step) -> Record | None:
        """The most recent finished result of another configuration."""
        return next((record for record in self.records(step) if record["digest"] != step.digest), None)

    def between(self, step: Step, record: Record) -> Causes:
        """Everything for which the step is not what the record made."""
        key = (step.name, str(record["digest"]))
        if key not in self._known:
            self._known[key] = {}
            if record["digest"] != step.digest:
                self._known[key] = self._compare(step, record)
        return self._known[key]

    def _compare(self, step: Step, record: Record) -> Causes:
        causes: Causes = {}
        every = frozenset(step.inputs) if step.phase == "predict" else _EVERY
        for cause in self._settings(step, record):
            add(causes, cause, Effect(True, every))
        for cause in wording.code(*self._codes(step, record, bool(causes))):
            add(causes, cause, Effect(True, every))
        for cause, effect in self._inputs(step, record):
            add(causes, cause, effect)
        if not causes and step.phase == "report":  # most of what it tells of the study follows from other causes
            for key, old, new in changed(record["slice"], step.slice):
                add(causes, setting(f"{words(key.partition('.')[2])} in the report", old, new), Effect(True))
        return causes

    @staticmethod
    def _codes(step: Step, record: Record, turned: bool) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Older and today's code; what came or went of a training with its settings (`turned`) is no cause."""
        if not turned or step.phase not in ("intermediate", "finetune"):
            return record["code"], step.code
        both = set(record["code"]) & set(step.code)
        return {name: record["code"][name] for name in both}, {name: step.code[name] for name in both}

    # --- settings

    def _settings(self, step: Step, record: Record) -> Iterator[Cause]:
        turned = _selection_turned(step, record)
        before, after = _by_task(record["slice"]), _by_task(step.slice)
        if "tasks" in before and "tasks" in after and set(before["tasks"]) != set(after["tasks"]):
            yield setting(f"tasks of {step.phase}/{step.folders[-2]}", list(before["tasks"]), list(after["tasks"]))
            both = set(before["tasks"]) & set(after["tasks"])
            before, after = ({**d, "tasks": {name: d["tasks"][name] for name in both}} for d in (before, after))
        for key, old, new in changed(before, after):
            if turned and key in _LOOKS:
                continue
            if step.phase in TOLD and key in ("targets", "intermediates"):
                if sorted(old or ()) == sorted(new or ()):  # else it is told of what came or went
                    yield Cause(f"order of the {key} changed")
                continue
            what = _what(self.plan, step, key)
            came_or_went = key.startswith("headline_variants") and None in (old, new)  # told of the backbone itself
            if what and not came_or_went:
                yield setting(what, *(_plain(step, v) for v in (old, new)))

    # --- inputs

    def _inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        match step.phase:
            case "prepare":
                yield from self._data_inputs(step, record)
            case "backbone":
                yield from self._backbone_inputs(step, record)
            case "intermediate" | "finetune":
                yield from _following(self._training_inputs(step, record))
            case "predict":
                yield from self._predict_inputs(step, record)
            case "score":
                yield from _following(self._score_inputs(step, record))
            case "translate":
                yield from self._translated_inputs(step, record)
            case "external":
                yield from self._external_inputs(step, record)
            case "tabulate":
                yield from self._table_inputs(step, record)
            case "figures" | "selection":
                old = record["inputs"]["tables" if step.phase == "figures" else "dev"]
                yield from _following(self._upstream(step.needs[0], old, "tables changed"))
            case "significance":
                yield from _following(self._upstream(step.needs[0], record["inputs"]["selection"], "choice changed"))
                yield from self._table_inputs(step, record)
            case "report":
                for need in step.needs:
                    old = record["inputs"][need.phase]
                    yield from _following(self._upstream(need, old, f"{need.phase} changed"))

    def _upstream(self, need: Step, old: str, otherwise: str) -> Iterable[Cause]:
        """Causes of an input that is another step's whole output."""
        if need.digest == old:
            return ()
        record = next((r for r in self.records(need) if r["digest"] == old), None) or self._unrecorded(need)
        return (record and self.between(need, record)) or (Cause(otherwise),)

    def _unrecorded(self, need: Step) -> Record | None:
        """The tables, and what is said of them, keep one record only, that of the newest."""
        return self.sibling(need) if need.phase in TOLD else None

    def _training_inputs(self, step: Step, record: Record) -> Iterator[Cause]:
        for role in sorted({*step.inputs, *record["inputs"]}):
            old, new = record["inputs"].get(role, ""), step.inputs.get(role)
            if old == new or (role.startswith("dev") and _selection_turned(step, record)):
                continue
            kind, _, rest = role.partition(":")
            if kind == "checkpoint":
                yield from self._upstream(step.needs[0], old, f"checkpoint changed: {step.needs[0].name}")
            elif kind == "candidate":
                yield from self._candidate(step, record, int(rest), old)
            elif old and new:
                yield from self._training_data(kind, rest, old)
            elif _tasks(step.slice) == _tasks(record["slice"]):
                yield _came_or_went(rest, new is not None)

    def _candidate(self, step: Step, record: Record, number: int, old: str) -> Iterable[Cause]:
        """Causes of another fine-tune of a grid, whose rates stand in the settings."""
        if record["slice"].get("learning_rates") != step.slice["learning_rates"]:
            return ()
        return self._upstream(step.needs[number], old, f"checkpoint changed: {step.needs[number].name}")

    def _training_data(self, split: str, place: str, old: str) -> Iterable[Cause]:
        """Causes of changed training or dev data, of a dataset or of a translation by a model."""
        dataset, _, language = place.partition("/")
        if dataset in self.plan.study.data.translations and (dataset, language) in self.plan.translated():
            made = self.plan.translate(dataset, language)
            return self._upstream(made, old, f"translation changed: {made.name}")
        return self._data(dataset, split if "." in split else f"{split}.{language or 'en'}", old)

    def _translated_inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        given = self.plan.study.data.translations[step.folders[0]]
        for role in sorted({*step.inputs, *record["inputs"]}):
            old = record["inputs"].get(role, "")
            if old != step.inputs.get(role) and role == "train":
                yield from _following(self._data(given.of, "train.en", old))
            elif old != step.inputs.get(role):
                yield Cause("translation model changed: {items}", step.folders[0]), Effect(True)

    def _external_inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        name, target = step.folders
        for role in sorted({*step.inputs, *record["inputs"]}):
            (kind, language), old = role.split("/"), record["inputs"].get(role)
            if old is None or role not in step.inputs:
                yield _language(target, language, old is None), Effect(True)
            elif old != step.inputs[role] and kind == "predictions":
                yield Cause(f"predictions of {name} changed: {target} ({{items}})", language), Effect(True)
            elif old != step.inputs[role]:
                dataset = self.plan.study.targets[target].dataset or target
                yield from _following(self._data(dataset, f"test.{language}", old))

    def _data(self, dataset: str, part: str, old: str) -> Iterable[Cause]:
        """Causes of a changed part of a dataset."""
        found: list[Cause] = []
        if dataset in self.plan.datasets():
            step = self.plan.prepare(dataset)
            record = next((r for r in self.records(step) if r["inputs"].get(part) == old), None)
            causes = self.between(step, record) if record else {}
            found = [cause for cause, effect in causes.items() if part in effect.parts]
        return found or (_data_changed(dataset, part),)

    def _data_inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        dataset = step.folders[0]
        for part in sorted({*step.inputs, *record["inputs"]}):
            if part not in step.inputs or part not in record["inputs"]:
                yield _language(dataset, part.split(".", 1)[1], part in step.inputs), Effect(True, frozenset({part}))
            elif step.inputs[part] != record["inputs"][part]:
                found = list(self._part_changes(step, record, part))
                for cause, own in found or [(_data_changed(dataset, part), True)]:
                    yield cause, Effect(own, frozenset({part}))

    def _part_changes(self, step: Step, record: Record, part: str) -> Iterator[tuple[Cause, bool]]:
        new, old = step.detail, record.get("detail") or {}
        if part not in old.get("parts", {}):
            return
        for key, before, after in changed(*({k: d.get(k) for k in ("dev", "limit", "revision")} for d in (old, new))):
            if cause := _data_setting(step.folders[0], part, key, before, after):
                yield cause, True
        if old["parts"][part]["content"] != new["parts"][part]["content"]:
            split, language = part.split(".", 1)
            made = list(self._world(record, self.plan.counted(step.folders[0], cast(Split, split), language)))
            yield from ((cause, False) for cause in made)
            if not made and old.get("revision") == new["revision"]:
                yield _data_changed(step.folders[0], part), True
        for cause in wording.code(history.part_codes(record).get(part, {}), new["codes"][new["parts"][part]["code"]]):
            yield cause, True

    def _world(self, record: Record, sizes: Iterable[str]) -> Iterable[Cause]:
        """What changed in the mini world since a record was made from files of it that have these sizes."""
        if not self.plan.study.data.world:
            return ()
        old = next((need.split("/")[-1] for need in record.get("needs", ()) if need.startswith("world/")), "")
        world = self.plan.world()
        found = next((r for r in self.records(world) if r["digest"] == old), None)
        mine = tuple(f"{_size(name)}:" for name in sizes)
        causes = self.between(world, found) if found else {}
        return [cause for cause in causes if cause.form.startswith(mine) or not cause.form.startswith(_size(""))]

    def _backbone_inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        name = step.folders[0]
        roles = [r for r in sorted({*step.inputs, *record["inputs"]}) if step.inputs.get(r) != record["inputs"].get(r)]
        kept = [role for role in roles if role in step.inputs and role in record["inputs"]]
        made = list(self._world(record, ("text_lines", "parallel_pairs"))) if roles else []
        if made:
            yield from _following(made)
        elif any(":" not in role for role in roles):
            yield Cause("backbone changed: {items}", name), Effect(True)
        else:  # languages that came or went stand in the settings
            for role in kept:
                yield Cause(f"data changed: raw text of backbone {name} ({{items}})", role.split(":")[1]), Effect(True)

    def _predict_inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        old = record.get("detail") or {}
        if not old.get("parts"):  # a record from before parts were told
            parts = frozenset(p for p in step.inputs if record["inputs"].get(p) != step.inputs[p])
            yield Cause("predictions of an older version"), Effect(True, parts)
            return
        kept = frozenset(part for part in step.inputs if part in record["inputs"] or part.count("/") == 2)
        for cause in self._upstream(step.needs[0], old["checkpoint"], f"checkpoint changed: {step.needs[0].name}"):
            yield cause, Effect(False, kept)
        for part in sorted({*step.inputs, *record["inputs"]}):
            yield from self._table(step, record, part)

    def _table(self, step: Step, record: Record, part: str) -> Iterator[tuple[Cause, Effect]]:
        """Causes of one table of predictions."""
        target, *variant, language = part.split("/")
        one = frozenset({part})
        if variant and (part in step.inputs) != (part in record["inputs"]):
            return  # a rule came or went with the training's selection, which is told of the checkpoint
        if part not in step.inputs or part not in record["inputs"]:
            known = any(p.startswith(f"{target}/") for p in (record["inputs"] if part in step.inputs else step.inputs))
            there = part in step.inputs
            changed_target = Cause("new target: {items}" if there else "target removed: {items}", target)
            yield (_language(target, language, there) if known else changed_target), Effect(True, one)
            return
        new, old = step.detail["parts"][part], record["detail"]["parts"][part]
        dataset = self.plan.study.targets[target].dataset or target
        for split in sorted({*new["data"], *old["data"]}):
            if new["data"].get(split) != old["data"].get(split):
                for cause in self._data(dataset, f"{split}.{language}", old["data"].get(split, "")):
                    yield cause, Effect(False, one)
        for cause in wording.code(history.part_codes(record).get(part, {}), step.detail["codes"][new["code"]]):
            yield cause, Effect(True, one)

    def _score_inputs(self, step: Step, record: Record) -> Iterator[Cause]:
        target, predicted = step.folders[2], step.needs[0]
        for language in sorted({*step.inputs, *record["inputs"]}):
            old, part = record["inputs"].get(language), f"{target}/{language}"
            if old is None or language not in step.inputs:
                if "/" not in language:  # else a checkpoint rule came or went
                    yield _language(target, language, old is None)
            elif old != step.inputs[language]:
                made = next((r for r in self.records(predicted) if r["inputs"].get(part) == old), None)
                causes = self.between(predicted, made) if made else {}
                found = [cause for cause, effect in causes.items() if part in effect.parts]
                yield from found or [Cause(f"predictions changed: {target} ({{items}})", language)]

    def _table_inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        now = {"/".join(need.folders): need for need in step.needs if need.phase in ("score", "external")}
        for cause in gone(record["inputs"].keys() - {"selection"}, now):
            yield cause, Effect(True)
        for cell, need in now.items():
            old = record["inputs"].get(cell)
            if old is None:
                yield from _following(self.new(need))
            elif old != need.digest:
                yield from _following(self._upstream(need, old, "scores changed: {items}"))

    # --- what is new

    def new(self, step: Step) -> Iterable[Cause]:
        """What a step is that has no finished sibling, measured by the study's last tables."""
        tables = next(iter(self.records(self.plan.tabulate())), None)
        if step.phase == "finetune" and "-lr" in step.folders[-1]:
            return ()  # one of a grid, whose choice tells
        if tables is None or step.phase in (*TOLD, "report"):
            return (Cause("not made yet"),)
        if step.phase == "external":
            return (Cause("new external row: {items}", step.folders[0]),)
        known = [cell.split("/") for cell in tables["inputs"] if cell.count("/") > 1]
        return _first_new(self.plan, step, known) or (Cause("new cell" if _is_new(step, known) else "not made yet"),)


def _following(causes: Iterable[Cause]) -> Iterator[tuple[Cause, Effect]]:
    yield from ((cause, Effect(False)) for cause in causes)


def gone(old: Iterable[str], new: Iterable[str]) -> Iterator[Cause]:
    """What the older tables had and the study no longer has."""
    before, after = ([cell.split("/") for cell in cells if cell.count("/") > 1] for cells in (old, new))
    systems = {cell.split("/")[0] for cell in new if cell.count("/") == 1}
    for name in dict.fromkeys(cell.split("/")[0] for cell in old if cell.count("/") == 1):
        if name not in systems:
            yield Cause("external row removed: {items}", name)
    lost = [cell for cell in before if cell not in after]
    for position, what in enumerate(("backbone", "intermediate", "target", "seed")):
        left = {cell[position] for cell in after}
        names = dict.fromkeys(cell[position] for cell in lost if cell[position] not in left)
        yield from (Cause(f"{what} removed: {{items}}", name.removeprefix("seed-")) for name in names)
        lost = [cell for cell in lost if cell[position] in left]
    if lost:
        yield Cause("cells removed")


def _first_new(plan: Plan, step: Step, known: list[list[str]]) -> tuple[Cause, ...]:
    names = dict(zip(("backbone", "intermediate"), step.folders, strict=False))
    for position, (what, name) in enumerate(names.items()):
        if name not in {cell[position] for cell in known} and not name.startswith("seed"):
            return (Cause(f"new {what}: {{items}}", name),)
    targets = _targets(plan, step)
    if targets and not {cell[2] for cell in known} & set(targets):
        return tuple(Cause("new target: {items}", target) for target in targets)
    seed = step.folders[-1] if step.folders and step.folders[-1].startswith("seed-") else None
    if seed and not any(cell[3] == seed or cell[3].startswith(f"{seed}-") for cell in known):
        return (Cause("new seed: {items}", seed.removeprefix("seed-")),)
    return ()


def _targets(plan: Plan, step: Step) -> list[str]:
    if step.phase == "score":
        return [step.folders[2]]
    return plan.train_sets()[step.folders[2]] if step.phase in ("finetune", "predict") else []


def _is_new(step: Step, known: list[list[str]]) -> bool:
    return step.phase == "score" and list(step.folders) not in known


def _language(target: str, code: str, added: bool) -> Cause:
    return Cause(f"{{n}} language{{s}} {'added to' if added else 'removed from'} {target} ({{items}})", code)


def _data_changed(dataset: str, part: str) -> Cause:
    split, language = part.split(".", 1)
    english = split == "train" and language == "en"
    return (
        Cause(f"data changed: {split} of {dataset}")
        if english
        else Cause(f"data changed: {split} of {dataset} ({{items}})", language)
    )


def _data_setting(dataset: str, part: str, key: str, old: object, new: object) -> Cause | None:
    """A changed setting of a dataset, if it concerns the part."""
    head, _, rest = key.partition(".")
    split = part.split(".", 1)[0]
    if head == "limit":
        # Dev that is cut from train follows train's limit.
        return setting(f"row limit of {rest} of {dataset}", old, new) if split in (rest, "dev") else None
    if head == "dev":
        return setting(f"dev cut {words(rest)}".rstrip() + f" of {dataset}", old, new) if split != "test" else None
    return setting(f"revision of {dataset}", old, new)


def _selection_turned(step: Step, record: Record) -> bool:
    """Does a training keep checkpoints by other rules, and so look at dev otherwise?"""
    if step.phase not in ("intermediate", "finetune"):
        return False
    old, new = (slice_["hyper"]["selection"] for slice_ in (record["slice"], step.slice))
    return any(old.get(rule) != new.get(rule) for rule in _RULES)


def _what(plan: Plan, step: Step, key: str) -> str:
    """A changed setting's name; empty for what only follows from changed inputs."""
    head, _, rest = key.partition(".")
    place = step.folders
    match step.phase:
        case "world":
            return _size(rest) if head == "sizes" else "" if key == "languages" else f"{words(key)} of the mini world"
        case "backbone":
            return f"{words(rest if head == 'training' else key)} of backbone {place[0]}"
        case "intermediate" if head == "tasks":
            return _of_task(place[-2], *rest.split(".", 1))
        case "finetune" if key in ("hyper.steps", "hyper.epochs") and plan.arms[place[1]].like:
            return f"{words(rest)} of finetune/{place[1]}/{place[2]}"
        case "intermediate" | "finetune" if head == "hyper":
            return f"{words(rest)} of {step.phase}/{place[2 if step.phase == 'finetune' else 1]}"
        case "intermediate" | "finetune":
            return _common(step, key) or f"{_CONTROLS.get(key, words(key))} of {step.phase}/{place[-2]}"
        case "tokenize":
            owner = "retrieval" if place[2] == ENCODER else f"{place[1]}/{place[2]}"
            return f"{words(key.rpartition('.')[2])} of {owner}"
        case "translate":
            return _common(step, key) or f"{words(key)} of translation {place[0]}"
        case "predict" if head == "hyper":
            return f"{words(rest)} of finetune/{place[2]}"
        case "predict":
            layer = key == "retrieval.layers"
            return _common(step, key) or (f"retrieval layer of {place[0]}" if layer else f"{words(rest)} of retrieval")
        case "score" if key == "variant":
            group = plan.train_set(place[2]) or ENCODER
            return f"selection checkpoint of finetune/{group}"
        case "score":
            return f"{words(key)} of {place[2]}"
        case "tabulate" | "selection" | "significance" if head == "headline_variants":
            backbone, _, target = rest.partition(".")
            trained = plan.train_set(target)
            return f"selection checkpoint of finetune/{trained}" if trained else f"retrieval layer of {backbone}"
        case "figures" if key in ("formats", "delta_range"):
            return "figure formats" if key == "formats" else "delta range of the figures"
        case "significance" if key == "oracle":
            return "oracle of the report"
    return ""


def _size(name: str) -> str:
    """The words for a size of the mini world, or how all of them begin."""
    return f"size in the mini world of {name}"


def _by_task(slice_: Mapping[str, Any]) -> Mapping[str, Any]:
    """A slice, the tasks of a training by their names, those of a tokenization by their places."""
    named = {one.get("task", str(place)): one for place, one in enumerate(slice_.get("tasks", ()))}
    return {**slice_, "tasks": named} if named else slice_


def _tasks(slice_: Mapping[str, Any]) -> list[str]:
    """The tasks of a training."""
    return [one["task"] for one in slice_.get("tasks", [slice_])]


def _came_or_went(place: str, there: bool) -> Cause:
    """Training data of a dataset, in one language or in English, that is new or no longer read."""
    dataset, _, language = place.partition("/")
    if language:
        return _language(dataset, language, there)
    return Cause(f"training data {'added' if there else 'removed'}: {{items}}", dataset)


def _of_task(row: str, task: str, key: str) -> str:
    """A changed setting of one task of a mixture; empty for what the whole mixture has in common."""
    head, _, rest = key.partition(".")
    if head == "hyper" and rest.partition(".")[0] in Optimization.model_fields:
        return ""
    return f"{words(rest if head in ('hyper', 'text') else key)} of {task} in intermediate/{row}"


def _common(step: Step, key: str) -> str:
    if key == "backbone.pooling":
        return f"pooling of backbone {step.folders[0]}"
    return "precision" if key == "precision" else ""


def _plain(step: Step, given: object) -> object:
    """Values that stand in a slice otherwise than in the config."""
    if step.phase in TOLD and isinstance(given, str):
        return given.removeprefix("layer")
    return given
