"""A budget as text for the terminal, and as plain data for files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xstilts.budget.missing import Missing
from xstilts.budget.plan import Budget, budget
from xstilts.budget.schedule import Job
from xstilts.study import Plan, Step

_TITLES = ("phase", "task", "jobs", "{unit} h", "each", "memory", "written", "kept", "±")
_LEFT = 2  # columns of names


def lines(made: Budget) -> list[str]:
    """The report."""
    if not made.running:
        return []
    return [f"xstilts: what it would cost on {_basis(made)}:", *(f"  {line}" for line in _body(made))]


def _basis(made: Budget) -> str:
    records = len(made.learnt.seen)
    known = f"calibrated by {records} finished jobs" if records else "no finished job to calibrate by yet"
    others = f"; {made.learnt.other} of other devices do not count" if made.learnt.other else ""
    return f"{made.device.name}, {made.plan.study.compute.precision} ({known}{others})"


def _body(made: Budget) -> list[str]:
    said = [*table(made), _total(made), *_wall(made), f"critical path: {_path(made.path)}"]
    if made.plan.study.budget.price is not None:
        price = made.plan.study.budget.price
        said.append(
            f"cost at {price:g} a {made.unit} hour: {made.hours * price:.0f} ± {made.hours * made.spread * price:.0f}"
        )
    jobs, hours = made.done
    if jobs:
        said.append(f"done already: {jobs} jobs, worth {hours_of(hours)} {made.unit} h")
    return [*said, *_data(made), *(f"not estimated: {reason}" for reason in made.missing)]


def table(made: Budget) -> list[str]:
    """Rows by phase and task, in columns."""
    cells = [[title.format(unit=made.unit) for title in _TITLES]]
    for row in made.rows:
        figures = (
            ["?"] * 6
            if row.missing
            else [
                hours_of(row.hours),
                duration(row.seconds),
                _memory(row.held, row.fits),
                size(row.written),
                size(row.kept),
                f"{row.spread:.0%}",
            ]
        )
        cells.append([row.phase, row.task, str(row.jobs), *figures])
    widths = [max(len(line[i]) for line in cells) for i in range(len(_TITLES))]
    return [
        "  ".join(
            c.ljust(w) if i < _LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _memory(held: float, fits: int | None) -> str:
    shown = f"{held / 1e9:.1f} GB" if held else "-"
    return f"{shown} (does not fit: micro_batch {fits})" if fits else shown


def _total(made: Budget) -> str:
    jobs = sum(row.jobs for row in made.rows)
    written, kept = (sum(getattr(row, name) for row in made.rows) for name in ("written", "kept"))
    bound = f", at most {hours_of(made.most)} if nothing stops early" if made.most > 1.001 * made.hours else ""
    hours = f"{hours_of(made.hours)} {made.unit} h ± {made.spread:.0%}{_incomplete(made)}{bound}"
    return f"total: {jobs} jobs, {hours}; {size(written)} written, {size(kept)} kept"


def _incomplete(made: Budget) -> str:
    return " without what is not estimated" if made.missing else ""


def _wall(made: Budget) -> list[str]:
    upper = made.schedule(made.gpus, upper=True).makespan / 3600
    bound = f" (at most {duration(3600 * upper)})" if upper > 1.001 * made.wall[made.gpus] else ""
    on_counts = ", ".join(f"{count}: {duration(3600 * hours)}" for count, hours in made.wall.items())
    known = f"± {made.spread:.0%}{_incomplete(made)}{bound}"
    return [
        f"wall clock on {made.gpus} {made.unit}s: {duration(3600 * made.wall[made.gpus])} {known}",
        f"wall clock by {made.unit}s: {on_counts}",
    ]


def _path(path: list[Job]) -> str:
    seconds = sum(job.seconds for job in path)
    steps = " → ".join(f"{job.key} {duration(job.seconds)}" for job in path)
    return f"{duration(seconds)}: {steps}"


def _data(made: Budget) -> list[str]:
    """Which datasets' lengths are measured, shipped or estimated."""
    by_origin: dict[str, list[str]] = {}
    for dataset, origins in sorted(made.origins.items()):
        by_origin.setdefault(next(o for o in ("estimated", "shipped", "measured") if o in origins), []).append(dataset)
    words = {
        "measured": "lengths measured on the data at hand",
        "shipped": "lengths by shipped statistics",
        "estimated": "lengths or rows estimated from descriptions (src/xstilts/data/lengths.yaml)",
    }
    return [f"{words[origin]}: {', '.join(by_origin[origin])}" for origin in words if origin in by_origin]


# --- numbers


def hours_of(hours: float) -> str:
    """Hours with as many digits as they deserve."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def duration(seconds: float) -> str:
    """A run time."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB" if count else "-"


# --- what the workflow and the command ask for


def report(plan: Plan, running: Mapping[Step, float], gpus: int | None) -> str:
    """What a dry run says at its end; a statement instead where the device is not known.

    Args:
        running: step: priority, of those that would run.
        gpus: devices at once, if not the config's.
    """
    try:
        return "\n".join(lines(budget(plan, running, gpus)))
    except Missing as reason:
        return f"xstilts: what it would cost: {reason}"


def difference(before: Budget, after: Budget) -> str:
    """What a change costs: `+412 GPU h, +9.6 h on 32 GPUs`."""
    wall = after.wall[after.gpus] - before.schedule(after.gpus).makespan / 3600
    jobs = sum(row.jobs for row in after.rows) - sum(row.jobs for row in before.rows)
    hours = after.hours - before.hours
    spread = max(before.spread, after.spread)
    signed = f"{'+' if hours >= 0 else '-'}{hours_of(abs(hours))} {after.unit} h ± {spread:.0%}"
    return f"{jobs:+d} jobs, {signed}, {'+' if wall >= 0 else '-'}{hours_of(abs(wall))} h on {after.gpus} {after.unit}s"


def plain(made: Budget) -> dict[str, Any]:
    """The budget as plain JSON."""
    return {
        "device": made.device.name,
        "records": len(made.learnt.seen),
        "unit": f"{made.unit} hours",
        "rows": [asdict(row) for row in made.rows],
        "hours": made.hours,
        "hours_at_most": made.most,
        "relative_uncertainty": made.spread,
        "wall_clock_hours": {str(count): hours for count, hours in made.wall.items()},
        "critical_path": [[str(job.key), job.seconds] for job in made.path],
        "origins": {dataset: sorted(origins) for dataset, origins in made.origins.items()},
        "not_estimated": made.missing,
    }
