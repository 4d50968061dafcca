"""Peak memory of training by micro-batch: ours beside the Hugging Face Trainer's padding.

    python benchmarks/memory.py [--micros 4 8 16 32] [--layers 12]
    python benchmarks/memory.py --device cuda --precision bf16 --layers 24 --width 1024 --lengths squad_v1

Every number is of a process of its own, which trains as benchmarks/training.py does (model, lengths, effective batch)
with passes of so many examples: on a GPU the largest allocation there, else the largest resident memory of the
process. Repeats have other seeds, hence other lengths. The result goes to
benchmarks/results/memory-<lengths>-<device>.json.
"""

from __future__ import annotations

import argparse

import measured
import training
from xstilts import provenance


def peak(given: argparse.Namespace, system: str, seed: int) -> float:
    """MiB at most, in this process."""
    training.run(given, system, seed)
    return provenance.peak_memory_mib()["host" if given.device == "cpu" else "device"]


def measure(given: argparse.Namespace) -> dict[int, dict[str, list[float]]]:
    """MiB by micro-batch, system and repeat."""
    found: dict[int, dict[str, list[float]]] = {m: {system: [] for system in given.systems} for m in given.micros}
    for repeat in range(given.repeats):
        for micro, peaks in found.items():
            for system, own in peaks.items():
                small = argparse.Namespace(**{**vars(given), "micro": micro})
                own.append(measured.alone(peak, small, system, given.seed + repeat))
                print(f"repeat {repeat + 1}: micro-batch {micro}: {system}: {own[-1]:.0f} MiB", flush=True)
    return found


def main() -> None:
    """Measure, print and keep."""
    parser = training.parser(__doc__)
    parser.add_argument("--micros", type=int, nargs="+", default=[4, 8, 16, 32], help="examples of a pass")
    parser.add_argument("--systems", nargs="+", default=["fixed 128", "dynamic", "ours"])
    given = parser.parse_args()
    if any(given.batch % micro for micro in given.micros):
        raise SystemExit(f"--micros: each must divide --batch {given.batch}, or the peers' batches would differ")
    found = measure(given)
    ratios = {
        micro: {system: measured.ratios(peaks["ours"], own) for system, own in peaks.items() if system != "ours"}
        for micro, peaks in found.items()
    }
    for micro, own in ratios.items():
        print(f"micro-batch {micro}: ours to " + ", ".join(f"{name} {measured.told(r)}" for name, r in own.items()))
    measured.keep(f"memory-{given.lengths}-{given.device}", given, mib=found, ours_to=ratios)


if __name__ == "__main__":
    main()
