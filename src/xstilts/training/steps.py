"""How a batch is split over devices, and how many steps a training has: plain arithmetic, for plans too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xstilts.errors import ConfigError
from xstilts.schema.arms import Mixture
from xstilts.schema.training import Hyperparameters


def split(batch: int, ranks: int, micro_batch: int | None) -> tuple[int, int]:
    """Examples per device and forward pass, and forward passes per step; with the ranks they give `batch` exactly.

    Args:
        batch: examples per optimizer step.
        micro_batch: examples per device and forward pass at most; None for the whole share of a device.

    Raises:
        ConfigError: they cannot give `batch` exactly; names the nearest numbers that can.
    """
    share, rest = divmod(batch, ranks)
    if rest:
        problem = f"{ranks} ranks cannot share a batch of {batch}"
        raise ConfigError("compute.ranks", problem, f"use {_nearest(batch, ranks)}")
    micro = min(micro_batch or share, share)
    if share % micro:
        problem = f"passes of {micro} do not add up to a batch of {batch} on {ranks} rank(s)"
        raise ConfigError("compute.micro_batch", problem, f"use {_nearest(share, micro)}")
    return micro, share // micro


def halved(batch: int, ranks: int, micro_batch: int | None) -> int | None:
    """The largest micro-batch of at most half the size that gives `batch` exactly; None if there is none."""
    micro, passes = split(batch, ranks, micro_batch)
    return max((n for n in range(1, micro // 2 + 1) if micro * passes % n == 0), default=None)


def fitting(batch: int, ranks: int, micro_batch: int | None) -> int:
    """Examples per device and forward pass: the most that divide a device's share and are not over the limit."""
    share = batch // ranks
    return max(n for n in range(1, min(micro_batch or share, share) + 1) if share % n == 0)


def _nearest(number: int, wish: int) -> str:
    """The divisors of `number` next to `wish`."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    below, above = max(n for n in divisors if n <= wish), min((n for n in divisors if n >= wish), default=number)
    return str(below) if below == above or wish > number else f"{below} or {above}"


def total_steps(inputs: int, hyper: Hyperparameters) -> int:
    """Optimizer steps of a training; epochs are rounded up to whole steps, for every step takes a full batch."""
    if hyper.epochs is None:
        assert hyper.steps is not None
        return hyper.steps
    return math.ceil(hyper.epochs * inputs / hyper.batch)


def rates(sizes: Sequence[int], mixture: Mixture) -> list[float]:
    """Share of the steps that train each task: min(e, K) / sum of min(e, K), or another rule of `Mixture.sampling`.

    Args:
        sizes: examples of each task.
    """
    weights = [_weight(size, mixture) for size in sizes]
    return [weight / sum(weights) for weight in weights]


def _weight(size: int, mixture: Mixture) -> float:
    capped = min(size, mixture.cap)
    by_rule: dict[str, float] = {
        "capped": capped,
        "proportional": size,
        "uniform": 1,
        "temperature": capped ** (1 / mixture.temperature),
    }
    return by_rule[mixture.sampling]


def mixed_steps(sizes: Sequence[int], shares: Sequence[float], alone: Sequence[int | None], mixture: Mixture,
                batches: Sequence[int]) -> int:  # fmt: skip
    """Optimizer steps of a training that mixes tasks.

    own_epochs: the steps that the tasks take alone, in sum, so that a lone task beside MLM keeps its epochs and MLM's
    steps come on top. capped_counts: `epochs` passes over min(e, cap) examples of every task, in its own batches.

    Args:
        sizes: examples of each task.
        shares: its rate.
        alone: steps that it takes alone; None for MLM.
        batches: its examples per step.
    """
    if mixture.length == "capped_counts":
        passes = (min(size, mixture.cap) / batch for size, batch in zip(sizes, batches, strict=True))
        return _whole(mixture.epochs * sum(passes))
    own = [(share, steps) for share, steps in zip(shares, alone, strict=True) if steps is not None]
    return _whole(sum(steps for _, steps in own) / sum(share for share, _ in own))


def _whole(steps: float) -> int:
    """Steps rounded up, but not for the last bits of a sum."""
    return math.ceil(round(steps, 6))
