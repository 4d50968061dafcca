"""How a batch is split over devices, and how many steps a training has: plain arithmetic, for plans too."""

from __future__ import annotations

import math

from xstilts.errors import ConfigError
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
