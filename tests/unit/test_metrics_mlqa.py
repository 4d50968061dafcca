"""MLQA's normaliser in every language by hand and against a slow reference, and scores through it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts.errors import UserError
from xstilts.metrics import squad
from xstilts.metrics.mlqa import normalise, score

ARTICLES = {
    "en": {"a", "an", "the"},
    "es": {"un", "una", "unos", "unas", "el", "la", "los", "las"},
    "de": {"ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem", "des"},
    "vi": {"c\u1ee7a", "l\u00e0", "c\u00e1i", "chi\u1ebfc", "nh\u1eefng"},
    "ar": set(),
    "hi": set(),
    "zh": set(),
}
AL = "\u0627\u0644"
PIECES = [
    *sorted(set.union(*ARTICLES.values())),
    *("THE", "Das", "thé", "losa", "d-er", "ß", "Σ", "İ", "12", "_", "-", "'", "¿", "«", "।", "、", "，", "٪"),
    *(AL, "\u0627", "\u0644", AL + "\u0643", "\u0642" + AL, "हि", "\u0301", "\u200b"),
    *("中", "国", "\u4dff", "\u4e00", "\u9fa5", "\u9fa6", "ア"),
]
TEXTS = st.lists(st.sampled_from([*PIECES, " ", " ", " ", "\t", "\u3000"]) | st.text(max_size=2)).map("".join)


def reference(text: str, language: str) -> str:
    """Character by character: drop punctuation, cut into words, drop articles, set Chinese characters apart."""
    ascii_marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    kept = [c for c in text.lower() if unicodedata.category(c)[0] != "P" and c not in ascii_marks]
    result, word = "", ""
    for character in [*kept, " "]:
        if character.isalnum():
            word += character
            continue
        result += (" " if word in ARTICLES[language] else word) + character
        word = ""
    if language == "ar":
        result = " ".join(result.split(AL))
    if language == "zh":
        result = "".join(f" {c} " if 0x4E00 <= ord(c) <= 0x9FA5 else c for c in result)
    return " ".join(result.split())


@pytest.mark.parametrize("language", sorted(ARTICLES))
@given(text=TEXTS)
def test_normaliser_agrees_with_a_slow_reference(language: str, text: str) -> None:
    assert normalise(text, language) == reference(text, language)


@pytest.mark.parametrize("language", sorted(ARTICLES))
@given(text=TEXTS)
def test_normalising_twice_changes_nothing(language: str, text: str) -> None:
    once = normalise(text, language)
    assert normalise(once, language) == once


@pytest.mark.parametrize("language", sorted(ARTICLES))
def test_every_article_goes_and_stays_inside_words(language: str) -> None:
    for article in ARTICLES[language]:
        assert normalise(f"x {article.upper()} {article}x", language) == f"x {article}x"


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The “United” States, an idea", "united states idea"),
        ("en", "$5 + 3¢ < 9€", "5 3¢ 9€"),
        ("es", "¿Unas de las «Islas» Canarias?", "de islas canarias"),
        ("de", "Des Kaisers neue Kleider – einem Kind", "kaisers neue kleider kind"),
        ("vi", "Những cái cây của tôi, là lá", "cây tôi lá"),
        ("hi", "एक, दो। the", "एक दो the"),
        ("zh", "the GDP（2010年）是 5.5 万亿。", "the gdp2010 年 是 55 万 亿"),
        ("zh", "\u4e00\u9fa5\u9fa6\u9fa6", "\u4e00 \u9fa5 \u9fa6\u9fa6"),
    ],
)
def test_normaliser_by_hand(language: str, text: str, expected: str) -> None:
    assert normalise(text, language) == expected


def test_arabic_loses_alef_lam_inside_words_too() -> None:
    # "The book said" - the article goes, and so does the middle of "said", qaf-alef-lam.
    assert normalise(f"{AL}كتاب ق{AL}", "ar") == "كتاب ق"
    assert normalise(f"ب{AL}كأس", "ar") == "ب كأس"


def test_invented_languages_have_no_articles_and_unknown_ones_are_refused() -> None:
    assert normalise("The ka, el ta!", "qaa") == "the ka el ta"
    for language in ("fr", "qua", "EN", ""):
        with pytest.raises(UserError, match="has no normalisation"):
            normalise("x", language)
        with pytest.raises(UserError, match="has no normalisation"):
            score([["x"]], [None], language)


def test_scores_by_hand() -> None:
    # Spanish: "los gatos" is right; "perro negro" for "el perro" shares 1 of 2 and 1 of 1: F1 2/3.
    golds, predictions = [["gatos"], ["el perro", "x"]], ["Los gatos.", "perro negro"]
    assert score(golds, predictions, "es") == pytest.approx({"exact_match": 50.0, "f1": 250 / 3})
    assert squad.score(golds, predictions)["exact_match"] == 0.0


def test_chinese_counts_characters() -> None:
    # Shared 电 and 池 of 4 and 2 characters: precision 1, recall 1/2, F1 2/3; as one word it would be 0.
    scores = score([["电化电池"]], ["电池"], "zh")
    assert scores == pytest.approx({"exact_match": 0.0, "f1": 200 / 3})
    assert squad.score([["电化电池"]], ["电池"])["f1"] == 0.0


def test_no_questions_are_refused() -> None:
    with pytest.raises(UserError, match="no gold answers"):
        score([], [], "en")
