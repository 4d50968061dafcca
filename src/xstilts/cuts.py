"""Lists of lengths, in ascending order, cut into runs that are computed together: as little padding as pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cost = Callable[[NDArray[np.int64], Any], Any]
"""What runs cost: called with their numbers of rows and their longest lengths (broadcast against each other)."""


def cut(lengths: Sequence[int], cost: Cost, *, most: int, room: int | None = None) -> list[tuple[int, int]]:
    """The runs (start, stop) of least total cost that together are all of `lengths`.

    Args:
        lengths: in ascending order; padding fills a run's rows up to its last.
        most: rows of a run at most.
        room: rows times longest length of a run at most; a row that is longer goes alone. None: no limit.
    """
    total = np.zeros(len(lengths) + 1)
    begin = np.zeros(len(lengths) + 1, dtype=np.int64)
    for stop, longest in enumerate(lengths, start=1):
        fitting = most if room is None else min(most, max(1, room // longest))
        starts = np.arange(max(0, stop - fitting), stop)
        totals = total[starts] + cost(stop - starts, longest)
        best = int(totals.argmin())
        total[stop], begin[stop] = totals[best], starts[best]
    return _followed(begin)


def _followed(begin: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The runs, from where the best one that ends at each place begins."""
    runs, stop = [], len(begin) - 1
    while stop:
        runs.append((int(begin[stop]), stop))
        stop = int(begin[stop])
    return runs[::-1]
