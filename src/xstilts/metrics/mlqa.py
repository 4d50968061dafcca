"""MLQA's exact match and F1: SQuAD's, with a normalisation for each language.

Source: mlqa_evaluation_v1.py of facebookresearch/MLQA, which XTREME uses as it is.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import partial

from xstilts.errors import UserError
from xstilts.metrics import squad


def _words(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(words.split())})\b")


_ARTICLES = {
    "en": _words("a an the"),
    "es": _words("un una unos unas el la los las"),
    "de": _words("ein eine einen einem eines einer der die das den dem des"),
    "vi": _words("của là cái chiếc những"),
    # The published pattern means alef-lam, the article, at the start of a word. Of its two branches one can
    # never match; the other takes alef-lam out of the middle of words too. Every published MLQA score has
    # this in it.
    "ar": re.compile("\u0627\u0644"),
    "hi": None,
    "zh": None,
}
_CHINESE = re.compile("([\u4e00-\u9fa5])")
_INVENTED = re.compile("q[a-t][a-z]")


def normalise(text: str, language: str) -> str:
    """Lower-cased text without punctuation (any script's) and articles, tokens joined by single spaces.

    A token is a word between spaces; in Chinese, each character from U+4E00 to U+9FA5 is one of its own.

    Args:
        text: an answer.
        language: one of MLQA's seven; an invented one (private-use code, the mini world's) has no articles.

    Raises:
        UserError: MLQA does not say how to normalise this language.
    """
    articles = _articles(language)
    bare = "".join(character for character in text.lower() if not _is_punctuation(character))
    if articles:
        bare = articles.sub(" ", bare)
    if language == "zh":
        bare = _CHINESE.sub(r" \1 ", bare)
    return " ".join(bare.split())


def score_one(answers: Sequence[str], prediction: str, language: str) -> tuple[float, float]:
    """Exact match and F1 of one prediction, each between 0 and 1; errors as of `normalise`."""
    return squad.score_one(answers, prediction, partial(normalise, language=language))


def score(golds: Sequence[Sequence[str]], predictions: Sequence[str | None], language: str) -> dict[str, float]:
    """Mean `exact_match` and `f1` over questions in one language, in percent; arguments as `squad.score`.

    Raises:
        UserError: as `squad.score` and `normalise`.
    """
    _articles(language)  # so that a language MLQA lacks is refused even where every question was left out
    return squad.score(golds, predictions, partial(normalise, language=language))


def normalises(language: str) -> bool:
    """Does MLQA say how to normalise the language (a code), or is it an invented one?"""
    return language in _ARTICLES or _INVENTED.fullmatch(language) is not None


def _articles(language: str) -> re.Pattern[str] | None:
    if not normalises(language):
        known = ", ".join(_ARTICLES)
        raise UserError(f"mlqa: language {language!r} has no normalisation; MLQA has {known}")
    return _ARTICLES.get(language)


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")
