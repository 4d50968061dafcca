"""Exact search at BUCC's size: time and peak memory of the neighbours in both directions, on random vectors.

    python benchmarks/search_size.py --sentences 100000 --of 400000

One process, one thread (or one GPU with --device cuda). Time grows with the product of both sides, memory with
their sum; a smaller run is extrapolated to `--of` sentences a side, and says so.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from xstilts import provenance
from xstilts.evaluation import search


def vectors(count: int, width: int, seed: int) -> torch.Tensor:
    """Random vectors of length 1, made in place so that the benchmark itself adds nothing to the peak."""
    made = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return made.div_(made.norm(dim=1, keepdim=True))


def measure(count: int, width: int, neighbours: int, device: torch.device) -> float:
    """Seconds for `count` vectors a side, after a small warm-up."""
    x, y = vectors(count, width, 1), vectors(count, width, 2)
    search.best_by_margin(x[:8192], y[:8192], neighbours, device)
    started = time.perf_counter()
    search.best_by_margin(x, y, neighbours, device)
    return time.perf_counter() - started


def main() -> None:
    """Measure, extrapolate, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=100_000, help="vectors a side that are searched")
    parser.add_argument("--of", type=int, default=400_000, help="vectors a side to extrapolate to")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--neighbours", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(given.sentences, given.width, given.neighbours, torch.device(given.device))
    peak = provenance.peak_memory_mib()
    found = {
        "device": provenance.device(),
        "sentences": given.sentences,
        "width": given.width,
        "seconds": round(seconds, 1),
        "gflops": round(2e-9 * given.width * given.sentences**2 / seconds, 1),
        "peak_memory_mib": peak,
        "extrapolated_to": given.of,
        "extrapolated_seconds": round(seconds * (given.of / given.sentences) ** 2),
        "extrapolated_vectors_mib": round(2 * given.of * given.width * 4 / 2**20),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
