"""Windows over passages, answers cut from the raw text, and exact decoding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import FAMILIES, tokenizer

from xstilts.config import Hyperparameters
from xstilts.errors import ConfigError
from xstilts.tasks.features import span

HYPER = Hyperparameters(
    learning_rate=1e-3,
    batch=2,
    epochs=1,
    max_length=64,
    doc_stride=2,
    max_query_length=5,
    max_answer_length=3,
    n_best=4,
)


def row(context: str, question: str = "where", *answers: tuple[str, int]) -> dict[str, object]:
    texts, starts = [a for a, _ in answers], [s for _, s in answers]
    return {"id": "q", "title": "t", "context": context, "question": question, "answers": texts, "starts": starts}


def at(context: str, answer: str) -> tuple[str, int]:
    return answer, context.index(answer)


@pytest.mark.parametrize(
    ("length", "room", "stride", "expected"),
    [
        (10, 4, 3, [(0, 4), (3, 7), (6, 10)]),
        (11, 4, 3, [(0, 4), (3, 7), (6, 10), (9, 11)]),
        (4, 4, 3, [(0, 4)]),
        (5, 4, 1, [(0, 4), (1, 5)]),
        (0, 4, 3, [(0, 0)]),
        (3, 4, 9, [(0, 3)]),
    ],
)
def test_window_arithmetic(length: int, room: int, stride: int, expected: list[tuple[int, int]]) -> None:
    assert list(span.windows(length, room, stride)) == expected


@pytest.mark.parametrize("room", [-3, 0, 1])
def test_windows_that_leave_tokens_out_are_an_error(room: int) -> None:
    with pytest.raises(ConfigError, match="doc_stride"):
        list(span.windows(10, room, 2))


def test_windows_agree_with_the_tokenizer_of_hugging_face() -> None:
    fast = tokenizer("bpe-metaspace")
    context = "the cat sat on the mat and the dog ran away over the lazy fox"
    hyper = HYPER.model_copy(update={"max_length": 12})
    ours = span.encode([row(context)], fast, hyper, [])
    word = fast("cat", add_special_tokens=False)["input_ids"]
    room = 12 - (len(fast("where", "cat")["input_ids"]) - len(word))
    overlap = {"stride": room - hyper.doc_stride, "return_overflowing_tokens": True}
    theirs = fast("where", context, max_length=12, truncation="only_second", **overlap)["input_ids"]
    assert [list(one["input_ids"]) for one in ours] == theirs
    assert len(ours) > 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("context", "answer"),
    [
        ("the cat  sat on the mat", "sat on"),
        ("emoji 😀 and astral 𝒳 letters", "astral 𝒳"),
        ("Donaudampfschiff über Straße", "über"),
        ("東京 は 日本 の 首都 です", "日本"),
        ("the mat\nand  the dog ", "dog"),
    ],
)
def test_the_labelled_tokens_cover_the_answer_in_the_raw_text(family: str, context: str, answer: str) -> None:
    (one,) = span.encode([row(context, "where", at(context, answer))], tokenizer(family), HYPER, [])
    first, last = (position - one["start"] for position in one["labels"])
    assert 0 <= first <= last < one["stop"] - one["start"]
    assert context[one["char_starts"][first] : one["char_ends"][last]] == answer


def test_an_answer_within_a_token_is_widened_to_it() -> None:
    context = "the cat sat"
    fast = tokenizer("bpe-metaspace")
    assert len(fast("the", add_special_tokens=False)["input_ids"]) == 1
    (one,) = span.encode([row(context, "where", ("h", 1))], fast, HYPER, [])
    assert one["labels"] == (one["start"], one["start"])


def test_an_answer_outside_the_window_is_the_first_position() -> None:
    context = "the cat sat on the mat and the dog ran away"
    fast = tokenizer("bpe-metaspace")
    encoded = span.encode(
        [row(context, "where", at(context, "mat"))],
        fast,
        HYPER.model_copy(update={"max_length": 14, "doc_stride": 7}),
        [],
    )
    inside = [one for one in encoded if one["labels"] != (0, 0)]
    outside = [one for one in encoded if one["labels"] == (0, 0)]
    assert inside and outside
    for one in inside:
        first, last = (position - one["start"] for position in one["labels"])
        assert context[one["char_starts"][first] : one["char_ends"][last]] == "mat"
    for one in outside:
        pieces = [context[a:b] for a, b in zip(one["char_starts"], one["char_ends"], strict=True)]
        assert "mat" not in " ".join(pieces).split()
    assert span.collate(encoded, 1)["labels"].shape == (len(encoded), 2)


def test_questions_are_cut_to_max_query_length() -> None:
    fast = tokenizer("bpe-metaspace")
    question = "the cat sat on the mat and the dog"
    (one,) = span.encode([row("a dog", question)], fast, HYPER, [])
    ids = fast(question, add_special_tokens=False)["input_ids"]
    assert list(one["input_ids"][1:6]) == ids[:5] and one["start"] == 1 + 5 + 2


def test_labels_tell_whether_some_question_has_no_answer() -> None:
    answered, unanswered = row("a dog", "where", ("dog", 2)), row("a dog")
    assert span.labels([answered]) == []
    assert span.labels([answered, unanswered]) == [span.NO_ANSWER]


def brute_force(encoded: list[dict], logits: torch.Tensor, longest: int) -> list[tuple[int, int, float]]:
    """Every valid span of every window as (start, end, score), in code points."""
    spans = []
    for i, one in enumerate(encoded):
        starts, ends, base = one["char_starts"], one["char_ends"], one["start"]
        for a in range(len(starts)):
            for b in range(a, min(a + longest, len(starts))):
                if starts[a] < ends[a] and starts[b] < ends[b]:
                    score = float(logits[i, 0, base + a] + logits[i, 1, base + b])
                    spans.append((starts[a], ends[b], score))
    return spans


@pytest.mark.parametrize("labels", [[], [span.NO_ANSWER]])
def test_decoding_equals_brute_force(labels: list[str]) -> None:
    context = "the cat  sat on the mat and the dog ran away over the lazy fox"
    rows = [row(context), row("a dog", "who")]
    encoded = span.encode(rows, tokenizer("bpe-metaspace"), HYPER.model_copy(update={"max_length": 16}), [])
    assert any(a == b for one in encoded for a, b in zip(one["char_starts"], one["char_ends"], strict=True))
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(len(encoded), 2, max(one["tokens"] for one in encoded), generator=generator)
    made = span.rejoin(span.decode(logits, encoded, HYPER), encoded, rows, labels)
    for example, prediction in enumerate(made):
        where = [i for i, one in enumerate(encoded) if one["example"] == example]
        spans = brute_force([encoded[i] for i in where], logits[where], HYPER.max_answer_length)
        if labels:
            spans.append((0, 0, min(float(logits[i, :, 0].sum()) for i in where)))
        normaliser = np.logaddexp.reduce([score for *_, score in spans])
        best = {}
        for start, end, score in spans:
            best[start, end] = max(score, best.get((start, end), -math.inf))
        ranked = sorted(best.items(), key=lambda item: -item[1])[: HYPER.n_best]
        assert prediction["log_normaliser"] == pytest.approx(normaliser, abs=1e-4)
        assert [(one["start"], one["end"]) for one in prediction["n_best"]] == [bounds for bounds, _ in ranked]
        for one, (_, score) in zip(prediction["n_best"], ranked, strict=True):
            assert one["log_probability"] == pytest.approx(score - normaliser, abs=1e-4)
        (start, end), _ = ranked[0]
        assert (prediction["start"], prediction["end"]) == (start, end)
        assert prediction["prediction"] == rows[example]["context"][start:end]


def test_one_denying_window_does_not_make_a_question_unanswerable() -> None:
    rows = [row("the cat sat on the mat and the dog ran away over the lazy fox")]
    encoded = span.encode(rows, tokenizer("bpe-metaspace"), HYPER.model_copy(update={"max_length": 16}), [])
    logits = torch.zeros(len(encoded), 2, 16)
    logits[0, :, 0] = 50.0
    logits[1, :, encoded[1]["start"]] = 10.0
    (made,) = span.rejoin(span.decode(logits, encoded, HYPER), encoded, rows, [span.NO_ANSWER])
    assert made["prediction"] != ""
    logits[:, :, 0] = 50.0
    (made,) = span.rejoin(span.decode(logits, encoded, HYPER), encoded, rows, [span.NO_ANSWER])
    assert (made["prediction"], made["start"], made["end"]) == ("", 0, 0)
    (made,) = span.rejoin(span.decode(logits, encoded, HYPER), encoded, rows, [])
    assert made["prediction"] != ""
