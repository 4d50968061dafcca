"""What stands in the report in the place of a number that nothing supports."""

from __future__ import annotations


class Missing(Exception):  # noqa: N818 - not an error: the estimate says so and goes on
    """Why something cannot be estimated: one line that says what to do."""
