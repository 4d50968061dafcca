"""Pretraining: the tokenizer, what the sampler and the mask draw, and a tiny model that learns and opens."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from xstilts.errors import ConfigError, DataError, StoppedError, UserError
from xstilts.schema.training import BackboneTraining
from xstilts.training import mlm
from xstilts.training.pretrain import _Curve, pretrain
from xstilts.training.tokenizer import BOS, EOS, MASK, PAD, SPECIAL, UNK, train_tokenizer

TEXTS = [
    "the cat sees the dog",
    "the dog sees the bird",
    "der hund sieht die katze",
    "แมวเห็นหมา",
    "猫が犬を見る",
] * 5


def ids(*tokens: int) -> mlm.Tokens:
    return np.asarray(tokens, dtype=np.int64)


def test_words_have_the_same_tokens_alone_and_in_text() -> None:
    tokenizer = train_tokenizer(TEXTS, 200, 64)
    text = "the hund  sees\tdie 猫が แมว"
    alone = [token for word in text.split() for token in tokenizer.tokenize(word)]
    assert tokenizer.tokenize(text) == alone
    assert "".join(alone).replace("▁", " ").strip() == " ".join(text.split())


def test_special_tokens_and_pairs_are_xlm_roberta_s() -> None:
    tokenizer = train_tokenizer(TEXTS, 200, 64)
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    cat, dog = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("cat", "dog"))
    assert tokenizer("cat", "dog")["input_ids"] == [BOS, *cat, EOS, EOS, *dog, EOS]
    assert "token_type_ids" not in tokenizer("cat", "dog")


def test_frequent_characters_are_covered_and_rare_ones_become_unk() -> None:
    rare = [chr(0x4E00 + i) for i in range(300)]
    tokenizer = train_tokenizer(["abc ab"] * 400 + rare, 110, 64)
    assert len(tokenizer) <= 110
    known = tokenizer("ab", add_special_tokens=False)["input_ids"]
    assert UNK not in known
    assert tokenizer(rare[-1], add_special_tokens=False)["input_ids"].count(UNK) == 1


def test_offsets_point_into_the_raw_text() -> None:
    text = "the ① dog"  # normalised to "1", which changes no offset
    tokenizer = train_tokenizer([*TEXTS, "1"], 200, 64)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    pieces = {text[start:end].strip() for start, end in encoded["offset_mapping"]}
    assert "①" in pieces


def test_assemble_cuts_the_longer_segment() -> None:
    assert mlm.assemble((ids(7, 8, 9),), 4).tolist() == [BOS, 7, 8, EOS]
    whole = mlm.assemble((ids(7, 8), ids(9)), 16)
    assert whole.tolist() == [BOS, 7, 8, EOS, EOS, 9, EOS]
    assert mlm.assemble((ids(7, 8, 9, 10), ids(11)), 7).tolist() == [BOS, 7, 8, EOS, EOS, 11, EOS]
    assert mlm.assemble((ids(7), ids(8, 9, 10, 11)), 7).tolist() == [BOS, 7, EOS, EOS, 8, 9, EOS]


def test_shares_are_powers_of_sizes() -> None:
    assert mlm.shares([16, 1], 0.5).tolist() == [0.8, 0.2]


def drawn(pairs: list[mlm.Source], share: float, count: int = 64) -> list[mlm.Tokens]:
    texts = [mlm.text_source([(ids(10),)] * 16), mlm.text_source([(ids(11),)])]
    found = mlm.batches(
        texts, pairs, batch=50, max_length=16, alpha=0.5, parallel_share=share, rng=np.random.default_rng(0)
    )
    return [tokens for _ in range(count) for tokens in next(found)]


def test_batches_follow_alpha_and_parallel_share() -> None:
    pairs = [mlm.translation_source([(ids(20), ids(21))])]
    inputs = [tuple(tokens[1:-1]) for tokens in drawn(pairs, 0.25)]
    of = {kind: inputs.count(kind) / len(inputs) for kind in set(inputs)}
    assert of[20, EOS, EOS, 21] + of[21, EOS, EOS, 20] == pytest.approx(0.25, abs=0.04)
    assert of[20, EOS, EOS, 21] == pytest.approx(0.125, abs=0.03)
    assert of[10,] == pytest.approx(0.75 * 0.8, abs=0.05)
    assert of[11,] == pytest.approx(0.75 * 0.2, abs=0.04)


def test_without_pairs_the_parallel_share_goes_to_text() -> None:
    assert all(len(tokens) == 3 for tokens in drawn([], 0.9, count=2))


def test_batches_hold_like_lengths() -> None:
    lines = [(np.full(n, 9, dtype=np.int64),) for n in range(1, 41)]
    found = mlm.batches(
        [mlm.text_source(lines)],
        [],
        batch=32,
        max_length=64,
        alpha=1.0,
        parallel_share=0.0,
        rng=np.random.default_rng(0),
    )
    spread = [max(map(len, inputs)) - min(map(len, inputs)) for inputs in (next(found) for _ in range(32))]
    assert max(spread) <= 10  # unsorted, 32 of these lines spread over 35 tokens or more


def test_aligned_lines_pair_the_same_line_of_two_languages() -> None:
    lines = [[(ids(10 * language + line),) for line in range(3)] for language in range(1, 4)]
    rng = np.random.default_rng(0)
    source = mlm.aligned_source(0, lines, 2)
    seen = {tuple(int(part[0]) for part in source.draw(line, rng)) for line in range(2) for _ in range(40)}
    assert source.size == 2
    assert seen == {(10, 20), (10, 30), (11, 21), (11, 31)}


def test_masks_are_80_10_10_and_spare_special_tokens() -> None:
    rng = np.random.default_rng(0)
    vocabulary = 1005
    inputs = [np.concatenate([[BOS], np.full(100, 7), [EOS]]) for _ in range(400)] + [ids(BOS, 7, EOS)]
    batch = mlm.masked(inputs, 0.25, vocabulary, rng)
    words = batch.ids.size - np.isin(batch.ids, (BOS, PAD, EOS)).sum()
    now = batch.ids[batch.chosen]
    assert batch.chosen.sum() / words == pytest.approx(0.25, abs=0.01)
    assert (batch.targets == 7).all() and len(batch.targets) == batch.chosen.sum()
    assert (now == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (now == 7).mean() == pytest.approx(0.1, abs=0.02)
    swapped = now[(now != MASK) & (now != 7)]
    assert swapped.min() >= len(SPECIAL) and len(set(swapped.tolist())) > 500
    assert (batch.ids[~batch.chosen & (batch.ids > EOS)] == 7).all()


def test_at_least_one_token_is_masked() -> None:
    for seed in range(20):
        batch = mlm.masked([ids(BOS, 9, 9, EOS)], 0.001, 50, np.random.default_rng(seed))
        assert batch.chosen.sum() == 1


LANGUAGES = ("en", "qaa")


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A job over two languages; a line holds the six words of one of five topics."""

    def make(**training: Any) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        starts = rng.integers(30, size=300)
        for code in LANGUAGES:
            lines = [" ".join(f"{code}{s // 6}{(s + i) % 6}" for i in range(6)) for s in starts]
            (tmp_path / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        small = {"vocabulary": 150, "layers": 1, "hidden": 32, "heads": 2, "intermediate": 64, "batch": 16}
        values = {"languages": LANGUAGES, "steps": 150, "learning_rate": 0.01, "aligned_lines": 300}
        return {
            "name": "backbone/test",
            "digest": "0",
            "plan": {"step": "backbone"},
            "training": BackboneTraining.model_validate({**small, **values, **training}).model_dump(),
            "text": {code: str(tmp_path / f"{code}.txt") for code in LANGUAGES},
            "parallel": {},
            "compute": {"device": "cpu", "threads": 1, "state_minutes": 15},
            "output": str(tmp_path / "out"),
            "work": str(tmp_path / "work"),
        }

    return make


@pytest.mark.slow
def test_pretrain_learns_opens_and_repeats(make_job: Callable[..., dict[str, Any]]) -> None:
    job = make_job()
    out = Path(job["output"])
    pretrain(job)
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    curve = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert record["steps"] == curve[-1]["step"] == 150
    assert record["tokens"] == curve[-1]["tokens"] > 150 * 16 * 5
    assert curve[0]["loss"] > np.log(60)  # sixty words, evenly used: no better than a guess at first
    assert record["loss"] < np.log(60 / 2)  # the language shows, at the very least

    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == list(SPECIAL)
    inputs = tokenizer(["en1 en2 en3"], return_tensors="pt")
    encoder = AutoModel.from_pretrained(out, add_pooling_layer=False).eval()
    language_model = AutoModelForMaskedLM.from_pretrained(out).eval()
    with torch.no_grad():
        hidden = encoder(**inputs).last_hidden_state
        logits = language_model(**inputs).logits
        assert torch.allclose(language_model.lm_head(hidden), logits, atol=1e-5)
    decoder, embeddings = language_model.lm_head.decoder.weight, encoder.embeddings.word_embeddings.weight
    assert torch.equal(decoder, embeddings)

    first = (out / "model.safetensors").read_bytes()
    pretrain(job)
    assert (out / "model.safetensors").read_bytes() == first


@pytest.mark.parametrize("minutes", [15, 0])
def test_a_stopped_pretraining_goes_on_to_the_same_bits(
    make_job: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float
) -> None:
    whole = make_job(steps=30)
    pretrain(whole)
    job = {**whole, "output": str(tmp_path / "again"), "compute": {**whole["compute"], "state_minutes": minutes}}
    original = _Curve.add

    def add(self: _Curve, step: int, *more: Any) -> bool:
        if step == 13:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, *more)

    with monkeypatch.context() as patch:
        patch.setattr(_Curve, "add", add)
        with pytest.raises(StoppedError, match="stopped by SIGTERM at step 13"):
            pretrain(job)
    pretrain(job)
    for name in ("model.safetensors", "log.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    record = json.loads((tmp_path / "again" / "record.json").read_text(encoding="utf-8"))
    assert [attempt["from_step"] for attempt in record["attempts"]] == [0, 13]
    assert not (tmp_path / "work").exists()


def test_sizes_must_fit(make_job: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match=r"train\.hidden: 30 is not divisible by 4"):
        pretrain(make_job(hidden=30, heads=4))
    with pytest.raises(ConfigError, match=r"train\.max_length: 64 is more than `positions` \(20\)"):
        pretrain(make_job(positions=20))
    job = make_job()
    del job["text"]["qaa"]
    with pytest.raises(ConfigError, match="no text for qaa"):
        pretrain(job)


def test_a_loss_that_is_no_number_ends_the_training(make_job: Callable[..., dict[str, Any]]) -> None:
    job = make_job(learning_rate=1e30)
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+; lower the learning rate"):
        pretrain(job)
    assert not Path(job["output"]).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "en.txt: cannot be read"),
        (b"", "en.txt: the file holds no text"),
        (b"\n \n", "en.txt: the file holds no text"),
        (b"good\n\xff\n", "en.txt:2: not UTF-8 (byte 0xff)"),
        (b"a\tb\tc\n", "en.txt:1: 3 segments"),
        (b"a\nb\t\n", "en.txt:2: an empty segment"),
        (b"a\n", "en.txt: 1 lines, but aligned_lines is 300"),
        (b"a\n\n" + b"a\n" * 300, "en.txt:2: a blank line among the aligned ones"),
    ],
)
def test_bad_text_is_named(make_job: Callable[..., dict[str, Any]], content: bytes | None, message: str) -> None:
    job = make_job()
    path = Path(job["text"]["en"])
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)):
        pretrain(job)
    assert not Path(job["output"]).exists()


def test_parallel_files_need_two_columns(make_job: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    job = make_job()
    (tmp_path / "pairs.tsv").write_text("one\tuno\nonly\n", encoding="utf-8")
    job["parallel"] = {"qaa": str(tmp_path / "pairs.tsv")}
    with pytest.raises(DataError, match=r"pairs\.tsv:2: expected English, a tab, its translation"):
        pretrain(job)
