"""What every metric asks of its input before it counts anything."""

from __future__ import annotations

from collections.abc import Sized

from xstilts.errors import UserError


def require_some(things: Sized, what: str) -> None:
    """Refuse empty input, for which no metric has a value.

    Raises:
        UserError: `things` is empty.
    """
    if len(things) == 0:
        raise UserError(f"metric: no {what}; give at least one")


def require_aligned(gold: Sized, predicted: Sized, what: str) -> None:
    """Refuse gold and predictions that do not stand side by side, and empty ones.

    Raises:
        UserError: `gold` is empty, or the two differ in length.
    """
    require_some(gold, f"gold {what}")
    if len(gold) != len(predicted):
        raise UserError(f"metric: {len(predicted)} predicted and {len(gold)} gold {what}; give one prediction for each")
