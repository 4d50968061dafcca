"""Which examples make up which step: the same whatever the number of devices and the size of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xstilts import cuts


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
class Limits:
    """What one forward pass of one device may hold, and what padding costs it; changes no result.

    Attributes:
        examples: at most; None: no limit.
        tokens: at most, padding included (a longer example goes alone); None: no limit.
        packed: does the model compute without padding?
        pass_cost: of one more pass, in tokens.
    """

    examples: int | None = None
    tokens: int | None = None
    packed: bool = False
    pass_cost: int = 100

    def cut(self, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """The passes (start, stop) over examples of these lengths, which ascend: as few as pay."""
        most = self.examples or len(lengths)
        return cuts.cut(lengths, self._cost, most=most, room=self.tokens)

    def _cost(self, rows: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        return self.pass_cost + (0 * rows if self.packed else rows * longest)


@dataclass(frozen=True)
class MicroBatches:
    """A rank's share of every step, as the forward passes that it is computed in; a batch sampler for a DataLoader.

    A step's examples are sorted by length and dealt out one by one, so that the ranks' shares are alike, and every
    rank cuts its share at the same places: in each pass all compute about the same, and all have the same number of
    passes, as sharded models need. The loss is summed over the whole step, so this changes no result.

    Args:
        lengths: tokens of every example.
        steps: optimizer steps.
        batch: examples per step, of all ranks; a multiple of `ranks`.
    """

    lengths: Sequence[int]
    order: Order
    steps: int
    batch: int
    limits: Limits = Limits()
    ranks: int = 1
    rank: int = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[list[int]]]:
        return (self.passes(step) for step in range(self.steps))

    def passes(self, step: int) -> list[list[int]]:
        """This rank's examples of one step (from 0), pass by pass."""
        examples = self.examples(step)
        own, longest = examples[self.rank :: self.ranks], examples[self.ranks - 1 :: self.ranks]
        return [own[start:stop] for start, stop in self.limits.cut([self.lengths[i] for i in longest])]

    def examples(self, step: int) -> list[int]:
        """Examples of one step (from 0), of all ranks, shortest first."""
        return sorted(self.order.take(step * self.batch, (step + 1) * self.batch), key=self.lengths.__getitem__)

    def tokens(self, steps: int) -> int:
        """Real tokens, padding apart, that all ranks together see in the first steps."""
        epochs, rest = divmod(steps * self.batch, self.order.size)
        begun = self.order.take(epochs * self.order.size, epochs * self.order.size + rest)
        return epochs * sum(self.lengths) + sum(self.lengths[i] for i in begun)
