"""Tiny random sequence-to-sequence models, made on the spot for tests."""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece
import torch
from tests.unit.tiny import TEXT
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
)

_SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 128,
}


def _pieces(folder: Path, name: str) -> list[str]:
    """Train a SentencePiece model on TEXT; returns its pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"vocab_size": 120, "hard_vocab_limit": False, "character_coverage": 1.0, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_prefix=str(folder / name), num_threads=1, **options
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.model"))
    return [processor.id_to_piece(number) for number in range(processor.get_piece_size())]


def _vocabulary(folder: Path, pieces: list[str]) -> None:
    (folder / "vocab.json").write_text(json.dumps({piece: k for k, piece in enumerate(pieces)}), encoding="utf-8")


def marian(folder: Path, marks: tuple[str, ...] = ()) -> Path:
    """A Marian model in a directory; with marks (`>>deu<<`) one of several target languages."""
    pieces = ["</s>", "<unk>", *marks, *(p for p in _pieces(folder, "source") if not p.startswith("<")), "<pad>"]
    _vocabulary(folder, pieces)
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes((folder / "source.model").read_bytes())
    tokenizer = MarianTokenizer(str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"))
    torch.manual_seed(0)
    pad = len(pieces) - 1
    config = MarianConfig(
        vocab_size=len(pieces),
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        bos_token_id=None,
        **_SIZES,
    )
    MarianMTModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def m2m(folder: Path) -> Path:
    """An M2M100 model in a directory."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(p for p in _pieces(folder, "spm") if not p.startswith("<"))]
    _vocabulary(folder, pieces)
    (folder / "sentencepiece.bpe.model").write_bytes((folder / "spm.model").read_bytes())
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))
    torch.manual_seed(0)
    M2M100ForConditionalGeneration(M2M100Config(vocab_size=len(pieces) + 120, **_SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
