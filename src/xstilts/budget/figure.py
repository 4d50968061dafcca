"""A budget as a figure: the simulated run on each device, and device hours by phase and by task."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

from xstilts.budget.estimate import ON_DEVICE
from xstilts.budget.plan import Budget

_COLOURS = {"backbone": "#7f7f7f", "intermediate": "#4477aa", "finetune": "#66ccee", "predict": "#ee7733"}
_WIDTH, _LANE, _BAR, _FRAME = 9.0, 0.16, 0.2, 1.1  # inches


def draw(made: Budget, path: Path) -> None:
    """Write the figure as SVG."""
    mpl.use("agg")
    from matplotlib import pyplot

    by_phase, by_task = _hours(made, "phase"), _hours(made, "task")
    heights = [_FRAME + _LANE * made.gpus, _FRAME + _BAR * max(len(by_phase), len(by_task))]
    figure = pyplot.figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=heights)
    _gantt(figure.add_subplot(grid[0, :]), made)
    for column, hours in enumerate((by_phase, by_task)):
        axes = figure.add_subplot(grid[1, column])
        axes.barh(list(hours)[::-1], list(hours.values())[::-1], color="#bbbbbb")
        axes.set_xlabel(f"{made.unit} hours by {('phase', 'task')[column]}")
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _hours(made: Budget, by: str) -> dict[str, float]:
    hours: dict[str, float] = {}
    for row in made.rows:
        if row.hours:
            hours[getattr(row, by)] = hours.get(getattr(row, by), 0.0) + row.hours
    return dict(sorted(hours.items(), key=lambda item: -item[1]))


def _gantt(axes: Any, made: Budget) -> None:
    for phase in ON_DEVICE:
        bars = [(lane, start, end) for name, lane, start, end in lanes(made) if name.split("/")[0] == phase]
        if bars:
            numbers, starts, ends = zip(*bars, strict=True)
            lengths = [(end - start) / 3600 for start, end in zip(starts, ends, strict=True)]
            left = [start / 3600 for start in starts]
            style = {"color": _COLOURS[phase], "edgecolor": "white", "linewidth": 0.3}
            axes.barh(numbers, lengths, left=left, height=0.9, label=phase, **style)
    axes.set_xlabel(f"hours, simulated on {made.gpus} {made.unit}s of {made.device.name}")
    axes.set_ylabel(made.unit)
    axes.invert_yaxis()
    if made.rows:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def lanes(made: Budget) -> Iterator[tuple[str, int, float, float]]:
    """Every job's name, one device that it holds (from 1), start and end in seconds; once for each of its devices."""
    schedule = made.schedule(made.gpus)
    held = {str(job.key): min(job.demand[made.unit], made.gpus) for job in made.jobs()}
    free = list(range(1, made.gpus + 1))
    busy: list[tuple[float, int]] = []
    for key, start in sorted(schedule.starts.items(), key=lambda item: item[1]):
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        for _ in range(held[str(key)]):
            lane = heapq.heappop(free)
            heapq.heappush(busy, (schedule.ends[key], lane))
            yield str(key), lane, start, schedule.ends[key]
