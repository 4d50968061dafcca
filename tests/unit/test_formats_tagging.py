"""Readers of tagged sentences: treebanks as XTREME converts them, and token-tag columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xstilts import tasks
from xstilts.errors import ConfigError, DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks import formats
from xstilts.tasks.formats.part import Part

UPOS = tasks.get("udpos").labels


def group(form: str, **given: Any) -> FileGroup:
    return FileGroup.model_validate({"format": form, "files": {}, **given})


def word(number: str, form: str, tag: str = "_", head: str = "_", enhanced: str = "_") -> str:
    return "\t".join([number, form, "_", tag, "_", "_", head, "_", enhanced, "_"])


def read(path: Path, layout: FileGroup, part: Part) -> list[Any]:
    return list(formats.reader(layout.format)([path], layout, part))


def treebank(path: Path, *sentences: list[str]) -> Path:
    path.write_text("".join("\n".join(s) + "\n\n" for s in sentences), encoding="utf-8")
    return path


def tagged(path: Path, language: str, *sentences: list[str]) -> list[tuple[list[str], list[str]]]:
    rows = read(treebank(path, *sentences), group("conllu"), Part("dev", language, UPOS))
    return [(row["tokens"], row["tags"]) for row in rows]


# --- conllu


def test_comments_and_empty_nodes_are_no_tokens(tmp_path: Path) -> None:
    sentence = [
        "# text = Sue likes",
        word("1", "Sue", "PROPN", "2"),
        word("2", "likes", "VERB", "0"),
        word("2.1", "likes", "VERB"),
    ]
    assert tagged(tmp_path / "t", "en", sentence) == [(["Sue", "likes"], ["PROPN", "VERB"])]


def test_a_fused_token_has_the_tag_of_its_one_highest_word(tmp_path: Path) -> None:
    # A copula fused to the noun that it depends on: the noun is higher, though any precedence list has AUX before NOUN.
    sentence = [word("1-2", "öğretmendi"), word("1", "öğretmen", "NOUN", "0"), word("2", "di", "AUX", "1")]
    assert tagged(tmp_path / "t", "es", sentence) == [(["öğretmendi"], ["NOUN"])]


@pytest.mark.parametrize(
    ("language", "tags", "expected"),
    [
        ("de", ("ADP", "DET"), "ADP"),
        ("de", ("DET", "ADP"), "ADP"),
        ("de", ("ADV", "AUX"), "ADV"),  # the default list has ADV before AUX
        ("it", ("ADV", "AUX"), "AUX"),  # it and es have AUX first
        ("es", ("ADP", "PRON"), "PRON"),
        ("es", ("ADV", "DET"), "DET"),  # es does not list ADV
        ("fr", ("ADP", "DET"), "ADP"),
        ("fr", ("ADP", "ADJ"), "ADJ"),
        ("en", ("PROPN", "NOUN"), "NOUN"),
        ("pt", ("SYM", "X"), "X"),  # no list has SYM
    ],
)
def test_equally_high_words_are_ranked_by_the_language_s_list(
    tmp_path: Path, language: str, tags: tuple[str, str], expected: str
) -> None:
    sentence = [
        word("1-2", "im"),
        word("1", "in", tags[0], "3"),
        word("2", "dem", tags[1], "3"),
        word("3", "Haus", "NOUN", "0"),
    ]
    assert tagged(tmp_path / "t", language, sentence) == [(["im", "Haus"], [expected, "NOUN"])]


def test_without_a_tree_the_list_decides(tmp_path: Path) -> None:
    sentence = [word("1-3", "dámelo"), word("1", "da", "VERB"), word("2", "me", "PRON"), word("3", "lo", "PRON")]
    assert tagged(tmp_path / "t", "es", sentence) == [(["dámelo"], ["VERB"])]


def test_enhanced_dependencies_count_as_heads(tmp_path: Path) -> None:
    def sentence(enhanced: str) -> list[str]:
        middle = [word("2-3", "im"), word("2", "in", "ADP", "4", enhanced), word("3", "dem", "DET", "4", "4:det")]
        return [word("1", "geh", "VERB", "0"), *middle, word("4", "Haus", "NOUN", "0")]

    assert tagged(tmp_path / "t", "de", sentence("4:case"))[0][1] == ["VERB", "ADP", "NOUN"]
    assert tagged(tmp_path / "t", "de", sentence("4:case|1:obl|8.1:x"))[0][1] == ["VERB", "DET", "NOUN"]


def test_a_cycle_of_heads_ends(tmp_path: Path) -> None:
    sentence = [word("1-2", "ab"), word("1", "a", "ADP", "2"), word("2", "b", "DET", "1")]
    assert tagged(tmp_path / "t", "de", sentence) == [(["ab"], ["ADP"])]


def test_zero_width_non_joiner_and_spaces_go_but_no_other_character(tmp_path: Path) -> None:
    sentence = [word("1", "می\u200cرود", "VERB"), word("2", "10 000", "NUM"), word("3", "a\u00a0b\u200d", "X")]
    assert tagged(tmp_path / "t", "fa", sentence) == [(["میرود", "10000", "a\u00a0b\u200d"], ["VERB", "NUM", "X"])]


def test_sentences_whose_text_is_withheld_are_dropped_and_counted(tmp_path: Path) -> None:
    def forms(*given: str) -> list[str]:
        return [word(str(i), form, "X") for i, form in enumerate(given, start=1)]

    path = treebank(
        tmp_path / "t", forms("_", "_", "_"), forms("_", "_", "."), forms("_", "a", "."), forms("_"), forms("a")
    )
    part = Part("dev", "fr", UPOS)
    rows = read(path, group("conllu"), part)
    assert [(row["id"], row["tokens"]) for row in rows] == [("0", ["_", "a", "."]), ("1", ["a"])]
    assert part.counts == {"dropped: text withheld": 3}


def test_treebanks_are_read_by_file_name_not_folder(tmp_path: Path) -> None:
    # UD_English-PUD sorts before UD_English-ParTUT, but en_partut before en_pud: XTREME sorts the latter.
    (tmp_path / "PUD").mkdir()
    (tmp_path / "ParTUT").mkdir()
    second = treebank(tmp_path / "PUD" / "en_pud-ud-test.conllu", [word("1", "pud", "X")])
    first = treebank(tmp_path / "ParTUT" / "en_partut-ud-test.conllu", [word("1", "partut", "X")])
    rows = list(formats.reader("conllu")([second, first], group("conllu"), Part("test", "en", UPOS)))
    assert [(row["id"], row["tokens"]) for row in rows] == [("0", ["partut"]), ("1", ["pud"])]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1\ta\t_\tX"], r"t:1: 4 columns separated by tab, expected 10"),
        ([word("1", "a", "X"), word("3", "b", "X")], r"t:2: word 3, expected 2; number the words"),
        ([word("one", "a", "X")], r"t:1: id 'one' is no word number"),
        ([word("1", "a", "CONJ")], r"t:1: token 1: unknown label 'CONJ'; known are ADJ, .*`labels:`"),
        ([word("1", "a", "X", "root")], r"t:1: id 'root' is no word number"),
        (["# text = nothing"], r"t:1: a sentence without tokens"),
        ([word("1", "\u200c", "X")], r"t:1: token 1 is empty"),
        ([word("1-2", "ab"), word("1", "a", "X")], r"t:1: fused token 'ab' \(1-2\) does not stand for words"),
        ([word("2-1", "ab"), word("1", "a", "X"), word("2", "b", "X")], "fused token 'ab'"),
        ([word("1-2", "ab"), word("2-3", "bc"), *(word(str(n), "a", "X") for n in (1, 2, 3))], "fused token 'bc'"),
    ],
)  # fmt: skip
def test_malformed_treebanks(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tagged(tmp_path / "t", "en", lines)


# --- columns


def columns(path: Path, text: str, language: str = "en", known: tuple[str, ...] = (), **given: Any) -> list[Any]:
    path.write_text(text, encoding="utf-8")
    layout = group("columns", **given)
    return read(path, layout, Part("dev", language, known, layout.labels))


def test_token_and_tag(tmp_path: Path) -> None:
    assert columns(tmp_path / "c", "a\tX\nb\tY\n\n\n\nc\tX") == [
        {"id": "0", "tokens": ["a", "b"], "tags": ["X", "Y"]},
        {"id": "1", "tokens": ["c"], "tags": ["X"]},
    ]


def test_other_delimiters_and_positions(tmp_path: Path) -> None:
    assert columns(tmp_path / "c", "Katika ADP\n# X\n", delimiter="space")[0]["tokens"] == ["Katika", "#"]
    wikineural = columns(tmp_path / "c", "0\tDer\tO\n1\tBonn\tB-LOC\n", columns={"token": 1, "tag": 2})
    assert wikineural == [{"id": "0", "tokens": ["Der", "Bonn"], "tags": ["O", "B-LOC"]}]


def test_language_prefix_of_panx_goes_and_colons_stay(tmp_path: Path) -> None:
    assert columns(tmp_path / "c", "de:Bonn\tB-LOC\nde::\tO\nde:de:x\tO\n", "de")[0]["tokens"] == ["Bonn", ":", "de:x"]
    assert columns(tmp_path / "c", "a\tO\nde:x\tO\n", "de")[0]["tokens"] == ["a", "de:x"]


def test_line_separators_of_unicode_end_no_line(tmp_path: Path) -> None:
    assert columns(tmp_path / "c", "a\u2028b\u0085c\tX\n")[0]["tokens"] == ["a\u2028b\u0085c"]


def test_tags_are_renamed(tmp_path: Path) -> None:
    rows = columns(tmp_path / "c", "a\tB-MISC\nb\tB-LOC\n", known=("O", "B-LOC"), labels={"B-MISC": "O"})
    assert rows[0]["tags"] == ["O", "B-LOC"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a X\n", r"c:1: 1 columns separated by tab, expected 2 or more; correct the dataset's `delimiter:`"),
        ("a\tX\nb\n", r"c:2: 1 columns separated by tab, expected 2"),
        ("a\tX\n\nb\tX\tY\n", r"c:3: 3 columns separated by tab, expected 2"),
        ("a\tX\n \tX\n", r"c:1: token 2 is empty; give the token a form"),
        ("en:a\tX\nen:\tX\n", r"c:1: token 2 is empty"),
        ("a\tX\nb\tQ\n", r"c:1: token 2: unknown label 'Q'; known are X"),
    ],
)
def test_malformed_columns(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        columns(tmp_path / "c", text, known=("X",))


def test_columns_are_given_by_position(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token is at 'form'; give its 0-based position"):
        columns(tmp_path / "c", "a\tX\n", columns={"token": "form"})
