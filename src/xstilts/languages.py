"""The languages of XTREME and the mini world: the one table of codes, names and families."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parent / "data" / "languages.csv"


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        code: ISO 639-1 code (private-use 639-2 codes for the mini world), as XTREME writes it.
        iso3: ISO 639-3 code, as LASER's Tatoeba files are named.
        name: English name.
        family: language family; genus: the group within it; script: ISO 15924 code.
    """

    code: str
    iso3: str
    name: str
    family: str
    genus: str
    script: str


@cache
def table() -> dict[str, Language]:
    """Every known language by code, in the order of the table."""
    with _TABLE.open(encoding="utf-8", newline="") as handle:
        return {row["code"]: Language(**row) for row in csv.DictReader(handle)}
