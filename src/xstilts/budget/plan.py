"""A study's budget: rows by phase and task, totals, wall clock on N devices, and what all of it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import get_args

from xstilts.budget import calibration, devices
from xstilts.budget.calibration import UNKNOWN, Calibration, task_of
from xstilts.budget.devices import CPU, Device
from xstilts.budget.estimate import ON_DEVICE, Cost, Estimator
from xstilts.budget.schedule import Job, Schedule, critical_path, simulate, to_the_end
from xstilts.prune import PRUNED
from xstilts.study import Phase, Plan, Step

COUNTS = (1, 4, 8, 16, 32, 64)
BETWEEN = 0.7
"""Seconds from a job's start by Snakemake to that of its script (measured on the mini study)."""

_LEAVES = ("predict", "score", "submission", "overlap", "tabulate", "figures", "verify_published", "verify_baseline")


@dataclass(frozen=True)
class Row:
    """One phase and task.

    Attributes:
        hours, most: device hours of all jobs, expected and if no training stops early.
        seconds: run time of one job, on average.
        held: device memory, bytes.
        fits: the largest micro-batch that fits, where the configured one does not.
        written, kept: bytes on disk while the study runs, and after it under its pruning policy.
        spread: relative uncertainty of the times.
    """

    phase: str
    task: str
    jobs: int
    hours: float
    most: float
    seconds: float
    held: float
    fits: int | None
    written: float
    kept: float
    spread: float
    missing: str | None


@dataclass(frozen=True)
class Budget:
    """What is left to run of a study.

    Args:
        plan: the study.
        device: what it would run on.
        running: steps that would run, with their rules' priorities.
        costs: of every step of the study, corrected.
        learnt: what finished jobs taught.
        gpus: devices at once.
    """

    plan: Plan
    device: Device
    running: Mapping[Step, float]
    costs: Mapping[Step, Cost]
    learnt: Calibration
    origins: Mapping[str, set[str]]
    gpus: int

    @property
    def unit(self) -> str:
        """What hours are counted in."""
        return "core" if self.device.name == CPU else "GPU"

    @cached_property
    def rows(self) -> list[Row]:
        """Phases and tasks, in the order in which the data flows."""
        groups: dict[tuple[str, str], list[Step]] = {}
        for step in self.running:
            task = task_of(step) if step.phase in ON_DEVICE else ""
            groups.setdefault((step.phase, task), []).append(step)
        order: list[str] = list(get_args(Phase))
        return [self._row(*key, steps) for key, steps in sorted(groups.items(), key=lambda g: order.index(g[0][0]))]

    def _row(self, phase: str, task: str, steps: Sequence[Step]) -> Row:
        costs = [self.costs[step] for step in steps]
        return Row(
            phase=phase,
            task=task,
            jobs=len(steps),
            hours=sum(c.seconds * c.devices for c in costs) / 3600,
            most=sum(c.upper * c.devices for c in costs) / 3600,
            seconds=sum(c.seconds for c in costs) / len(costs),
            held=max(c.held for c in costs),
            fits=min((c.fits for c in costs if c.fits), default=None),
            written=sum(c.written for c in costs),
            kept=sum(c.written - (c.weights if phase in PRUNED[self.plan.study.keep_weights] else 0.0) for c in costs),
            spread=self._spread(phase, steps),
            missing=next((c.missing for c in costs if c.missing), None),
        )

    def _spread(self, phase: str, steps: Sequence[Step]) -> float:
        known = self.learnt.spread(phase)
        guessed = any(
            "estimated" in self.origins.get(need.folders[0], ())
            for step in steps
            for need in step.needs
            if need.phase == "prepare"
        )
        return max(known, UNKNOWN) if guessed else known

    @cached_property
    def hours(self) -> float:
        """Device hours, expected."""
        return sum(row.hours for row in self.rows)

    @cached_property
    def most(self) -> float:
        """Device hours if no training stops early."""
        return sum(row.most for row in self.rows)

    @cached_property
    def spread(self) -> float:
        """Relative uncertainty of the total, as if all were off the same way."""
        return sum(row.hours * row.spread for row in self.rows) / self.hours if self.hours else 0.0

    @cached_property
    def missing(self) -> list[str]:
        """What could not be estimated, each reason once, with its jobs."""
        reasons: dict[str, int] = {}
        for row in self.rows:
            if row.missing:
                reasons[row.missing] = reasons.get(row.missing, 0) + row.jobs
        return [f"{jobs} {'job' if jobs == 1 else 'jobs'}: {reason}" for reason, jobs in reasons.items()]

    @cached_property
    def done(self) -> tuple[int, float]:
        """Finished jobs of the study, and the device hours that they would cost again."""
        kept = [step for step in self.plan.steps() if step not in self.running and step.done]
        return len(kept), sum(self.costs[s].seconds * self.costs[s].devices for s in kept) / 3600

    # --- schedule

    def jobs(self, *, upper: bool = False) -> list[Job]:
        """The graph that is left, for the simulator."""
        return self._slowly if upper else self._likely

    @cached_property
    def _likely(self) -> list[Job]:
        return [self._job(step, upper=False) for step in self.running]

    @cached_property
    def _slowly(self) -> list[Job]:
        return [self._job(step, upper=True) for step in self.running]

    def _job(self, step: Step, upper: bool) -> Job:
        cost = self.costs[step]
        held = cost.devices or (1 if self.unit == "core" else 0)
        needs = tuple(need.name for need in step.needs)
        seconds = (cost.upper if upper else cost.seconds) + BETWEEN
        return Job(step.name, seconds, needs, {self.unit: held}, self.running[step])

    def schedule(self, count: int, *, upper: bool = False) -> Schedule:
        """The simulated run on so many devices."""
        return simulate(self.jobs(upper=upper), {self.unit: count})

    @cached_property
    def wall(self) -> dict[int, float]:
        """Devices: hours of wall clock."""
        counts = sorted({*COUNTS, self.gpus})
        return {count: self.schedule(count).makespan / 3600 for count in counts}

    @cached_property
    def path(self) -> list[Job]:
        """The longest chain of jobs."""
        return critical_path(self.jobs())


def budget(plan: Plan, running: Mapping[Step, float], gpus: int | None = None) -> Budget:
    """The budget of the steps that would run.

    Args:
        running: those of the plan that would run (see `to_run`), with their priorities.
        gpus: devices at once, if not the config's.

    Raises:
        Missing: the config names a device that is not known.
    """
    known = _known(plan)
    return Budget(
        plan=plan,
        device=known.device,
        running={step: running[step] for step in plan.steps() if step in running},
        costs=known.costs,
        learnt=known.learnt,
        origins=known.origins,
        gpus=gpus or plan.study.budget.gpus,
    )


@dataclass(frozen=True)
class _Known:
    device: Device
    costs: Mapping[Step, Cost]
    learnt: Calibration
    origins: Mapping[str, set[str]]


@lru_cache(maxsize=2)  # a run asks for priorities, a dry run for the report as well
def _known(plan: Plan) -> _Known:
    """What each step costs, by today's records and data."""
    device = devices.named(CPU if plan.study.compute.device == "cpu" else plan.study.budget.device)
    estimator, steps = Estimator(plan, device), plan.steps()
    learnt = calibration.from_records(estimator, steps)
    costs = {step: learnt.corrected(step, estimator.cost(step, learnt.stop(step))) for step in steps}
    estimator.statistics.save()
    return _Known(device, costs, learnt, estimator.statistics.used)


def to_run(plan: Plan) -> dict[Step, float]:
    """The steps that a run of the whole matrix would run, as a dry run finds them, all of one priority."""
    steps, running = plan.steps(), set()
    for step in reversed(_upstream_first(steps)):
        if step.phase in _LEAVES and not (step.done and plan.settled(step)):
            running.add(step)
        if step in running:
            running.update(need for need in step.needs if not need.done)
    return {step: 0.0 for step in steps if step in running}


def prioritised(plan: Plan) -> dict[Step, float]:
    """`to_run` with the rules' priorities: seconds from a job's start to the end of all that waits for it."""
    running = to_run(plan)
    left = to_the_end(budget(plan, running).jobs())
    return {step: left[step.name] for step in running}


def _upstream_first(steps: Sequence[Step]) -> list[Step]:
    found: dict[Step, None] = {}

    def visit(step: Step) -> None:
        if step not in found:
            for need in step.needs:
                visit(need)
            found[step] = None

    for step in steps:
        visit(step)
    return list(found)
