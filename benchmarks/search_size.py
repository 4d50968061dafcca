"""Exact search at BUCC's size: time and peak memory of the neighbours in both directions, on random vectors.

    python benchmarks/search_size.py --sentences 400000 --rows 40000 --threads 2

Both sides are in memory whole, so the peak is that of the whole search. With `--rows` only the first rows of one side
are searched; time grows with their number, and the result says what is extrapolated. `--library faiss` searches the
same with FAISS's exact index (`pip install faiss-cpu`), one index for each direction, as the published scripts do.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from typing import Any

import torch

from xstilts import provenance
from xstilts.evaluation import search


def vectors(count: int, width: int, seed: int) -> torch.Tensor:
    """Random vectors of length 1, made in place so that the benchmark itself adds nothing to the peak."""
    made = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return made.div_(made.norm(dim=1, keepdim=True))


def ours(x: torch.Tensor, y: torch.Tensor, neighbours: int, device: str) -> None:
    """Margins in both directions, as `predict` computes them."""
    search.best_by_margin(x, y, neighbours, torch.device(device))


def faiss(x: torch.Tensor, y: torch.Tensor, neighbours: int, _: str) -> None:
    """The neighbours in both directions from two exact indices; margins would come on top."""
    library: Any = importlib.import_module("faiss")
    library.omp_set_num_threads(torch.get_num_threads())
    for queries, base in ((x, y), (y, x)):
        index = library.IndexFlatIP(base.shape[1])
        index.add(base.numpy())
        index.search(queries.numpy(), neighbours)


def measure(given: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the search and of processors in it, after a small warm-up."""
    find = {"ours": ours, "faiss": faiss}[given.library]
    x, y = (vectors(given.sentences, given.width, seed) for seed in (1, 2))
    find(x[:8192], y[:8192], given.neighbours, given.device)
    started, computed = time.perf_counter(), time.process_time()
    find(x[: given.rows], y, given.neighbours, given.device)
    return time.perf_counter() - started, time.process_time() - computed


def main() -> None:
    """Measure, extrapolate to all rows, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=400_000, help="vectors a side")
    parser.add_argument("--rows", type=int, help="vectors of one side that are searched; default all")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--neighbours", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--library", choices=("ours", "faiss"), default="ours")
    given = parser.parse_args()
    given.rows = min(given.rows or given.sentences, given.sentences)
    torch.set_num_threads(given.threads)
    seconds, processors = measure(given)
    found = {
        **vars(given),
        "device": provenance.device(),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processors, 1),  # on a busy machine, these over the threads are the time it takes
        "gflops_per_processor": round(2e-9 * given.width * given.sentences * given.rows / processors, 1),
        "peak_memory_mib": provenance.peak_memory_mib(),
        "extrapolated_processor_seconds_for_all_rows": round(processors * given.sentences / given.rows),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
