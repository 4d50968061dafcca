"""Training data that a sequence-to-sequence model translates in the graph."""

from __future__ import annotations

from pydantic import Field, model_validator

from xstilts.schema.base import Model, Name
from xstilts.schema.data import UNPINNED


class Translation(Model):
    """A dataset made by translating the English training part of another: give one of `hub` and `path`."""

    of: Name = Field(description="The dataset whose English training part is translated.")
    hub: str | None = Field(None, description="Repository id of a Marian, M2M100 or NLLB model on the hub.")
    revision: str = Field(UNPINNED, description="Commit of the repository; `unpinned` until recorded.")
    path: str | None = Field(None, description="A directory with the model in the Hugging Face layout (safetensors).")
    codes: dict[str, str] = Field(
        {},
        description="Language code: the model's own (NLLB: `{en: eng_Latn, de: deu_Latn}`); others stand as they are.",
    )
    beams: int = Field(1, gt=0, description="Beams of the search; 1 is greedy.")
    max_length: int = Field(256, gt=1, description="Tokens of a text and of its translation; more are cut and counted.")
    batch: int = Field(64, gt=0, description="Texts at once; their padding can change digits, so results depend on it.")

    @model_validator(mode="after")
    def _one_origin(self) -> Translation:
        if (self.hub is None) == (self.path is None):
            raise ValueError("give exactly one of `hub` and `path`")
        return self
