"""`python -m xstilts.why FILE`: what made a file of the results, from what, and whether it is what today's would be.

FILE is any file below `results/` (a log too), a folder of results, or a step's name as in
`finetune/xlm-roberta-large/mnli/pawsx/seed-1`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from xstilts import command, history, wording
from xstilts.differences import Differences
from xstilts.errors import UserError
from xstilts.explain import lines_of
from xstilts.history import Record
from xstilts.study import Phase, Plan, Step

Known = tuple[Plan, Step]
"""A step of today's study, and a plan that has it."""


def why(plans: Sequence[Plan], given: str) -> Iterator[str]:
    """The answer, line by line.

    Args:
        plans: of all scopes of the study's rows.
        given: a file or folder, or a step's name.

    Raises:
        UserError: nothing that the study made is known by this name.
    """
    found = _step_named(plans, given)
    place = found[1].directory if found else None
    if not found:
        found = _step_with(plans, Path(given))
        place = _record_of(*found) if found else None
    place = place or _record_place(plans[-1], Path(given))
    record = history.read(place)
    if record is None:
        if found is None:
            root = plans[0].root
            raise UserError(
                f"{given}: no record in {place} says what made it; name a file below {root}, or its --configfile"
            )
        yield from _unmade(*found)
        return
    yield from _made(record, place)
    yield from _today(found or _step_named(plans, record["name"]), record, plans[0])


def _step_named(plans: Sequence[Plan], name: str) -> Known | None:
    """The step of this name, in the first plan that has it."""
    phase, *folders = name.split("/")
    steps = ((plan, plan.find(cast(Phase, phase), tuple(folders))) for plan in plans)
    return next(((plan, step) for plan, step in steps if step is not None), None)


def _step_with(plans: Sequence[Plan], path: Path) -> Known | None:
    """The step that has a file among its outputs."""
    steps = ((plan, step) for plan in plans for step in plan.every_step())
    return next((known for known in steps if str(path) in known[1].outputs), None)


def _record_of(_plan: Plan, step: Step) -> Path | None:
    """Where the record of a step's file is: beside it, or, of a table that stands alone, of the newest."""
    newest = (step.directory.parent / str(record["digest"]) for record in history.records(step.directory.parent))
    return next(iter([step.directory] if step.recorded else newest if step.published else ()), None)


def _record_place(plan: Plan, path: Path) -> Path:
    """The folder that holds the record of a file."""
    for folder in (path, *path.parents):
        if (folder / "record.json").is_file():
            return folder
    inside = _below(plan.root, path)
    if inside[:2] == ("predictions", "store"):
        return _user_of_stored(plan, path.stem)
    if inside[:1] in (("logs",), ("benchmarks",)) and len(inside) > 2:
        return plan.root.joinpath(_folder(plan, inside[1]), *inside[2:-1], path.stem)
    return path


def _below(root: Path, path: Path) -> tuple[str, ...]:
    try:
        return path.resolve().relative_to(root.resolve()).parts
    except ValueError:
        return ()


def _folder(plan: Plan, phase: str) -> str:
    return next((plan.folder(step.phase) for step in plan.steps() if step.phase == phase), phase)


def _user_of_stored(plan: Plan, stored: str) -> Path:
    """A prediction that published a stored table."""
    for step in plan.steps():
        if step.phase == "predict":
            for record in history.records(step.directory.parent):
                if stored in record["inputs"].values():
                    return step.directory.parent / str(record["digest"])
    return plan.root / "predictions" / "store" / stored


# --- the answer


def _made(record: Record, place: Path) -> Iterator[str]:
    device, host = record.get("device", "unknown"), record.get("host", "unknown")
    yield f"made by   {record['name']} ({place})"
    yield f"when      {record.get('started', 'unknown')}, {record.get('wall_seconds', '?')} s"
    yield f"where     host {host}, device {device}"
    yield from _block("settings", (f"{k}: {wording.value(v)}" for k, v in wording.leaves(record["slice"]).items()))
    yield from _block("reads", record.get("needs", ()))
    yield from _block("inputs", (f"{role}: {known}" for role, known in sorted(record["inputs"].items())))
    yield from _block("code", _code(record))
    yield from _block("versions", [" ".join(f"{k}={v}" for k, v in record.get("versions", {}).items())])


def _code(record: Record) -> Iterator[str]:
    modules: dict[str, str] = dict(record["code"])
    for part in history.part_codes(record).values():
        modules |= part
    for name, known in sorted(modules.items()):
        yield f"{wording.module(name)[1] if name.startswith('xstilts') else name}: {known}"


def _block(title: str, entries: Any) -> Iterator[str]:
    """Lines under a title that stands beside the first."""
    for position, entry in enumerate(entries):
        yield f"{title if position == 0 else '':<10}{entry}"


def _today(known: Known | None, record: Record, any_plan: Plan) -> Iterator[str]:
    if known is None:
        yield f"today     study {any_plan.study.study!r} has no {record['name']}"
        return
    plan, step = known
    if step.digest == record["digest"]:
        yield "today     the same: this is what today's config, data and code make"
        yield from _block("accepted", _acceptance(plan, record))
    else:
        causes = Differences(plan).between(step, record)
        yield from _block("today", [f"another: {step.directory}", *lines_of(causes)])


def _acceptance(plan: Plan, record: Record) -> Iterator[str]:
    for entry in history.acceptances(plan.root):
        known = [record["code"], *history.part_codes(record).values()]
        if entry["step"] == record["step"] and entry["old"] in known:
            yield f"{entry['time']} by {entry['user']}: changed {', '.join(entry['modules'])} counts as this code"


def _unmade(plan: Plan, step: Step) -> Iterator[str]:
    yield f"not made  {step.name} ({step.directory})"
    differences = Differences(plan)
    record = differences.sibling(step)
    causes = differences.between(step, record) if record else dict.fromkeys(differences.new(step))
    yield from _block("why", lines_of(causes))


def main() -> None:
    """The command."""
    parser = command.parser("why", "What made a file of the results, and is it what today's config would make?")
    parser.add_argument("file", help="a file or folder below results/, or a step's name")
    given = parser.parse_args()
    for line in why(command.plans_of(given.configfile, given.config), given.file):
        print(line)


if __name__ == "__main__":
    command.run(main)
