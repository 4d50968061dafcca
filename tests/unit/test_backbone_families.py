"""Every family of encoders that the study names trains every head and predicts, through the real functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny import backbone_of, table, tokenizer
from trainings import job, pair_rows, record, tagging_rows
from transformers import AutoModel

from xstilts.evaluation.predict import predict
from xstilts.training.run import train

pytestmark = pytest.mark.slow

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
# Model type: its tokenizer's family in `tiny`, and what its config needs besides.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("wordpiece", {"type_vocab_size": 2}),
    "xlm-roberta": ("unigram", {"type_vocab_size": 1}),
    "xlm-roberta-xl": ("unigram", {"type_vocab_size": 1}),
    "rembert": ("unigram", {"input_embedding_size": 8, "output_embedding_size": 8}),
    "deberta-v2": ("bpe-metaspace", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}),
    "modernbert": ("byte-level", {"global_attn_every_n_layers": 2, "local_attention": 16}),
}
LENGTHS = {"max_length": 24, "doc_stride": 8, "max_query_length": 8, "max_answer_length": 5, "n_best": 3}


def choice_rows(number: int) -> list[dict[str, Any]]:
    """The right choice repeats the context."""
    rows = []
    for row in pair_rows(number, 3):
        right = int(row["id"]) % 2
        choices = [row["text_a"], "the dog ran"][:: -1 if right else 1]
        rows.append({"id": row["id"], "context": row["text_a"], "question": "", "choices": choices, "label": right})
    return rows


def span_rows(number: int) -> list[dict[str, Any]]:
    """The answer is the context's second word."""
    rng = np.random.default_rng(4)
    rows = []
    for row in pair_rows(number, 4):
        words = [*row["text_a"].split(), *rng.choice(["mat", "fox", "dog"], 12).tolist()]
        place = {"title": "t", "context": " ".join(words), "question": "which word", "answers": [words[1]]}
        rows.append({"id": row["id"], **place, "starts": [len(words[0]) + 1]})
    return rows


ROWS = {"pair": pair_rows(16, 0), "choice": choice_rows(16), "span": span_rows(16), "tagging": tagging_rows(16, 0)}
LABELS: dict[str, list[str]] = {"pair": ["other", "same"], "span": [], "tagging": []}


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family, changes = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp("backbone") / request.param
    return backbone_of(folder, request.param, tokenizer(family), **SMALL, **changes)


@pytest.mark.parametrize("kind", ROWS)
def test_every_head_trains_and_predicts(backbone: Path, kind: str, tmp_path: Path) -> None:
    """Multiple choice is no target's kind, so its predictions are those of a look at dev."""
    rows = table(tmp_path / "rows.parquet", ROWS[kind])
    hyper: dict[str, Any] = {"steps": 2, "batch": 4, **LENGTHS}
    more: dict[str, Any] = {"checkpoint": str(backbone), "train": [rows], "dev": [rows]}
    if kind == "choice":
        hyper["selection"] = {"checkpoint": "best"}
        more["criterion"] = "classification.accuracy"
    train(job(tmp_path, tmp_path / "made", kind, hyper=hyper, **more))
    assert AutoModel.from_pretrained(tmp_path / "made").config.hidden_size == 16
    if kind == "choice":
        assert 0 <= record(tmp_path / "made")["dev"] <= 100
        return
    labels = LABELS[kind] or sorted({tag for row in ROWS[kind] for tag in row.get("tags", [])})
    made = predicted(tmp_path, tmp_path / "made", {"task": "t", "kind": kind, "labels": labels}, rows, hyper=LENGTHS)
    assert made["id"].to_pylist() == [row["id"] for row in ROWS[kind]]
    assert made["prediction"].null_count == 0


def test_the_bare_encoder_gives_sentence_vectors(backbone: Path, tmp_path: Path) -> None:
    sides = [("foreign", "f", ["e0"]), ("english", "e", [])]
    rows = [
        {"side": side, "id": f"{letter}{i}", "text": text, "gold": gold if i == 0 else [f"e{i}"] if gold else []}
        for side, letter, gold in sides
        for i, text in enumerate(["the cat sat", "a dog ran away", "quick brown fox"])
    ]
    retrieval = {"layers": [1], "max_length": 16, "neighbours": 2}
    part = {"task": "tatoeba", "kind": "retrieval", "labels": []}
    made = predicted(tmp_path, backbone, part, table(tmp_path / "rows.parquet", rows), retrieval=retrieval)
    assert set(made["layer"].to_pylist()) == {1}
    raw = made.filter(np.logical_not(made["centred"].to_numpy()))
    # The same sentence on both sides has the same vector, and is its own nearest.
    assert raw["prediction"].to_pylist() == raw["gold"].to_pylist()


def predicted(folder: Path, checkpoint: Path, part: dict[str, Any], rows: str, **changes: Any) -> Any:
    """The prediction table of one part."""
    parts = [{**part, "name": "t/de", "language": "de", "variant": None, "data": {"test": rows}, "digest": "d"}]
    predict(
        {
            "name": "predict/t", "digest": "0", "plan": {}, "checkpoint": str(checkpoint), "precision": "fp32",
            "hyper": None, "retrieval": None, "batch_tokens": 256, "parts": parts,
            "compute": {"device": "cpu", "threads": 1}, "store": str(folder / "store"),
            "tokens": str(folder / "tokens"),
            "output": str(folder / "out"), **changes,
        }
    )  # fmt: skip
    return pq.read_table(folder / "out" / "t" / "de.parquet")
