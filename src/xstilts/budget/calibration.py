"""What finished jobs teach: by how much the estimate is off, per phase and task, and how far single jobs stray from it.

A factor is measured over estimated seconds. That of a task is drawn to its phase's, that of trainings and predictions
to the whole device's, as if one more job had been seen there, so that few records correct much and none overrules many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from xstilts import history
from xstilts.budget import devices
from xstilts.budget.estimate import ON_DEVICE, ON_MODELS, TRAININGS, Cost, Estimator
from xstilts.history import Record
from xstilts.study import Step

CALIBRATION = "calibration"
"""Folder of a study's short runs on purpose."""

UNKNOWN = 0.5
"""Relative uncertainty of a run time of which no finished job tells."""

_LEAST, _MOST = 0.05, 1.0


@dataclass(frozen=True)
class Seen:
    """One finished job: its place, and what its record says beside what would have been estimated.

    Attributes:
        measured, estimated: seconds.
        memory: measured over estimated device memory at its peak; None where no device was measured.
    """

    phase: str
    task: str
    measured: float
    estimated: float
    memory: float | None = None


def task_of(step: Step) -> str:
    """What a row of the report is about, besides its phase."""
    place = {
        "intermediate": 1,
        "finetune": 2,
        "predict": 2,
        "score": 2,
        "prepare": 0,
        "translate": 0,
        "backbone": 0,
        "tokenize": 0,
    }
    which = place.get(step.phase, -1)
    return step.folders[which] if 0 <= which < len(step.folders) else ""


class Calibration:
    """Corrections of an estimator's costs by the records of finished jobs on its device.

    Args:
        seen: finished jobs.
        other: how many records were left out because they are of another device.
        stops: task: shares of their steps that trainings took before they stopped.
    """

    def __init__(self, seen: Sequence[Seen], other: int = 0, stops: dict[tuple[str, str], list[float]] | None = None):
        self.seen, self.other = list(seen), other
        self._stops = stops or {}

    def stop(self, step: Step) -> float | None:
        """Share of its steps that a training of this phase and task has taken on average, if any is finished."""
        shares = self._stops.get((step.phase, task_of(step)))
        return sum(shares) / len(shares) if shares else None

    def factor(self, phase: str, task: str) -> float:
        """Measured over estimated seconds."""
        on_models = [one for one in self.seen if one.phase in ON_MODELS] if phase in ON_MODELS else []
        factor = _ratio(on_models, 1.0, weight=0.0)
        factor = _ratio([one for one in self.seen if one.phase == phase], factor)
        return _ratio([one for one in self.seen if (one.phase, one.task) == (phase, task)], factor)

    def spread(self, phase: str) -> float:
        """Relative uncertainty of a job's seconds: how far finished ones of the phase are from their estimates."""
        strays = [
            math.log(one.measured / (one.estimated * self.factor(one.phase, one.task)))
            for one in self.seen
            if one.phase == phase
        ]
        if not strays:
            return UNKNOWN
        # As if one more job had been seen that is off by as much as an unknown one.
        square = (sum(stray**2 for stray in strays) + UNKNOWN**2) / (len(strays) + 1)
        return min(_MOST, max(_LEAST, math.sqrt(square)))

    def corrected(self, step: Step, cost: Cost) -> Cost:
        """A cost with this calibration's factors."""
        factor, held = self.factor(step.phase, task_of(step)), cost.held * self.memory(step.phase)
        return replace(cost, seconds=cost.seconds * factor, upper=cost.upper * factor, held=held)

    def memory(self, phase: str) -> float:
        """Measured over estimated device memory of a phase's jobs: the largest, since what does not fit fails."""
        return max((one.memory for one in self.seen if one.phase == phase and one.memory), default=1.0)


def _ratio(seen: Sequence[Seen], before: float, weight: float = 1.0) -> float:
    """Measured over estimated, with `weight` more jobs of the mean size whose ratio is `before`."""
    if not seen:
        return before
    extra = weight * sum(one.estimated for one in seen) / len(seen)
    estimated = sum(one.estimated for one in seen) + extra
    return (sum(one.measured for one in seen) + before * extra) / estimated


def from_records(estimator: Estimator, steps: Iterable[Step]) -> Calibration:
    """Compare every step's newest record on the estimator's device with what would have been estimated for it.

    The record's own settings and hardware are taken, so that records from before an edit of the config teach as well.
    """
    seen, other = [], 0
    stops: dict[tuple[str, str], list[float]] = {}
    for step in steps:
        seen += _short(estimator, step)
        records = history.records(step.directory.parent)
        if not records:
            continue
        fitting = [record for record in records if _same_device(estimator, step, record)]
        other += not fitting
        for record in fitting[:1]:
            seen += _compared(estimator, step, record)
            if step.phase in TRAININGS and (share := _share(record)) is not None:
                stops.setdefault((step.phase, task_of(step)), []).append(share)
    return Calibration(seen, other, stops)


def _short(estimator: Estimator, step: Step) -> list[Seen]:
    """What two short runs on purpose tell (`budget.calibrate`): seconds of the steps by which they differ."""
    folder = estimator.plan.root.joinpath(CALIBRATION, step.phase, *step.folders)
    records = [r for r in history.records(folder) if _same_device(estimator, step, r)]
    ends = sorted((one for record in records for one in _compared(estimator, step, record)), key=lambda s: s.estimated)
    if len(ends) < 2:
        return []
    less, more = ends[0], ends[-1]
    measured, estimated = more.measured - less.measured, more.estimated - less.estimated
    return [Seen(step.phase, less.task, measured, estimated)] if min(measured, estimated) > 0 else []


def _same_device(estimator: Estimator, step: Step, record: Record) -> bool:
    """Host jobs tell of hosts, and those on a GPU of that kind of GPU."""
    if step.phase not in ON_DEVICE or (step.phase == "backbone" and estimator.device.memory):
        return True
    return devices.recorded(str(record.get("device", ""))) == estimator.device


def _compared(estimator: Estimator, step: Step, record: Record) -> list[Seen]:
    """The record beside its estimate; nothing if the job did only part of its work, or is of another make."""
    if record.get("predicted", 1) != record.get("parts_predicted", record.get("parts", 1)) and step.phase == "predict":
        return []
    try:
        cost = estimator.costed(step, record["slice"], record.get("compute") or {}, _share(record))
        measured = float(record["wall_seconds"])
    except (KeyError, TypeError, ValueError):
        return []
    if cost.missing is not None or cost.seconds <= 0 or measured <= 0:
        return []
    peak = (record.get("peak_memory_mib") or {}).get("device")
    memory = peak * 2**20 / cost.held if peak and cost.held else None
    return [Seen(step.phase, task_of(step), measured, cost.seconds, memory)]


def _share(record: Record) -> float | None:
    """Share of its planned steps after which a training ended."""
    try:
        hyper, steps, inputs = record["slice"]["hyper"], float(record["steps"]), float(record["encoded"])
        planned = float(hyper.get("steps") or 0) or math.ceil(hyper["epochs"] * inputs / hyper["batch"])
    except (KeyError, TypeError, ValueError):
        return None
    return min(1.0, steps / planned)
