"""Inference batches: as many inputs of like length as fit into a budget of tokens, padding included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def by_tokens(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of the inputs of each batch, the longest inputs first (what runs out of memory does so at once).

    Args:
        lengths: tokens of every input.
        budget: tokens of a batch at most: its inputs times its longest one. An input that is longer goes alone.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
