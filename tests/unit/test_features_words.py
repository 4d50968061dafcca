"""Words, sub-tokens and chunks for every family of tokenizers."""

from __future__ import annotations

from array import array
from itertools import chain

import numpy as np
import pytest
import torch
from tiny import FAMILIES, tokenizer

from xstilts.config import Hyperparameters
from xstilts.errors import ConfigError
from xstilts.tasks.features import tagging
from xstilts.tasks.features.common import IGNORED, Template, longest_first
from xstilts.tasks.features.words import WordTokenizer

WORDS = ["The", "quick", "cat", "sat", "on", "Donaudampfschiff", "über", "1", "mat", "and", "naïve", "dogs"]
HYPER = Hyperparameters(learning_rate=1e-3, batch=2, epochs=1, max_length=12)


def row(tokens: list[str], tags: list[str] | None = None) -> dict[str, object]:
    return {"id": "s1", "tokens": tokens, "tags": tags or ["N" if i % 2 else "V" for i in range(len(tokens))]}


@pytest.mark.parametrize("family", FAMILIES)
def test_words_one_by_one_give_the_tokens_of_the_running_text(family: str) -> None:
    fast = tokenizer(family)
    (pieces,) = WordTokenizer(fast, 50).sentences([WORDS])
    assert list(chain(*pieces)) == fast(" ".join(WORDS), add_special_tokens=False)["input_ids"]
    assert len(pieces) == len(WORDS)


def test_families_differ_in_their_need_of_a_space() -> None:
    """The premise of the test above: without its space, a byte-level token is another one."""
    fast = tokenizer("byte-level")
    assert fast("cat", add_special_tokens=False)["input_ids"] != fast(" cat", add_special_tokens=False)["input_ids"]
    first, second = WordTokenizer(fast, 50).sentences([["cat"], ["the", "cat"]])
    assert first[0] != second[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_impossible_words_become_the_unknown_token(family: str) -> None:
    fast = tokenizer(family)
    long = "xyz" * 20
    (pieces,) = WordTokenizer(fast, 10).sentences([["cat", "", long, "mat"]])
    assert [list(p) for p in pieces[2:3]] == [[fast.unk_token_id]]
    assert all(1 <= len(p) <= 10 for p in pieces)
    if family != "byte-level":  # there the empty word is a lone space, which is a token
        assert list(pieces[1]) == [fast.unk_token_id]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_has_one_label_on_its_first_sub_token(family: str) -> None:
    fast = tokenizer(family)
    rows = [row(WORDS)]
    encoded = tagging.encode(rows, fast, HYPER, ["N", "V"])
    (pieces,) = WordTokenizer(fast, 10).sentences([WORDS])
    seen = 0
    for one in encoded:
        assert one["tokens"] == len(one["input_ids"]) == len(one["labels"]) <= HYPER.max_length
        assert one["input_ids"][0] == fast.cls_token_id and one["input_ids"][-1] == fast.sep_token_id
        assert one["first_word"] == seen
        for start in one["starts"]:
            assert one["input_ids"][start] == pieces[seen][0]
            assert one["labels"][start] == (1 if seen % 2 == 0 else 0)
            seen += 1
        assert sum(label != IGNORED for label in one["labels"]) == len(one["starts"])
    assert seen == len(WORDS) and len(encoded) > 1


def test_chunks_fill_the_room_and_cut_nothing() -> None:
    assert list(tagging.chunks([2, 2, 2], 4)) == [(0, 2), (2, 3)]
    assert list(tagging.chunks([4, 1, 3, 1], 4)) == [(0, 1), (1, 3), (3, 4)]
    assert list(tagging.chunks([1], 4)) == [(0, 1)]
    assert list(tagging.chunks([], 4)) == []


def test_long_sentences_are_rejoined_in_order() -> None:
    fast = tokenizer("bpe-metaspace")
    labels = ["A", "B", "C"]
    rows = [row(["cat"] * 30, ["A"] * 30), row([], []), row(["mat", "dog"], ["B", "C"])]
    encoded = tagging.encode(rows, fast, HYPER, labels)
    assert sum(one["example"] == 0 for one in encoded) > 1
    logits = torch.full((len(encoded), HYPER.max_length, 3), -5.0)
    number = 0
    for i, one in enumerate(encoded):  # word k of the first sentence: label k mod 3; then B, C
        for start in one["starts"]:
            logits[i, start, number % 3 if number < 30 else number - 29] = 5.0
            number += 1
    results = tagging.decode(logits, encoded, HYPER)
    first, empty, last = tagging.rejoin(results, encoded, rows, labels)
    assert first["prediction"] == [labels[k % 3] for k in range(30)]
    assert first["log_probabilities"].shape == (30, 3)
    assert np.allclose(np.exp(first["log_probabilities"]).sum(-1), 1)
    assert empty["prediction"] == [] and empty["log_probabilities"].shape == (0, 3)
    assert last["prediction"] == last["gold"] == ["B", "C"]


def test_tags_beyond_the_label_set_are_ignored_in_the_loss_and_kept_as_gold() -> None:
    fast = tokenizer("unigram")
    rows = [row(["cat", "mat"], ["N", "RARE"])]
    (one,) = tagging.encode(rows, fast, HYPER, ["N"])
    assert [one["labels"][start] for start in one["starts"]] == [0, IGNORED]
    (made,) = tagging.rejoin([np.zeros((2, 1), np.float32)], [one], rows, ["N"])
    assert made["gold"] == ["N", "RARE"] and made["prediction"] == ["N", "N"]


def test_ccg_labels_are_the_sorted_tags_of_the_training_data() -> None:
    assert tagging.labels([row(["a"], ["S/NP"]), row(["b", "c"], ["N", "S/NP"])]) == ["N", "S/NP"]


@pytest.mark.parametrize("family", FAMILIES)
def test_template_gives_what_the_tokenizer_gives(family: str) -> None:
    fast = tokenizer(family)
    a, b = (fast.backend_tokenizer.encode(t, add_special_tokens=False).ids for t in ("the cat", "on mat"))
    one, two = Template.of(fast, 1), Template.of(fast, 2)
    for template, segments, texts in ((one, [a], ["the cat"]), (two, [a, b], ["the cat", "on mat"])):
        wrapped, expected = template.wrap(*(array("i", s) for s in segments)), fast(*texts)
        assert list(wrapped["input_ids"]) == expected["input_ids"]
        assert list(wrapped.get("token_type_ids", [])) == expected.get("token_type_ids", [])
        assert ("token_type_ids" in wrapped) == (family == "wordpiece")


def test_no_room_is_an_error_that_names_the_key() -> None:
    with pytest.raises(ConfigError, match="max_length: 5 leaves no room"):
        Template.of(tokenizer("bpe-metaspace"), 2).room(5)
    assert Template.of(tokenizer("bpe-metaspace"), 2).room(6) == 2


def test_longest_first_drops_tokens_from_the_longer_text() -> None:
    for first in range(9):
        for second in range(9):
            for room in range(1, 18):
                a, b = first, second
                while a + b > room:  # HF's slow tokenizers: one token at a time, from the longer one
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                assert longest_first(first, second, room) == (a, b)
