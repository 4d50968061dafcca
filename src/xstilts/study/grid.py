"""Names, seeds and cells of a study, and how its steps are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from xstilts import config, digest, history, provenance, tasks
from xstilts.config import Study
from xstilts.revisions import Revisions
from xstilts.schema.arms import Intermediate
from xstilts.study.step import ENCODER, NONE, RULE_FILES, Cell, Phase, Scope, Seeds, Step

_R = TypeVar("_R")
_P = ParamSpec("_P")
_G = TypeVar("_G", bound="Grid")


def remembered(method: Callable[Concatenate[_G, _P], _R]) -> Callable[Concatenate[_G, _P], _R]:
    """Each plan computes each answer once; a study asks for the same steps thousands of times."""

    @wraps(method)
    def answer(self: _G, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        key = (method.__name__, args)
        if key not in self.answers:
            self.answers[key] = method(self, *args, **kwargs)
        return cast(_R, self.answers[key])

    return cast(Callable[Concatenate[_G, _P], _R], answer)


class Grid:
    """The cells of a study.

    Args:
        study: the validated config.
        results: folder under which the study's own folder stands.
        revisions: the locked commits of hub repositories.
        scope: its rows: `matrix`, the baseline and single English tasks; `baselines`, all others beside the baseline;
            or `all`.

    Attributes:
        arms: every row that can be run here; intermediates: those of the scope.
    """

    arms: dict[str, Intermediate]
    intermediates: dict[str, Intermediate]

    def __init__(
        self,
        study: Study,
        results: Path = Path("results"),
        revisions: Revisions | None = None,
        scope: Scope = "matrix",
    ) -> None:
        self.study, self.scope = study, scope
        self.revisions = revisions or Revisions()
        self.root = results / study.study
        self._accepted = history.accepted_code(self.root)
        self._steps: dict[tuple[Phase, tuple[str, ...]], Step] = {}
        self.answers: dict[Any, Any] = {}

    def train_set(self, target: str) -> str | None:
        """The task whose training data phase 3 uses for the target; None for retrieval."""
        return self.study.targets[target].train_set or tasks.get(target).train_set

    @remembered
    def train_sets(self) -> dict[str, list[str]]:
        """Train set: the targets it serves, in the study's order; retrieval targets stand under `encoder`."""
        groups: dict[str, list[str]] = {}
        for target in self.study.targets:
            groups.setdefault(self.train_set(target) or ENCODER, []).append(target)
        return groups

    def languages(self, target: str) -> tuple[str, ...]:
        """The target's languages in this study."""
        return self.study.targets[target].languages or config.xtreme_languages()[target]

    def seeds(self, intermediate: str, group: str) -> list[Seeds]:
        """Every path of seeds that leads through an intermediate to a train set (or straight to the encoder)."""
        given = self.study.seeds
        untrained = self.trained_as(intermediate) == NONE
        first: tuple[int | None, ...] = (None,) if untrained else given.intermediate
        if group == ENCODER:
            return [Seeds(k, None) for k in first]
        if given.finetune == "paired":
            return [Seeds(None if untrained else k, k) for k in given.intermediate]
        return [Seeds(k, f) for k in first for f in given.finetune]

    def trained_as(self, intermediate: str) -> str:
        """The row whose phase 2 a row has: its own, unless it is like another."""
        return self.arms[intermediate].like or intermediate

    def in_scope(self, name: str) -> bool:
        """Is the row one of this plan's?"""
        if self.scope == "all" or name == NONE:
            return True
        return self.study.intermediates[name].in_matrix == (self.scope == "matrix")

    def cells(self) -> Iterator[Cell]:
        """Every cell of the study."""
        for backbone in self.study.backbones:
            for intermediate in self.intermediates:
                for target in self.study.targets:
                    for seeds in self.seeds(intermediate, self.train_set(target) or ENCODER):
                        yield Cell(backbone, intermediate, target, seeds)

    def _step(
        self,
        phase: Phase,
        folders: tuple[str, ...],
        slice_: Mapping[str, Any],
        inputs: Mapping[str, str],
        code: Mapping[str, str],
        needs: tuple[Step, ...] = (),
        files: tuple[str, ...] = ("record.json",),
        payload: Mapping[str, Any] | None = None,
        published: tuple[str, ...] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> Step:
        known = self._steps.get((phase, folders))
        if known is not None:
            return known
        plain = json.loads(digest.canonical([slice_, payload or {}]))
        step = Step(phase, self.root, folders, plain[0], inputs, code, needs, files, published, plain[1], detail or {})
        self._steps[phase, folders] = step
        return step

    @remembered
    def _code(self, phase: Phase, *entries: str) -> dict[str, str]:
        found = digest.code(entries)
        script = f"workflow/scripts/{phase}.py"
        found[script] = digest.script(script)
        found[f"shell of {phase}"] = digest.shell(f"workflow/rules/{RULE_FILES[phase]}.smk", script)
        if self.study.library_changes == "rerun":
            found |= {f"library {name}": version for name, version in provenance.versions().items()}
        return self._as_accepted(phase, found)

    def _as_accepted(self, phase: Phase, code: dict[str, str]) -> dict[str, str]:
        """The code, or the older code as which the user accepted it (`xstilts.accept`)."""
        return self._accepted.get((phase, digest.of(code)), code) if self._accepted else code

    def _compute(self, ranks: int | None = None) -> dict[str, Any]:
        keys = {"device", "ranks", "micro_batch", "micro_tokens", "threads", "deepspeed", "warm"}
        keys |= {"activation_checkpointing", "state_minutes", "report_to"}
        dump: dict[str, Any] = self.study.compute.model_dump(mode="json", include=keys)
        alone: dict[str, Any] = {"ranks": ranks, "deepspeed": None} if ranks else {}
        # Ranks are started by torchrun, each with its own imports.
        return dump | alone | {"warm": dump["warm"] and (ranks or dump["ranks"]) == 1}
