"""Why steps run: each root cause once, in the words of the study, with what it makes run.

    learning rate of finetune/pawsx: 1e-3 → 5e-4 — 10 finetunes, then 60 predictions, 10 scores, tables, figures

Reads the records of the siblings of steps that are to run, and nothing else; writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from xstilts import history
from xstilts.differences import TOLD, Causes, Differences, Effect, add
from xstilts.study import Plan, Step
from xstilts.wording import Cause, told

# What a phase makes, one and many; a prediction is one table.
_NOUNS = {
    "world": ("mini world", "mini worlds"),
    "preflight": ("check of the data files", "checks of the data files"),
    "prepare": ("dataset", "datasets"),
    "translate": ("translation", "translations"),
    "match": ("check of translated rows", "checks of translated rows"),
    "backbone": ("backbone", "backbones"),
    "tokenize": ("tokenization", "tokenizations"),
    "intermediate": ("intermediate", "intermediates"),
    "finetune": ("finetune", "finetunes"),
    "predict": ("prediction", "predictions"),
    "score": ("score", "scores"),
    "external": ("external score", "external scores"),
    "tabulate": ("tables", "tables"),
    "figures": ("figures", "figures"),
    "overlap": ("text overlap", "text overlap"),
    "selection": ("choice on dev", "choice on dev"),
    "significance": ("tests", "tests"),
    "report": ("report", "report"),
}
_ONCE = ("world", *TOLD, "overlap", "report")  # for all rows that are asked for


def explain(plan: Plan, steps: Sequence[Step] | None = None) -> list[str]:
    """One line for each cause.

    Args:
        plan: the study.
        steps: those that are to run (done ones among them follow others or are forced); default: all that are not done.
    """
    running = [step for step in plan.steps() if not step.done] if steps is None else list(steps)
    return _lines(causes_of(plan, running))


def causes_of(plan: Plan, running: Sequence[Step]) -> dict[Step, Causes]:
    """Step: its causes."""
    differences = Differences(plan)
    found: dict[Step, Causes] = {}
    for step in running:
        found[step] = _causes(differences, step, found)
    for step in reversed(running):
        if not found[step] and step.phase != "overlap":
            found[step] = _from_readers(differences, step, found)
    for step in running:
        if not found[step]:  # the overlap, which reads all data and serves no other step
            found[step] = _followed(step, found) or _from_readers(differences, step, found)
    return found


def _causes(differences: Differences, step: Step, found: dict[Step, Causes]) -> Causes:
    if step.done:
        return _followed(step, found) or {Cause("forced"): Effect(True, _tables(step))}
    if missing := _missing(step):
        return {cause: Effect(True, _tables(step, cause.item)) for cause in missing}
    record = differences.sibling(step)
    if record is not None and step.phase != "tokenize":  # its readers tell of it
        return differences.between(step, record)
    if step.phase in ("world", "preflight", "prepare", "translate", "match", "tokenize"):
        return {}
    return {cause: Effect(True, _tables(step)) for cause in differences.new(step)}


def _followed(step: Step, found: dict[Step, Causes]) -> Causes:
    """Causes of a finished step: those of what it reads."""
    causes: Causes = {}
    for need in step.needs:
        for cause in found.get(need, {}):
            add(causes, cause, Effect(False, _tables(step)))
    return causes


def _from_readers(differences: Differences, step: Step, found: dict[Step, Causes]) -> Causes:
    """Causes of data that nothing else explains: whatever is new among its readers."""
    causes: Causes = {}
    for reader, theirs in found.items():
        if step in reader.needs:
            for cause in theirs:
                add(causes, cause, Effect(False))
    if causes:
        return causes
    fresh = not differences.records(differences.plan.tabulate())
    return {Cause("not made yet") if fresh else Cause(f"missing: {step.name}"): Effect(True)}


def _missing(step: Step) -> list[Cause]:
    """What was deleted of a result that is otherwise there."""
    if history.read(step.directory) is None:
        return []
    gone = [Path(path) for path in step.outputs if not Path(path).exists()]
    if step.phase == "predict":
        return [Cause("prediction deleted: {items}", f"{path.parent.name}/{path.stem}") for path in gone]
    if step.phase in ("backbone", "intermediate", "finetune"):
        return [Cause("weights deleted: {items}", step.name)]
    return [Cause("file deleted: {items}", f"{path.parent.name}/{path.name}") for path in gone]


def _tables(step: Step, only: str = "") -> frozenset[str]:
    """What a step's effects are counted by."""
    if step.phase != "predict":
        return frozenset({""})
    return frozenset({only}) if only in step.inputs else frozenset(step.inputs)


# --- telling


def _lines(found: dict[Step, Causes]) -> list[str]:
    """The causes, those that are alike but for their item in one line."""
    effects: dict[Cause, dict[Step, Effect]] = {}
    for step, causes in found.items():
        for cause, effect in causes.items():
            effects.setdefault(cause, {})[step] = effect
    alike: dict[tuple[str, frozenset[tuple[str, bool]]], list[Cause]] = {}
    for cause, by_step in effects.items():
        mark = frozenset((step.name, effect.own) for step, effect in by_step.items())
        alike.setdefault((cause.form, mark), []).append(cause)
    return [_line(causes, effects) for causes in alike.values()]


def lines_of(causes: Iterable[Cause]) -> list[str]:
    """The texts of causes, without what they make run."""
    forms: dict[str, list[str]] = {}
    for cause in causes:
        forms.setdefault(cause.form, []).append(cause.item)
    return [told(form, sorted(items)) for form, items in forms.items()]


def _line(causes: list[Cause], effects: dict[Cause, dict[Step, Effect]]) -> str:
    own: dict[Step, frozenset[str]] = {}
    after: dict[Step, frozenset[str]] = {}
    for cause in causes:
        for step, effect in effects[cause].items():
            side = own if effect.own else after
            side[step] = side.get(step, frozenset()) | effect.parts
    told_causes = told(causes[0].form, sorted(cause.item for cause in causes))
    both = [text for text in (_counts(own), _counts(after)) if text]
    return f"{told_causes} — {', then '.join(both)}"


def _counts(steps: dict[Step, frozenset[str]]) -> str:
    """`10 finetunes, 60 predictions`, in the order of the phases."""
    counted: Counter[str] = Counter()
    for step, parts in steps.items():
        counted[step.phase] += len(parts) if step.phase == "predict" else 1
    return ", ".join(_count(phase, counted[phase]) for phase in _NOUNS if phase in counted)


def _count(phase: str, number: int) -> str:
    one, many = _NOUNS[phase]
    return one if phase in _ONCE else f"{number} {one if number == 1 else many}"


def report(plans: Sequence[Plan], made: Iterable[str]) -> str:
    """What a dry run says at its end: why the steps behind these output paths would run; empty if none would.

    Args:
        plans: one for each scope of rows that is asked for, the widest first; a step that several have is told once.
    """
    paths, told_of, found = set(made), set[str](), dict[Step, Causes]()
    for plan in plans:
        running = [step for step in plan.every_step() if not paths.isdisjoint(step.outputs)]
        causes = causes_of(plan, running)
        found |= {step: causes[step] for step in running if told_of.isdisjoint(step.outputs)}
        told_of |= {path for step in running for path in step.outputs}
    lines = _lines(found)
    return "\n".join(["xstilts: why these jobs would run:", *(f"  {line}" for line in lines)]) if lines else ""
