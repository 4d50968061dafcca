"""Sentence pairs, multiple choice and retrieval sentences."""

from __future__ import annotations

import pytest
import torch
from tiny import FAMILIES, tokenizer

from xstilts.config import Hyperparameters
from xstilts.tasks import features
from xstilts.tasks.features import choice, pair, retrieval
from xstilts.tasks.features.common import IGNORED

HYPER = Hyperparameters(learning_rate=1e-3, batch=2, epochs=1, max_length=24)


def short(length: int) -> Hyperparameters:
    return HYPER.model_copy(update={"max_length": length})


def pair_row(a: str, b: str, label: str = "x") -> dict[str, str]:
    return {"id": "1", "text_a": a, "text_b": b, "label": label}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_that_fits_is_what_the_tokenizer_makes_of_it(family: str) -> None:
    fast = tokenizer(family)
    (one,) = pair.encode([pair_row("the cat", "on a mat")], fast, HYPER, ["w", "x"])
    assert list(one["input_ids"]) == fast("the cat", "on a mat")["input_ids"]
    assert one["label"] == 1 and one["tokens"] == len(one["input_ids"])


def test_a_long_pair_loses_the_end_of_its_longer_text() -> None:
    fast = tokenizer("bpe-metaspace")
    long, brief = "the cat sat on the mat and the dog ran away", "the dog"
    ids = {text: fast(text, add_special_tokens=False)["input_ids"] for text in (long, brief)}
    (one,) = pair.encode([pair_row(long, brief)], fast, short(14), ["x"])
    room = 14 - 4 - len(ids[brief])
    assert list(one["input_ids"]) == [0, *ids[long][:room], 2, 2, *ids[brief], 2]


def test_a_switched_on_truncation_of_the_tokenizer_is_not_obeyed() -> None:
    fast = tokenizer("bpe-metaspace")
    fast.backend_tokenizer.enable_truncation(3)
    fast.backend_tokenizer.enable_padding(length=30)
    (one,) = pair.encode([pair_row("the cat", "on a mat")], fast, HYPER, ["x"])
    assert 3 < one["tokens"] < 30


def test_pair_predictions() -> None:
    rows = [pair_row("a", "b", "no"), pair_row("a", "b", "other")]
    encoded = pair.encode(rows, tokenizer("unigram"), HYPER, ["no", "yes"])
    assert [one["label"] for one in encoded] == [0, IGNORED]
    results = pair.decode(torch.tensor([[0.5, 0.25], [-1.0, 1.0]], dtype=torch.bfloat16), encoded, HYPER)
    first, second = pair.rejoin(results, encoded, rows, ["no", "yes"])
    assert (first["prediction"], first["gold"], first["logits"].tolist()) == ("no", "no", [0.5, 0.25])
    assert (second["prediction"], second["gold"]) == ("yes", "other")
    assert pair.labels(rows) == ["no", "other"]


def test_padding_goes_as_far_as_the_longest_of_the_batch() -> None:
    fast = tokenizer("wordpiece")
    rows = [pair_row("the cat", "mat"), pair_row("the cat sat on the mat", "mat")]
    encoded = pair.encode(rows, fast, HYPER, ["x"])
    batch = pair.collate(encoded, 1)
    longest = max(one["tokens"] for one in encoded)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["token_type_ids"].shape == (2, longest)
    assert batch["attention_mask"].sum(1).tolist() == [one["tokens"] for one in encoded]
    assert (batch["input_ids"][0, encoded[0]["tokens"] :] == 1).all()
    assert batch["labels"].tolist() == [0, 0]


def choice_row(context: str, question: str, choices: list[str], label: int = 0) -> dict[str, object]:
    return {"id": "1", "context": context, "question": question, "choices": choices, "label": label}


def test_choices_are_pairs_of_context_and_question_with_choice() -> None:
    fast = tokenizer("bpe-metaspace")
    rows = [
        choice_row("the cat", "", ["sat", "ran away"]),
        choice_row("the cat", "where is it?", ["mat", "dog", "fox"], 2),
        choice_row("", "where is it?", ["mat"]),
    ]
    with_context, with_question, without_context = choice.encode(rows, fast, HYPER, [])
    assert [list(x) for x in with_context["input_ids"]] == [
        fast("the cat", text)["input_ids"] for text in ("sat", "ran away")
    ]
    assert list(with_question["input_ids"][1]) == fast("the cat", "where is it? dog")["input_ids"]
    assert list(without_context["input_ids"][0]) == fast("where is it?", "mat")["input_ids"]
    assert with_question["tokens"] == sum(map(len, with_question["input_ids"]))


def test_a_long_context_is_cut_and_the_choice_never_is() -> None:
    fast = tokenizer("bpe-metaspace")
    ids = {t: fast(t, add_special_tokens=False)["input_ids"] for t in ("the cat sat on the mat", "the dog ran")}
    rows = [choice_row("the cat sat on the mat", "", ["the dog ran"])]
    (one,) = choice.encode(rows, fast, short(10), [])
    kept = 10 - 4 - len(ids["the dog ran"])
    assert list(one["input_ids"][0]) == [0, *ids["the cat sat on the mat"][:kept], 2, 2, *ids["the dog ran"], 2]
    (tight,) = choice.encode(rows, fast, short(6), [])
    assert list(tight["input_ids"][0]) == [0, ids["the cat sat on the mat"][0], 2, 2, ids["the dog ran"][-1], 2]


def test_questions_with_different_numbers_of_choices_share_a_batch() -> None:
    fast = tokenizer("bpe-metaspace")
    rows = [choice_row("the cat", "", ["sat", "ran", "mat"], 2), choice_row("the dog", "", ["ran", "sat"], 1)]
    encoded = choice.encode(rows, fast, HYPER, [])
    batch = choice.collate(encoded, 1)
    assert batch["input_ids"].shape[:2] == (2, 3)
    assert batch["choice_mask"].tolist() == [[True, True, True], [True, True, False]]
    assert batch["attention_mask"][1, 2].sum() == 1  # the missing choice: one padding token
    scores = torch.tensor([[0.0, 2.0, 1.0], [0.0, 3.0, -torch.inf]])
    first, second = choice.rejoin(choice.decode(scores, encoded, HYPER), encoded, rows, [])
    assert (first["prediction"], first["gold"], len(first["logits"])) == (1, 2, 3)
    assert (second["prediction"], second["gold"], second["logits"].tolist()) == (1, 1, [0.0, 3.0])


def test_retrieval_sentences_are_cut_at_max_length_special_tokens_included() -> None:
    fast = tokenizer("unigram")
    texts = ["the cat", "the cat sat on the mat and the dog ran away"]
    rows = [{"side": "english", "id": str(i), "text": t, "gold": []} for i, t in enumerate(texts)]
    first, second = retrieval.encode(rows, fast, HYPER.model_copy(update={"max_length": 8}), [])
    full = fast(texts[1])["input_ids"]
    assert list(first["input_ids"]) == fast(texts[0])["input_ids"]
    assert list(second["input_ids"]) == [*full[:7], fast.sep_token_id]
    assert retrieval.collate([first, second], 1)["input_ids"].shape == (2, 8)


def test_every_kind_has_its_module() -> None:
    assert features.of("pair") is pair
    assert all(features.of(kind).collate for kind in ("pair", "choice", "span", "tagging"))
