"""Time per training step of XLM-R Large in bf16 on a GPU, by task and batch, against a roofline; and MFU.

    python benchmarks/gpu_step.py [--tasks mnli hellaswag udpos squad_v1 full] [--batches 16 32]

The workflow's trainer as it trains (dropout on, fused AdamW on fp32 weights, clipping), random token ids with lengths
from src/xstilts/data/lengths.yaml; `full` are span inputs of 384 tokens each. The roofline is the sum of

- matrix products of the encoder and the head, forward and backward (three times the forward pass), those of attention
  over pairs of tokens of one sequence among them, as xstilts.budget.loads counts them (where a head reads first tokens
  alone, without what the last layer is spared), at the rate of the best plain bf16 product of two square matrices
  measured just before;
- optimizer and clipping traffic, 40 bytes a parameter in fp32, at the bandwidth of a large copy measured just before:
  clipping reads, reads and writes gradients (12); AdamW reads weight, gradient and two moments, writes three (28).

Not in it: elementwise kernels, casts of weights to bf16, launches, the host. MFU is the same operations over the
step's seconds and the printed peak of src/xstilts/data/devices.yaml. The result goes to
benchmarks/results/gpu_step.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import measured
import training
from xstilts.budget import devices
from xstilts.budget.architecture import BACKWARD, Architecture
from xstilts.budget.loads import Model
from xstilts.tasks.base import Kind

# Task: kind, outputs of its head, sequences of an input.
TASKS: dict[str, tuple[Kind, int, int]] = {
    "mnli": ("pair", 3, 1),
    "hellaswag": ("choice", 0, 4),
    "udpos": ("tagging", 17, 1),
    "squad_v1": ("span", 0, 1),
    "full": ("span", 0, 1),
}
FULL = 384
UPDATE = 40  # bytes a parameter and step
SIZES = (4096, 8192, 16384)
COPIED = 2**30  # bytes

Ceilings = dict[str, float]


def best(work: Callable[[], Any], tries: int = 20) -> float:
    """Least seconds of some work on the GPU."""
    seconds = []
    for _ in range(tries + 3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[3:])


def ceilings() -> Ceilings:
    """Operations a second of bf16 products, and bytes a second of a copy (read and written)."""
    rates = []
    for size in SIZES:
        a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        rates.append(2 * size**3 / best(partial(torch.matmul, a, b)))
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return {"matmul": max(rates), "bandwidth": 2 * COPIED / best(lambda: target.copy_(source))}


def inputs(task: str, count: int, vocabulary: int, rng: np.random.Generator) -> list[training.Input]:
    """Random inputs of a task, with all that its kind is trained with."""
    kind, labels, sequences = TASKS[task]
    total = count * sequences
    sizes = [FULL] * total if task == "full" else training.lengths(task, total, rng).tolist()
    ids = [rng.integers(5, vocabulary, n).astype(np.int32) for n in sizes]
    if kind == "choice":
        rows = [ids[k : k + sequences] for k in range(0, total, sequences)]
        return [{"input_ids": row, "tokens": sum(map(len, row)), "label": len(row[0]) % sequences} for row in rows]
    return [{"input_ids": one, "tokens": len(one), **_target(kind, labels, len(one))} for one in ids]


def _target(kind: Kind, labels: int, size: int) -> dict[str, Any]:
    if kind == "pair":
        return {"label": size % labels}
    if kind == "span":
        return {"labels": [1, size // 2]}
    return {"labels": np.arange(size, dtype=np.int32) % labels}


def roofline(task: str, steps: list[list[training.Input]], model: Model, found: Ceilings) -> dict[str, float]:
    """Seconds of an average step by part, and its operations."""
    choice = TASKS[task][0] == "choice"
    rows = [one["input_ids"] if choice else [one["input_ids"]] for step in steps for one in step]
    sizes = np.array([len(ids) for row in rows for ids in row], dtype=float)
    forward = model.operations(sizes.sum(), (sizes**2).sum(), len(sizes))
    operations = (1 + BACKWARD) * forward / len(steps)
    update = UPDATE * model.size.parameters / found["bandwidth"]
    return {"products": operations / found["matmul"], "update": update, "operations": operations}


def measure(given: argparse.Namespace, task: str, batch: int, found: Ceilings, seed: int) -> dict[str, float]:
    """One training: seconds of a step, over the roofline, and MFU (0 for a GPU whose peak is not known)."""
    given = argparse.Namespace(**{**vars(given), "batch": batch})
    kind, labels, _ = TASKS[task]
    rng, clock = np.random.default_rng(seed), training.Clock(processor=False)
    torch.manual_seed(seed)
    made = inputs(task, training.examples(given), training.shape(given).vocab_size, rng)
    with tempfile.TemporaryDirectory() as work:
        args = training.settings(given, seed, work)
        trainer, order = training.ours(given, kind, tuple(map(str, range(labels))), made, args, clock)
        trainer.train()
    steps = [[made[i] for i in order[k : k + batch]] for k in range(batch, len(order), batch)]
    seconds = (clock.ends[-1] - clock.ends[0]) / len(steps)
    encoder = Architecture.of_config(training.shape(given).to_dict(), "XLM-R")
    parts = roofline(task, steps, Model(encoder, kind, labels, given.precision), found)
    device = devices.recorded(torch.cuda.get_device_name()) if given.device == "cuda" else None
    limit = parts["products"] + parts["update"]
    mfu = parts["operations"] / seconds / device.peak["bf16"] if device else 0.0
    return {"seconds": seconds, "roofline": limit, "over_roofline": seconds / limit, "mfu": mfu, **parts}


def show(name: str, step: dict[str, float]) -> None:
    """Print a line."""
    print(f"{name}: {1e3 * step['seconds']:.0f} ms, {step['over_roofline']:.2f} of roofline, MFU {step['mfu']:.0%}")


def main() -> None:
    """Measure, print and keep."""
    parser = training.parser(__doc__)
    parser.set_defaults(device="cuda", precision="bf16", layers=24, width=1024, steps=20)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32])
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("gpu_step: no GPU is visible here; run it on a machine with one")
    torch.set_num_threads(given.threads)
    found = ceilings()
    print(f"measured: {found['matmul'] / 1e12:.0f} Tflop/s, {found['bandwidth'] / 1e12:.2f} TB/s")
    rows: dict[str, list[dict[str, float]]] = {
        f"{task} x {batch}": [] for task in given.tasks for batch in given.batches
    }
    for repeat in range(given.repeats):
        for name, own in rows.items():
            task, batch = name.split(" x ")
            own.append(measure(given, task, int(batch), found, given.seed + repeat))
            show(name, own[-1])
    measured.keep("gpu_step", given, ceilings=found, steps=rows)


if __name__ == "__main__":
    main()
