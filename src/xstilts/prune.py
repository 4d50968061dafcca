"""`python -m xstilts.prune`: delete the weights that no prediction of the study waits for, as `keep_weights` says.

A run does the same by itself: each prediction job deletes what it was the last to need. Records, heads' settings and
learning curves stay, so nothing becomes stale; whatever needs the weights again trains them again, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from xstilts import command, files
from xstilts.config import KeepWeights
from xstilts.study import Phase, Plan, Step

PRUNED: dict[KeepWeights, tuple[Phase, ...]] = {
    "all": (),
    "intermediates": ("finetune",),
    "none": ("finetune", "intermediate"),
}
"""Phases whose weights go once every prediction that rests on them is there."""


def spent(plan: Plan, policy: KeepWeights, needed_by: Step | None = None) -> list[dict[str, Any]]:
    """Weights that may go, each with the predictions that must be there first.

    Args:
        plan: the study.
        policy: its `keep_weights`, or another.
        needed_by: a prediction, if only the checkpoints that it rests on are asked for.

    Returns:
        `files` to delete once all paths of `once` exist.
    """
    predictions: dict[Step, list[str]] = {}
    for step in plan.steps() if PRUNED[policy] else ():
        if step.phase == "predict":
            for need in _checkpoints(step):
                predictions.setdefault(need, []).extend(step.outputs)
    asked = predictions if needed_by is None else dict.fromkeys(_checkpoints(needed_by))
    pruned = [step for step in asked if step.phase in PRUNED[policy]]
    return [{"files": _weights(step), "once": predictions[step]} for step in pruned]


def _checkpoints(step: Step) -> Iterator[Step]:
    """The trainings that a step rests on."""
    for need in step.needs:
        if need.phase in ("finetune", "intermediate"):
            yield need
            yield from _checkpoints(need)


def _weights(step: Step) -> list[str]:
    return [path for path in step.outputs if path.endswith(".safetensors")]


def begun(plans: Sequence[Plan]) -> Plan:
    """The widest plan of rows of which anything was made that the matrix has not; weights serve all its rows.

    Args:
        plans: of the scopes, the matrix's first.
    """
    matrix, widest = plans[0], plans[-1]
    own = {step.name for step in matrix.steps()}
    return widest if any(step.recorded for step in widest.steps() if step.name not in own) else matrix


def main() -> None:
    """The command."""
    parser = command.parser("prune", "Delete weights that no prediction of the study waits for.")
    parser.add_argument("--keep", choices=get_args(KeepWeights), help="instead of the config's keep_weights")
    given = parser.parse_args()
    plan = begun(command.plans_of(given.configfile, given.config))
    policy = given.keep or plan.study.keep_weights
    there = [Path(path) for entry in spent(plan, policy) for path in entry["files"] if Path(path).exists()]
    sizes = {path: path.stat().st_size for path in there}
    files.discard(spent(plan, policy))
    freed = sum(size for path, size in sizes.items() if not path.exists())
    print(f"xstilts: keeping {policy}: {freed / 1e9:.3f} GB of weights deleted")


if __name__ == "__main__":
    command.run(main)
