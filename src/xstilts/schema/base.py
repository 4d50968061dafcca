"""What every part of the schema is made of."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _scientific(value: Any) -> Any:
    """YAML 1.1 reads `1e-5` (no dot) as text; a researcher means the number."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


Number = Annotated[float, BeforeValidator(_scientific), Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]


class Model(BaseModel):
    """Unknown keys are refused and values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
