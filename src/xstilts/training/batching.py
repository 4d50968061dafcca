"""Which examples make up which step: the same whatever the number of devices and the size of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xstilts import cuts

_DRAWS = 2**31  # the stream of the draws of tasks, which no task's own has


class Order:
    """The endless order of one task's examples: one seeded permutation after the other, each of all examples.

    Args:
        stream: tells tasks of one training apart.
    """

    def __init__(self, size: int, seed: int, stream: int = 0) -> None:
        self.size, self._seed = size, [seed, stream]
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
            self._epoch, self._permutation = epoch, np.random.default_rng([*self._seed, epoch]).permutation(self.size)
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


class Schedule:
    """Which task each step trains, and on which of its examples: a pure function of the seed and the step.

    Args:
        sizes: inputs of each task, which follow each other in one list of inputs.
        batches: examples per step of each task.
        shares: rate of each task.
        steps: optimizer steps.
    """

    def __init__(
        self, sizes: Sequence[int], batches: Sequence[int], shares: Sequence[float], steps: int, seed: int
    ) -> None:
        self.batches, self.steps = tuple(batches), steps
        self._orders = [Order(size, seed, k) for k, size in enumerate(sizes)]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self.tasks = draws(shares, steps, seed)
        self._nth = np.zeros(steps, dtype=np.int64)  # earlier steps of the same task
        for k in range(len(sizes)):
            self._nth[self.tasks == k] = np.arange(np.count_nonzero(self.tasks == k))

    def examples(self, step: int) -> tuple[int, list[int]]:
        """The task of a step (from 0) and its inputs, in the order of the task."""
        task, nth = int(self.tasks[step]), int(self._nth[step])
        batch, first = self.batches[task], self._first[task]
        return task, [first + i for i in self._orders[task].take(nth * batch, (nth + 1) * batch)]

    def counts(self, steps: int) -> list[int]:
        """How many of the first steps train each task."""
        return [int(n) for n in np.bincount(self.tasks[:steps], minlength=len(self.batches))]

    def tokens(self, lengths: Sequence[int], steps: int) -> list[int]:
        """Real tokens of each task, padding apart, that all ranks together see in the first steps.

        Args:
            lengths: tokens of every input.
        """
        return [self._tokens(lengths, k, count) for k, count in enumerate(self.counts(steps))]

    def _tokens(self, lengths: Sequence[int], task: int, count: int) -> int:
        order, own = self._orders[task], lengths[self._first[task] : self._first[task + 1]]
        epochs, rest = divmod(count * self.batches[task], order.size)
        begun = order.take(epochs * order.size, epochs * order.size + rest)
        return epochs * sum(own) + sum(own[i] for i in begun)


def draws(shares: Sequence[float], steps: int, seed: int) -> NDArray[np.int64]:
    """The task of every step, drawn at these rates; a longer training begins with the same draws."""
    luck = np.random.default_rng([seed, _DRAWS]).random(steps)
    edges = np.cumsum(shares)
    return np.searchsorted(edges / edges[-1], luck, side="right").astype(np.int64)


@dataclass(frozen=True)
class MicroBatches:
    """A rank's share of every step, as the forward passes that it is computed in; a batch sampler for a DataLoader.

    A step's examples are sorted by length and dealt out one by one, so that the ranks' shares are alike, and every
    rank cuts its share at the same places: in each pass all compute about the same, and all have the same number of
    passes, as sharded models need. The loss is summed over the whole step, so this changes no result.

    Args:
        lengths: tokens of every example.
        schedule: the examples of every step, of all ranks; their number is a multiple of `ranks`.
    """

    lengths: Sequence[int]
    schedule: Schedule
    limits: Limits = Limits()
    ranks: int = 1
    rank: int = 0

    def __len__(self) -> int:
        return self.schedule.steps

    def __iter__(self) -> Iterator[list[list[int]]]:
        return (self.passes(step) for step in range(self.schedule.steps))

    def passes(self, step: int) -> list[list[int]]:
        """This rank's examples of one step (from 0), pass by pass."""
        examples = self.examples(step)
        own, longest = examples[self.rank :: self.ranks], examples[self.ranks - 1 :: self.ranks]
        return [own[start:stop] for start, stop in self.limits.cut([self.lengths[i] for i in longest])]

    def examples(self, step: int) -> list[int]:
        """Examples of one step (from 0), of all ranks, shortest first."""
        return sorted(self.schedule.examples(step)[1], key=self.lengths.__getitem__)

    def tokens(self, steps: int) -> int:
        """Real tokens, padding apart, that all ranks together see in the first steps."""
        return sum(self.schedule.tokens(self.lengths, steps))
