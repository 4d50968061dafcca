"""Exact nearest neighbours by cosine, and mining of translation pairs by ratio margin.

Mining follows XTREME's third_party/utils_retrieve.py (after LASER, Artetxe and Schwenk 2019): every sentence's best
candidate in both directions, scored by its cosine over the mean cosine of both sentences' nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

_ROWS, _COLUMNS = 4096, 8192  # of one block of similarities: 128 MiB in float32
_GROUP = 32  # rows whose largest value is taken before columns are ranked


@dataclass
class Neighbours:
    """The nearest neighbours of n vectors, best first.

    Attributes:
        similarity: [n, k] float32 cosines.
        index: [n, k] int64, rows of the other side.
    """

    similarity: torch.Tensor
    index: torch.Tensor

    @classmethod
    def none_yet(cls, count: int, k: int) -> Neighbours:
        """Room for `count` times `k` neighbours."""
        return cls(torch.full((count, k), -torch.inf), torch.zeros(count, k, dtype=torch.int64))

    def offer(self, rows: slice, similarity: torch.Tensor, index: torch.Tensor) -> None:
        """Keep the best of what `rows` have and of new candidates, each [rows, candidates]."""
        values = torch.cat([self.similarity[rows], similarity.cpu()], dim=1)
        indices = torch.cat([self.index[rows], index.cpu()], dim=1)
        best = values.topk(self.similarity.shape[1], dim=1)
        self.similarity[rows], self.index[rows] = best.values, indices.gather(1, best.indices)


def prepared(vectors: torch.Tensor, centred: bool) -> torch.Tensor:
    """Vectors of length 1 (float32, [n, dimension]); `centred` takes off their common mean first."""
    vectors = vectors.float()
    return functional.normalize(vectors - vectors.mean(0) if centred else vectors, dim=1)


def both_ways(x: torch.Tensor, y: torch.Tensor, k: int, device: torch.device) -> tuple[Neighbours, Neighbours]:
    """The k nearest of `y` for each of `x`, and of `x` for each of `y`, exactly; each product is computed once.

    Args:
        x: [n, dimension] vectors of length 1.
        y: [m, dimension] vectors of length 1.
        k: neighbours wanted; fewer where a side has fewer vectors.
        device: where the products are computed, a block at a time; all else stays where `x` and `y` are.
    """
    forward, backward = (Neighbours.none_yet(len(a), min(k, len(b))) for a, b in ((x, y), (y, x)))
    for rows in _slices(len(x), _ROWS):
        some = x[rows].to(device)
        for columns in _slices(len(y), _COLUMNS):
            block = some @ y[columns].to(device).T
            best = block.topk(min(k, block.shape[1]), dim=1)
            forward.offer(rows, best.values, best.indices + columns.start)
            values, indices = _top_of_columns(block, min(k, block.shape[0]))
            backward.offer(columns, values, indices + rows.start)
    return forward, backward


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _top_of_columns(block: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest values of every column and their rows, each [columns, k].

    A column's k largest values lie in the k groups of rows with the largest maxima; ranking those groups only is
    five times as fast as ranking the column.
    """
    rows, columns = block.shape
    if rows % _GROUP or rows < k * _GROUP:
        best = block.T.topk(k, dim=1)
        return best.values, best.indices
    groups = block.view(rows // _GROUP, _GROUP, columns).amax(1).T.topk(k, dim=1).indices
    places = groups[:, :, None] * _GROUP + torch.arange(_GROUP, device=block.device)
    places = places.view(columns, k * _GROUP)
    best = block[places, torch.arange(columns, device=block.device)[:, None]].topk(k, dim=1)
    return best.values, places.gather(1, best.indices)


@dataclass(frozen=True)
class Candidates:
    """For each sentence of one side its best candidate on the other: index [n] and ratio margin [n]."""

    index: torch.Tensor
    margin: torch.Tensor


def best_by_margin(x: torch.Tensor, y: torch.Tensor, k: int, device: torch.device) -> tuple[Candidates, Candidates]:
    """Best candidates from `x` to `y` and back, by cosine over the mean cosine of both sides' k neighbours.

    Args:
        x: [n, dimension] vectors of length 1.
        y: [m, dimension] vectors of length 1.
    """
    forward, backward = both_ways(x, y, k, device)
    return _by_margin(forward, backward), _by_margin(backward, forward)


def _by_margin(own: Neighbours, other: Neighbours) -> Candidates:
    means = other.similarity.mean(1)[own.index]
    margins = own.similarity / ((own.similarity.mean(1, keepdim=True) + means) / 2)
    best = margins.max(dim=1)
    return Candidates(own.index.gather(1, best.indices[:, None])[:, 0], best.values)
