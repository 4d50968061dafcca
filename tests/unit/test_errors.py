"""A user's mistake reaches the user as its line, from wherever it is found."""

from __future__ import annotations

import pickle

import pytest

from xstilts.errors import ConfigError, DataError, UserError


@pytest.mark.parametrize(
    "error",
    [
        UserError("a line"),
        ConfigError("recipe", "no such recipe", "name one"),
        DataError("a/b.tsv", "2 columns", "add one", line=3),
    ],
)
def test_a_mistake_in_another_process_keeps_its_line(error: UserError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, UserError) and str(again) == str(error)
