"""Sub-tokens of single words, as they stand in running text, for every family of fast tokenizers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xstilts.errors import UserError
from xstilts.tasks.features.common import Ids, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PROBES = ("a", "I", "1", "the")


class WordTokenizer:
    """Tokenises the words of sentences one by one.

    A word is given to the tokenizer alone, so that its sub-tokens are known without any matching of characters.
    SentencePiece (Metaspace), byte-level BPE with `add_prefix_space` and WordPiece treat a lone word as they treat one
    within a text; byte-level BPE without `add_prefix_space` needs the space before it, except at the start.
    Which holds is found by trying, not by the tokenizer's name.

    Args:
        tokenizer: a fast tokenizer.
        longest: sub-tokens that fit into one input.

    Raises:
        UserError: the tokenizer has neither an unknown nor a mask token to stand for an impossible word.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, longest: int) -> None:
        self._tokenizer = tokenizer
        self._longest = longest
        self._space = _needs_space(tokenizer)
        self._unknown = _unknown(tokenizer)

    def sentences(self, sentences: Sequence[Sequence[str]]) -> list[list[Ids[int]]]:
        """Sub-tokens of every word of every sentence, at least one each.

        A word that the tokenizer maps to nothing, or to more than fits into one input, becomes the unknown token
        (XTREME, utils_tag.py: so that every word gets a prediction).
        """
        ids = tokenize(self._tokenizer, (text for words in sentences for text in self._texts(words)))
        usable = {text: x if 0 < len(x) <= self._longest else self._unknown for text, x in ids.items()}
        return [[usable[text] for text in self._texts(words)] for words in sentences]

    def _texts(self, words: Sequence[str]) -> Iterable[str]:
        if not self._space:
            return words
        return [word if i == 0 else f" {word}" for i, word in enumerate(words)]


def _needs_space(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Does a lone word differ from the same word after a space, while a space put before it makes them equal?"""
    texts = [form for word in _PROBES for form in (word, f" {word}", f"{word} {word}")]
    ids = tokenize(tokenizer, texts)
    plain = all(ids[f"{word} {word}"] == ids[word] * 2 for word in _PROBES)
    spaced = all(ids[f"{word} {word}"] == ids[word] + ids[f" {word}"] for word in _PROBES)
    return spaced and not plain


def _unknown(tokenizer: PreTrainedTokenizerFast) -> Ids[int]:
    for token in (tokenizer.unk_token_id, tokenizer.mask_token_id):
        if token is not None:
            return Ids("i", [token])
    raise UserError(f"tokenizer {tokenizer.name_or_path}: has neither an unknown nor a mask token; add one to it")
