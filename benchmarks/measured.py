"""What the benchmarks share: turns, ratios repeat by repeat, the machine's description, and where results go."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from xstilts import provenance

RESULTS = Path(__file__).parent / "results"

Spread = dict[str, float]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A benchmark's arguments: the number of repeats, and which seconds count."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--processor", action="store_true", help="count processor seconds: for a machine that others use")
    return made


def in_turns(systems: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """What each system measures, one after the other in every repeat."""
    found: dict[str, list[float]] = {name: [] for name in systems}
    for repeat in range(repeats):
        for name, measure in systems.items():
            found[name].append(measure())
            print(f"repeat {repeat + 1}: {name}: {found[name][-1]:.3f}", flush=True)
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Ratios repeat by repeat: median, least, most."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def spread(values: Sequence[float]) -> Spread:
    """Median, least, most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def told(spread: Spread) -> str:
    """A spread as text."""
    return f"{spread['median']:.2f} ({spread['least']:.2f} to {spread['most']:.2f})"


def alone(measure: Callable[..., float], *arguments: Any) -> float:
    """What a function measures in a fresh process: one that others used before has memory at hand."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def child(command: Sequence[str], *, environment: Mapping[str, str] | None = None, processor: bool = False) -> Spread:
    """Run a command: its seconds, and the largest resident memory in MiB of it and of those that it waited for.

    Raises:
        SystemExit: it failed; the end of what it said is shown.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said[-3000:]}")
    return {"seconds": _processor(usage) if processor else wall, "mib": usage.ru_maxrss / 1024}


def _processor(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def clock(processor: bool) -> Callable[[], float]:
    """The seconds that count: of this process's processors, or the wall clock's."""
    return time.process_time if processor else time.perf_counter


def keep(name: str, settings: argparse.Namespace, **found: Any) -> None:
    """Write benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    whole = {"settings": vars(settings), "machine": machine(), **found}
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1, default=str) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and how busy it was."""
    cpu = next((x.split(":")[1].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "")
    return {"device": provenance.device(), "cpu": cpu, "cores": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0], **provenance.versions(), "system": platform.platform(),
            "date": time.strftime("%Y-%m-%d")}  # fmt: skip


def _lines(path: str) -> Iterator[str]:
    return iter(Path(path).read_text(encoding="utf-8").splitlines())
