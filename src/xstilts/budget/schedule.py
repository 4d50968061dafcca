"""How long a graph of jobs takes on limited resources: list scheduling, as Snakemake's greedy scheduler does it.

Whenever something ends, of all jobs whose needs are met those of the highest priority start first, as far as the
resources go; a job that does not fit lets smaller ones pass.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

Demand = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        seconds: its run time.
        needs: jobs that end before it starts.
        demand: resource: how much of it the job holds; what is not limited need not be named.
        priority: higher ones start first, among equals the one that comes first in the list.
    """

    key: Hashable
    seconds: float
    needs: tuple[Hashable, ...] = ()
    demand: Mapping[str, int] = field(default_factory=dict)
    priority: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """When each job starts and ends, in seconds."""

    starts: Mapping[Hashable, float]
    ends: Mapping[Hashable, float]

    @property
    def makespan(self) -> float:
        """Seconds from the first start to the last end."""
        return max(self.ends.values(), default=0.0)


def simulate(jobs: Sequence[Job], capacity: Mapping[str, int]) -> Schedule:
    """Run the jobs, in thought.

    Args:
        jobs: needs that are not among them count as met.
        capacity: resource: how much there is; what is not named is not limited. A job that demands more than there is
            takes all of it.
    """
    run = _Run(jobs, capacity)
    while run.start_what_fits() or run.running:
        run.finish_next()
    return Schedule(run.starts, run.ends)


class _Run:
    def __init__(self, jobs: Sequence[Job], capacity: Mapping[str, int]) -> None:
        self.free, self.now = dict(capacity), 0.0
        self.starts: dict[Hashable, float] = {}
        self.ends: dict[Hashable, float] = {}
        self.running: list[tuple[float, int]] = []
        self._jobs = jobs
        self._ready: dict[Demand, list[tuple[float, int]]] = {}
        self._demands = [_bounded(job.demand, capacity) for job in jobs]
        place = {job.key: i for i, job in enumerate(jobs)}
        self._after: list[list[int]] = [[] for _ in jobs]
        self._waiting = [0] * len(jobs)
        for i, job in enumerate(jobs):
            for need in {place[key] for key in job.needs if key in place}:
                self._after[need].append(i)
                self._waiting[i] += 1
        for i, number in enumerate(self._waiting):
            if not number:
                self._offer(i)

    def _offer(self, i: int) -> None:
        heapq.heappush(self._ready.setdefault(self._demands[i], []), (-self._jobs[i].priority, i))

    def start_what_fits(self) -> bool:
        """Start all that can start now; False if nothing could."""
        started = False
        while (demand := self._next()) is not None:
            _, i = heapq.heappop(self._ready[demand])
            if not self._ready[demand]:
                del self._ready[demand]
            for name, amount in demand:
                self.free[name] -= amount
            self.starts[self._jobs[i].key] = self.now
            heapq.heappush(self.running, (self.now + self._jobs[i].seconds, i))
            started = True
        return started

    def _next(self) -> Demand | None:
        """The demand of the first ready job that fits; jobs of one demand wait in one queue."""
        fitting = (d for d in self._ready if all(self.free[name] >= amount for name, amount in d))
        return min(fitting, key=lambda demand: self._ready[demand][0], default=None)

    def finish_next(self) -> None:
        """Go on to the next end of a job, or of several that end at once."""
        self.now = self.running[0][0]
        while self.running and self.running[0][0] <= self.now:
            end, i = heapq.heappop(self.running)
            self.ends[self._jobs[i].key] = end
            for name, amount in self._demands[i]:
                self.free[name] += amount
            for later in self._after[i]:
                self._waiting[later] -= 1
                if not self._waiting[later]:
                    self._offer(later)


def _bounded(demand: Mapping[str, int], capacity: Mapping[str, int]) -> Demand:
    return tuple((name, min(n, capacity[name])) for name, n in sorted(demand.items()) if name in capacity and n)


def critical_path(jobs: Sequence[Job]) -> list[Job]:
    """The chain of needs that takes longest, in order: no number of devices makes the graph faster than it."""
    by_key = {job.key: job for job in jobs}
    longest: dict[Hashable, float] = {}
    before: dict[Hashable, Hashable | None] = {}
    for job in _upstream_first(by_key):
        needs = [key for key in job.needs if key in by_key]
        before[job.key] = max(needs, key=lambda key: longest[key], default=None)
        longest[job.key] = job.seconds + (longest[before[job.key]] if needs else 0.0)
    path: list[Job] = []
    last = max(longest, key=lambda key: longest[key], default=None)
    while last is not None:
        path.append(by_key[last])
        last = before[last]
    return path[::-1]


def to_the_end(jobs: Sequence[Job]) -> dict[Hashable, float]:
    """Job: seconds from its start to the end of the longest chain of jobs that follow it."""
    by_key = {job.key: job for job in jobs}
    longest = dict.fromkeys(by_key, 0.0)
    for job in reversed(_upstream_first(by_key)):
        longest[job.key] += job.seconds
        for need in job.needs:
            if need in longest:
                longest[need] = max(longest[need], longest[job.key])
    return longest


def _upstream_first(by_key: Mapping[Hashable, Job]) -> list[Job]:
    found: dict[Hashable, Job] = {}
    stack = list(by_key)[::-1]
    while stack:
        key = stack[-1]
        open_needs = [need for need in by_key[key].needs if need in by_key and need not in found]
        if open_needs and key not in found:
            stack += open_needs
        else:
            found[stack.pop()] = by_key[key]
    return list(found.values())


def lower_bound(jobs: Sequence[Job], capacity: Mapping[str, int]) -> float:
    """Seconds that no schedule beats: the critical path, or a resource's work over its amount."""
    work = [
        sum(job.seconds * min(job.demand.get(name, 0), amount) for job in jobs) / amount
        for name, amount in capacity.items()
        if amount
    ]
    return max([sum(job.seconds for job in critical_path(jobs)), *work])
