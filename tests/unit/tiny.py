"""Tokenizers of every family and a tiny encoder, made on the spot for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TEXT = [
    "the cat sat on the mat and the dog ran away",
    "a quick brown fox jumps over the lazy dog in 1 or 2 steps",
    "I saw her duck, she said; where is it?",
    "Donaudampfschiff über Straße naïve café",
    "東京 は 日本 の 首都 です",
    "emoji 😀 and astral 𝒳 letters",
]
FAMILIES = ("unigram", "bpe-metaspace", "wordpiece", "byte-level", "byte-level-prefix")


def tokenizer(family: str, size: int = 400) -> PreTrainedTokenizerFast:
    """A fast tokenizer of a family, trained on TEXT, with RoBERTa's (WordPiece: BERT's) special tokens."""
    rust = {
        "unigram": _unigram,
        "bpe-metaspace": _bpe,
        "wordpiece": _wordpiece,
        "byte-level": lambda size: _bytes(size, False),
        "byte-level-prefix": lambda size: _bytes(size, True),
    }[family](size)
    bert = family == "wordpiece"
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s>:0 $A:0 </s>:0 $B:1 </s>:1" if bert else "<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), SPECIAL, strict=True))
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if bert else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=rust, cls_token="<s>", sep_token="</s>", model_input_names=inputs, **names
    )


def _unigram(size: int) -> Tokenizer:
    rust = Tokenizer(models.Unigram())
    rust.normalizer = normalizers.NFKC()
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    rust.train_from_iterator(TEXT, trainer)
    return rust


def _bpe(size: int) -> Tokenizer:
    rust = Tokenizer(models.BPE(unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False))
    return rust


def _wordpiece(size: int) -> Tokenizer:
    rust = Tokenizer(models.WordPiece(unk_token="<unk>"))
    rust.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    rust.train_from_iterator(
        TEXT, trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    )
    return rust


def _bytes(size: int, prefix: bool) -> Tokenizer:
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    rust.train_from_iterator(TEXT, trainer)
    return rust


def encoder(vocabulary: int, **changes: Any) -> XLMRobertaModel:
    """One layer of width 16, without dropout and pooler, always the same weights."""
    values = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 66,
        "type_vocab_size": 1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.1,
        "pad_token_id": 1,
        **changes,
    }
    torch.manual_seed(0)
    return XLMRobertaModel(XLMRobertaConfig(vocab_size=vocabulary, **values), add_pooling_layer=False)


def backbone(directory: Path, **changes: Any) -> Path:
    """A checkpoint of a tiny encoder with a BPE tokenizer."""
    words = tokenizer("bpe-metaspace")
    encoder(len(words), **changes).save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def backbone_of(directory: Path, model_type: str, words: PreTrainedTokenizerFast, **config: Any) -> Path:
    """A checkpoint of a random encoder of another architecture, with a tokenizer."""
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    made = AutoConfig.for_model(model_type, vocab_size=len(words), max_position_embeddings=66, **ids, **config)
    torch.manual_seed(0)
    AutoModel.from_config(made).save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def table(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write prepared rows; returns the path."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)
