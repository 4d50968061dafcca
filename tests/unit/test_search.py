"""Nearest neighbours against brute force, ratio margins worked out by hand."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from xstilts.evaluation import search

CPU = torch.device("cpu")


def vectors(count: int, dimension: int, seed: int) -> torch.Tensor:
    return search.prepared(torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)), False)


def brute(x: torch.Tensor, y: torch.Tensor, k: int) -> list[list[int]]:
    """Every pair's cosine in double precision, sorted."""
    similarity = (x.double() @ y.double().T).tolist()
    return [sorted(range(len(y)), key=lambda j: -row[j])[:k] for row in similarity]


@pytest.mark.parametrize(("n", "m", "k"), list(product((1, 63, 1000), (2, 700), (1, 4))))
def test_neighbours_are_exact_both_ways(monkeypatch: pytest.MonkeyPatch, n: int, m: int, k: int) -> None:
    monkeypatch.setattr(search, "_ROWS", 256)
    monkeypatch.setattr(search, "_COLUMNS", 300)
    x, y = vectors(n, 8, 1), vectors(m, 8, 2)
    forward, backward = search.both_ways(x, y, k, CPU)
    assert forward.index.tolist() == brute(x, y, min(k, m))
    assert backward.index.tolist() == brute(y, x, min(k, n))
    found = (x[:, None] * y[forward.index]).sum(-1)
    assert torch.allclose(forward.similarity, found, atol=1e-5)


def test_small_vectors_do_not_matter_but_their_direction_does() -> None:
    x = search.prepared(torch.tensor([[1e-3, 0.0], [0.0, 50.0]]), False)
    y = search.prepared(torch.tensor([[0.0, 1e-4], [9.0, 1.0]]), False)
    forward, _ = search.both_ways(x, y, 1, CPU)
    assert forward.index.tolist() == [[1], [0]]


def test_centring_takes_off_the_mean() -> None:
    moved = torch.tensor([[11.0, 0.0], [9.0, 0.0], [10.0, 1.0], [10.0, -1.0]])
    expected = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert torch.equal(search.prepared(moved, True), expected)


def test_margins_by_hand() -> None:
    """Two vectors a side, two neighbours each, so that every mean is over a whole row or column.

    Cosines: x0 y0 1, x0 y1 0.6, x1 y0 0, x1 y1 0.8. Means: x0 0.8, x1 0.4, y0 0.5, y1 0.7.
    Margins: x0 y0 1 / 0.65, x0 y1 0.6 / 0.75, x1 y0 0, x1 y1 0.8 / 0.55.
    """
    x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    forward, backward = search.best_by_margin(x, y, 2, CPU)
    assert forward.index.tolist() == backward.index.tolist() == [0, 1]
    assert forward.margin.tolist() == pytest.approx([1 / 0.65, 0.8 / 0.55])
    assert backward.margin.tolist() == pytest.approx([1 / 0.65, 0.8 / 0.55])


def test_a_hub_loses_its_margin() -> None:
    """y1 is the nearest of x0 by cosine, but near to everything; by margin y0 wins.

    Means of two neighbours: x0 (.8 + .7) / 2 = .75, y0 (.7 + 0) / 2 = .35, y1 (.8 + 1) / 2 = .9.
    Margins of x0: y0 .7 / .55 = 1.27, y1 .8 / .825 = .97.
    """
    cosines = torch.tensor([[0.7, 0.8], [0.0, 1.0]])
    forward = search.Neighbours(*cosines.sort(dim=1, descending=True))
    backward = search.Neighbours(*cosines.T.sort(dim=1, descending=True))
    assert int(forward.index[0, 0]) == 1
    best = search._by_margin(forward, backward)
    assert int(best.index[0]) == 0
    assert float(best.margin[0]) == pytest.approx(0.7 / 0.55)
