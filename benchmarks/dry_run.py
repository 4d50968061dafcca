"""Time and memory of a dry run, from some 500 to 20,000 jobs, beside a bare Snakemake graph of the same shape.

    python benchmarks/dry_run.py [--jobs 500 2000 5000 20000] [--processor]

Ours is the mini study with more seeds and backbones, nothing of which has been run: `snakemake --dry-run` as a user
starts it, its explanation of what would run and its costs included. The bare graph has the same jobs and the same
files: a rule for each of ours, its inputs looked up in a table, one command that does nothing, no digests and no
explanation. Both are read with the same Snakemake, in turns, output to a pipe. Memory is the largest resident one of
the process. The result goes to benchmarks/results/dry_run.json.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import measured
from xstilts import command
from xstilts.config import load
from xstilts.study import Plan, Step

SEEDS = 10  # of a backbone, at most
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1")
BARE = """import json
from pathlib import Path
GRAPH = json.loads(Path({graph!r}).read_text())
rule all:
    input: GRAPH["targets"]
"""
RULE = """
rule {name}:
    input: lambda wildcards: GRAPH["inputs"]["{name}/" + wildcards.job]
    output: {outputs}
    shell: "true"
"""

Config = dict[str, Any]
Graph = dict[Step | None, list[str]]


def config(jobs: int) -> Config:
    """The mini study with seeds, and copies of its backbone, for about so many jobs."""
    study: Config = yaml.safe_load(Path("config/mini.yaml").read_text(encoding="utf-8")) | {"study": "dry-run"}
    one, two = (len(steps(_grown(study, 1, seeds))) for seeds in (1, 2))
    needed = max(1, round((jobs - one) / (two - one)) + 1)
    backbones = math.ceil(needed / SEEDS)
    return _grown(study, backbones, round(needed / backbones))


def _grown(study: Config, backbones: int, seeds: int) -> Config:
    numbers = list(range(1, seeds + 1))
    (backbone,) = study["backbones"].values()
    copies = {f"mini-{k}": backbone for k in range(backbones)}
    return {**study, "backbones": copies, "seeds": {"intermediate": numbers}}


def steps(study: Config) -> Graph:
    """The jobs of `all_matrix`, each with the paths that it reads; and under None, the paths that are asked for."""
    plan = Plan(load(study), scope="matrix")
    made = {path: step for step in plan.steps() for path in step.outputs}
    tables = [step for step in (plan.tabulate(), plan.figures(), plan.overlap()) if plan.wanted(step)]
    targets = [*plan.predictions(), *(path for step in tables for path in step.outputs)]
    found: Graph = {None: targets}
    left = [*tables, *(made[path] for path in plan.predictions())]
    while left:
        step = left.pop()
        if step not in found:
            needs = plan.reads(step)
            found[step] = [path for _, path in needs]
            left += [need for need, _ in needs]
    return found


def rule(step: Step) -> str:
    """The name of the bare rule of a step: datasets and train sets have rules of their own in ours, too."""
    own = {"prepare": 0, "predict": 2}
    return re.sub(r"\W", "_", step.phase + (f"_{step.folders[own[step.phase]]}" if step.phase in own else ""))


def bare(graph: Graph, folder: Path) -> Path:
    """A Snakefile of the same graph without what ours adds."""
    jobs = {step: f"{rule(step)}/{number}" for number, step in enumerate(filter(None, graph))}
    names = {path: f"{job}/{k}" for step, job in jobs.items() for k, path in enumerate(step.outputs)}
    outputs = {rule(step): [f"{rule(step)}/{{job}}/{k}" for k in range(len(step.outputs))] for step in jobs}
    inputs = {job: [names[path] for path in graph[step]] for step, job in jobs.items()}
    table = folder / "graph.json"
    table.write_text(json.dumps({"inputs": inputs, "targets": [names[path] for path in graph[None]]}), encoding="utf-8")
    rules = (RULE.format(name=name, outputs=", ".join(map(repr, made))) for name, made in outputs.items())
    snakefile = folder / "Snakefile"
    snakefile.write_text(BARE.format(graph=str(table)) + "".join(rules), encoding="utf-8")
    return snakefile


def measure(jobs: int, given: Any) -> dict[str, Any]:
    """Ours and the bare graph at one size."""
    study = config(jobs)
    graph = steps(study)
    with tempfile.TemporaryDirectory() as work:
        file = Path(work, "study.yaml")
        file.write_text(yaml.safe_dump(study), encoding="utf-8")
        snakefile = bare(graph, Path(work))
        runs = {
            "ours": (*SNAKEMAKE, "all_matrix", "--configfile", str(file)),
            "bare": (*SNAKEMAKE, "--snakefile", str(snakefile), "--directory", work),
        }
        memory: dict[str, list[float]] = {name: [] for name in runs}
        systems = {name: _timed(run, memory[name], given.processor) for name, run in runs.items()}
        seconds = measured.in_turns(systems, given.repeats)
    times, sizes = (measured.ratios(of["ours"], of["bare"]) for of in (seconds, memory))
    print(
        f"{len(graph) - 1} jobs: ours to bare: time {measured.told(times)}, memory {measured.told(sizes)}", flush=True
    )
    return {
        "jobs": len(graph) - 1,
        "seconds": seconds,
        "mib": memory,
        "time_ours_to_bare": times,
        "memory_ours_to_bare": sizes,
    }


def _timed(run: tuple[str, ...], memory: list[float], processor: bool) -> Callable[[], float]:
    def timed() -> float:
        found = measured.child(run, processor=processor)
        memory.append(found["mib"])
        return found["seconds"]

    return timed


def main() -> None:
    """Measure, print and keep."""
    parser = measured.parser(__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[500, 2000, 5000, 20000], help="sizes, about")
    given = parser.parse_args()
    measured.keep("dry_run", given, sizes=[measure(jobs, given) for jobs in given.jobs])


if __name__ == "__main__":
    command.run(main)
