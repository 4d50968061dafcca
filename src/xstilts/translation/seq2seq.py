"""Marian, M2M100 and NLLB models behind one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xstilts.errors import UserError

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Translator:
    """A sequence-to-sequence model that translates between two languages.

    Args:
        folder: its directory; only safetensors weights are read and no remote code is run.
        settings: `source`, `target`, `beams`, `max_length`, `batch`, `precision`.
        device: what it computes on.

    Attributes:
        cut: how many texts were longer than `max_length`.

    Raises:
        UserError: the directory cannot be read, or the model does not know a language.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], device: torch.device) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.settings, self.device, self.cut = settings, device, 0
        closed: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **closed)
            dtype = _TYPES[settings["precision"]]
            model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder, use_safetensors=True, dtype=dtype, **closed)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            remedy = "name a Marian, M2M100 or NLLB model"
            raise UserError(f"translation model {folder}: cannot be read: {reason}; {remedy}") from None
        self.model = model.to(device).eval()
        self.prefix, self.first = self._direction(folder)

    def _direction(self, folder: Path) -> tuple[str, dict[str, int]]:
        """What is put before each text, and the first token that generation is forced to."""
        kind, (source, target) = self.model.config.model_type, (self.settings["source"], self.settings["target"])
        if kind == "marian":  # of one direction, or of several, which `>>code<<` tells apart
            mark = f">>{target}<<"
            several = any(token.startswith(">>") for token in self.tokenizer.get_vocab())
            self._known([mark] if several else [], folder)
            return (f"{mark} " if several else ""), {}
        wrapped = {code: f"__{code}__" if hasattr(self.tokenizer, "get_lang_id") else code for code in (source, target)}
        self._known(wrapped.values(), folder)
        self.tokenizer.src_lang = source
        return "", {"forced_bos_token_id": self.tokenizer.convert_tokens_to_ids(wrapped[target])}

    def _known(self, marks: Any, folder: Path) -> None:
        for mark in marks:
            if self.tokenizer.convert_tokens_to_ids(mark) in (None, self.tokenizer.unk_token_id):
                remedy = "give the model's own code under `data.translations.*.codes`"
                raise UserError(f"translation model {folder}: knows no language {mark.strip('_<>')!r}; {remedy}")

    def translate(self, texts: Sequence[str]) -> list[str]:
        """The translations, in the texts' order."""
        batch = self.settings["batch"]
        return [found for at in range(0, len(texts), batch) for found in self._batch(texts[at : at + batch])]

    @torch.inference_mode()
    def _batch(self, texts: Sequence[str]) -> list[str]:
        given, longest = [self.prefix + text for text in texts], self.settings["max_length"]
        self.cut += sum(len(ids) > longest for ids in self.tokenizer(given)["input_ids"])
        inputs = self.tokenizer(given, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        made = self.model.generate(
            **inputs.to(self.device),
            **self.first,
            num_beams=self.settings["beams"],
            do_sample=False,
            max_length=None,
            max_new_tokens=longest,
        )
        found: list[str] = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        return [text.strip() for text in found]
