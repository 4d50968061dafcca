"""The simulated schedule: optimal where list scheduling is, never below the bound, like Snakemake's own."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xstilts.budget.schedule import Job, critical_path, lower_bound, simulate, to_the_end


def tree(parents: list[int]) -> list[Job]:
    """Unit jobs, each needed by its parent (an in-tree); by Hu (1961) the farthest from the root must start first."""
    depth = [0]
    for parent in parents:
        depth.append(depth[parent] + 1)
    needs: dict[int, list[int]] = {i: [] for i in range(len(depth))}
    for child, parent in enumerate(parents, start=1):
        needs[parent].append(child)
    return [Job(i, 1.0, tuple(needs[i]), {"gpu": 1}, float(depth[i])) for i in range(len(depth))]


def optimum_of_units(jobs: list[Job], devices: int) -> int:
    """Fewest rounds for unit jobs, by trying every set of ready jobs in every round."""
    reached = {frozenset()}
    for rounds in itertools.count():
        if any(len(done) == len(jobs) for done in reached):
            return rounds
        following = set()
        for done in reached:
            ready = [job.key for job in jobs if job.key not in done and done.issuperset(job.needs)]
            for some in itertools.combinations(ready, min(devices, len(ready))):
                following.add(done | frozenset(some))
        reached = following
    raise AssertionError


parents = st.integers(1, 8).flatmap(lambda n: st.tuples(*(st.integers(0, i) for i in range(n))))


@settings(max_examples=60)
@given(parents=parents, devices=st.integers(1, 3))
def test_trees_of_unit_jobs_are_scheduled_optimally(parents: tuple[int, ...], devices: int) -> None:
    jobs = tree(list(parents))
    assert simulate(jobs, {"gpu": devices}).makespan == optimum_of_units(jobs, devices)


@settings(max_examples=60)
@given(seconds=st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_one_device_is_never_idle(seconds: list[int]) -> None:
    jobs = [Job(i, float(s), (i - 2,), {"gpu": 1}) for i, s in enumerate(seconds)]
    assert simulate(jobs, {"gpu": 1}).makespan == sum(seconds)


graphs = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 2), st.lists(st.integers(0, 30), max_size=3)), min_size=1, max_size=25
)


@settings(max_examples=150)
@given(graph=graphs, gpus=st.integers(1, 4), cores=st.integers(1, 4))
def test_every_schedule_is_valid_and_between_its_bounds(
    graph: list[tuple[int, int, list[int]]], gpus: int, cores: int
) -> None:
    jobs = [
        Job(i, float(s), tuple({n % i for n in needs} if i else ()), {"gpu": g, "cores": 1})
        for i, (s, g, needs) in enumerate(graph)
    ]
    capacity = {"gpu": gpus, "cores": cores}
    made = simulate(jobs, capacity)
    assert all(made.starts[job.key] >= made.ends[need] for job in jobs for need in job.needs)
    for moment in set(made.starts.values()):
        now = [j for j in jobs if made.starts[j.key] <= moment < made.ends[j.key]]
        assert all(sum(min(j.demand[name], amount) for j in now) <= amount for name, amount in capacity.items())
    assert lower_bound(jobs, capacity) - 1e-9 <= made.makespan <= sum(job.seconds for job in jobs)


def test_priorities_decide_who_starts_first() -> None:
    jobs = [
        Job("a", 5.0, (), {"gpu": 1}),
        Job("b", 1.0, (), {"gpu": 1}, priority=1.0),
        Job("c", 1.0, ("b",), {"gpu": 1}),
    ]
    made = simulate(jobs, {"gpu": 1})
    assert (made.starts["b"], made.starts["a"], made.makespan) == (0.0, 1.0, 7.0)


def test_a_job_that_demands_more_than_there_is_takes_all_of_it() -> None:
    jobs = [Job("wide", 2.0, (), {"gpu": 8}), Job("small", 1.0, (), {"gpu": 1})]
    assert simulate(jobs, {"gpu": 4}).makespan == 3.0


def test_the_critical_path_is_the_longest_chain() -> None:
    jobs = [Job("a", 1.0), Job("b", 5.0), Job("c", 1.0, ("a", "b")), Job("d", 4.0, ("a",))]
    assert [job.key for job in critical_path(jobs)] == ["b", "c"]


# Seconds, needs, priority: long enough that Snakemake's own time between jobs is little beside them.
SLEEPS = {
    "a": (4.0, (), 1),
    "b": (2.0, (), 5),
    "c": (3.0, ("a",), 2),
    "d": (5.0, ("b",), 4),
    "e": (1.0, ("c", "d"), 0),
    "f": (4.0, ("b",), 3),
}


@pytest.mark.slow
def test_snakemake_takes_as_long_as_the_simulation(tmp_path: Path) -> None:
    rules = [
        f"rule {name}:\n    input: {[f'{n}.out' for n in needs]}\n    output: '{name}.out'\n    priority: {priority}\n"
        f"    shell: 'date +%s.%N > {{output}}; sleep {seconds}; date +%s.%N >> {{output}}'\n"
        for name, (seconds, needs, priority) in SLEEPS.items()
    ]
    front = f"rule all:\n    input: {[f'{name}.out' for name in SLEEPS]}\n"
    (tmp_path / "Snakefile").write_text(front + "\n".join(rules), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--scheduler", "greedy", "--quiet"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    times = [float(x) for name in SLEEPS for x in (tmp_path / f"{name}.out").read_text().split()]
    jobs = [Job(name, seconds, needs, {"cores": 1}, rank) for name, (seconds, needs, rank) in SLEEPS.items()]
    assert max(times) - min(times) == pytest.approx(simulate(jobs, {"cores": 2}).makespan, rel=0.1)


def test_time_to_the_end_is_that_of_the_longest_chain_from_here() -> None:
    jobs = [Job("d", 1, ("b", "c")), Job("b", 5, ("a",)), Job("c", 2, ("a", "gone")), Job("a", 3), Job("alone", 4)]
    assert to_the_end(jobs) == {"a": 9, "b": 6, "c": 3, "d": 1, "alone": 4}
