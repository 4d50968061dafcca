"""Which examples make up which step: the same whatever the number of devices and the size of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class Order:
    """The endless order of examples: one seeded permutation after the other, each of all examples."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self._seed = size, seed
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def take(self, start: int, stop: int) -> list[int]:
        """Examples at positions `start` to `stop` of the order."""
        taken: list[int] = []
        while start < stop:
            epoch, first = divmod(start, self.size)
            last = min(self.size, first + stop - start)
            taken += self._of(epoch)[first:last].tolist()
            start += last - first
        return taken

    def _of(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, np.random.default_rng([self._seed, epoch]).permutation(self.size)
        return self._permutation


@dataclass(frozen=True)
class MicroBatches:
    """A rank's share of every step, forward pass by forward pass; a batch sampler for a DataLoader.

    A step's examples are sorted by length before they are dealt out, so that what is padded together, and what the
    ranks compute at the same time, is alike. The loss is summed over the whole step, so this changes no result.

    Args:
        lengths: tokens of every example.
        steps: optimizer steps.
        batch: examples per step, `micro` x passes x `ranks`.
    """

    lengths: Sequence[int]
    order: Order
    steps: int
    batch: int
    micro: int
    ranks: int
    rank: int

    def __len__(self) -> int:
        return self.steps * self.batch // (self.micro * self.ranks)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.steps):
            examples = self.examples(step)
            for start in range(self.rank * self.micro, self.batch, self.ranks * self.micro):
                yield examples[start : start + self.micro]

    def examples(self, step: int) -> list[int]:
        """Examples of one step (from 0), of all ranks, shortest first."""
        return sorted(self.order.take(step * self.batch, (step + 1) * self.batch), key=self.lengths.__getitem__)

    def tokens(self, steps: int) -> int:
        """Real tokens, padding apart, that all ranks together see in the first steps."""
        epochs, rest = divmod(steps * self.batch, self.order.size)
        begun = self.order.take(epochs * self.order.size, epochs * self.order.size + rest)
        return epochs * sum(self.lengths) + sum(self.lengths[i] for i in begun)
