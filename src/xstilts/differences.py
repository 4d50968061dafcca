"""Why a step is not what an older record made: root causes only.

A changed input is followed to the step that makes it, and compared there with the record of the older input; so a
cell that is stale since its intermediate is stale has the intermediate's causes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from xstilts import history, wording
from xstilts.history import Record
from xstilts.schema.training import Selection
from xstilts.study import ENCODER, Plan, Step
from xstilts.study.training import DECODING
from xstilts.wording import Cause, changed, setting, words

_EVERY = frozenset({""})
# What a training's slice holds only where it selects its checkpoint on dev.
_RULES = ("checkpoint", "also")
_LOOKS = {"criterion", *(f"hyper.selection.{key}" for key in Selection.model_fields if key not in _RULES)}
_LOOKS |= {f"hyper.{key}" for key in DECODING}


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
        for cause in wording.code(*self._codes(step, record)):
            add(causes, cause, Effect(True, every))
        for cause, effect in self._inputs(step, record):
            add(causes, cause, effect)
        return causes

    @staticmethod
    def _codes(step: Step, record: Record) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Older and today's code; a criterion that came or went with the selection of checkpoints is no cause."""
        if not _selection_turned(step, record):
            return record["code"], step.code
        both = set(record["code"]) & set(step.code)
        return {name: record["code"][name] for name in both}, {name: step.code[name] for name in both}

    # --- settings

    def _settings(self, step: Step, record: Record) -> Iterator[Cause]:
        turned = _selection_turned(step, record)
        for key, old, new in changed(record["slice"], step.slice):
            if turned and key in _LOOKS:
                continue
            if step.phase in ("tabulate", "figures") and key in ("targets", "intermediates"):
                if sorted(old or ()) == sorted(new or ()):  # else it is told of what came or went
                    yield Cause(f"order of the {key} changed")
                continue
            what = _what(self.plan, step, key)
            came_or_went = step.phase == "tabulate" and None in (old, new)  # told of the backbone itself
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
            case "tabulate":
                yield from self._table_inputs(step, record)
            case "figures":
                yield from _following(self._upstream(step.needs[0], record["inputs"]["tables"], "tables changed"))

    def _upstream(self, need: Step, old: str, otherwise: str) -> Iterable[Cause]:
        """Causes of an input that is another step's whole output."""
        if need.digest == old:
            return ()
        record = next((r for r in self.records(need) if r["digest"] == old), None) or self._unrecorded(need)
        return (record and self.between(need, record)) or (Cause(otherwise),)

    def _unrecorded(self, need: Step) -> Record | None:
        """The tables keep one record only, that of the newest."""
        return self.sibling(need) if need.phase == "tabulate" else None

    def _training_inputs(self, step: Step, record: Record) -> Iterator[Cause]:
        for role in sorted({*step.inputs, *record["inputs"]}):
            old, new = record["inputs"].get(role, ""), step.inputs.get(role)
            if old == new or (role.startswith("dev") and _selection_turned(step, record)):
                continue
            if role == "checkpoint":
                yield from self._upstream(step.needs[0], old, f"checkpoint changed: {step.needs[0].name}")
            else:
                split, dataset = role.split(":", 1)
                yield from self._data(dataset, split if "." in split else f"{split}.en", old)

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
            made = list(self._world(record))
            yield from ((cause, False) for cause in made)
            if not made and old.get("revision") == new["revision"]:
                yield _data_changed(step.folders[0], part), True
        for cause in wording.code(history.part_codes(record).get(part, {}), new["codes"][new["parts"][part]["code"]]):
            yield cause, True

    def _world(self, record: Record) -> Iterable[Cause]:
        """What changed in the mini world since a record was made from it."""
        if not self.plan.study.data.world:
            return ()
        old = next((need.split("/")[-1] for need in record.get("needs", ()) if need.startswith("world/")), "")
        world = self.plan.world()
        found = next((r for r in self.records(world) if r["digest"] == old), None)
        return self.between(world, found) if found else ()

    def _backbone_inputs(self, step: Step, record: Record) -> Iterator[tuple[Cause, Effect]]:
        name = step.folders[0]
        roles = [r for r in sorted({*step.inputs, *record["inputs"]}) if step.inputs.get(r) != record["inputs"].get(r)]
        kept = [role for role in roles if role in step.inputs and role in record["inputs"]]
        made = list(self._world(record)) if roles else []
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
        now = {"/".join(need.folders): need for need in step.needs}
        for cause in gone(record["inputs"], step.inputs):
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
        if tables is None:
            return (Cause("not made yet"),)
        known = [cell.split("/") for cell in tables["inputs"]]
        return _first_new(self.plan, step, known) or (Cause("new cell" if _is_new(step, known) else "not made yet"),)


def _following(causes: Iterable[Cause]) -> Iterator[tuple[Cause, Effect]]:
    yield from ((cause, Effect(False)) for cause in causes)


def gone(old: Iterable[str], new: Iterable[str]) -> Iterator[Cause]:
    """What the older tables had and the study no longer has."""
    before, after = ([cell.split("/") for cell in cells] for cells in (old, new))
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
            return "" if key == "languages" else f"{words(key)} of the mini world"
        case "backbone":
            return f"{words(rest if head == 'training' else key)} of backbone {place[0]}"
        case "intermediate" | "finetune" if head == "hyper":
            return f"{words(rest)} of {step.phase}/{place[-2]}"
        case "intermediate" | "finetune":
            return _common(step, key) or f"{words(key)} of {step.phase}/{place[-2]}"
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
        case "tabulate" if head == "headline_variants":
            backbone, _, target = rest.partition(".")
            trained = plan.train_set(target)
            return f"selection checkpoint of finetune/{trained}" if trained else f"retrieval layer of {backbone}"
        case "figures" if key in ("formats", "delta_range"):
            return "figure formats" if key == "formats" else "delta range of the figures"
    return ""


def _common(step: Step, key: str) -> str:
    if key == "backbone.pooling":
        return f"pooling of backbone {step.folders[0]}"
    return "precision" if key == "precision" else ""


def _plain(step: Step, given: object) -> object:
    """Values that stand in a slice otherwise than in the config."""
    if step.phase == "tabulate" and isinstance(given, str):
        return given.removeprefix("layer")
    return given
