"""A BPE tokenizer in XLM-R's manner, trained from raw text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # their ids are their places here
BOS, PAD, EOS, UNK, MASK = range(len(SPECIAL))
_LONGEST_TOKEN = 16  # characters; scripts without spaces would else learn whole sentences as one token


def train_tokenizer(texts: Sequence[str], vocabulary: int, max_length: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of at most `vocabulary` tokens; the same texts give the same tokenizer.

    Every whitespace-separated word starts with "▁", so that a word has the same tokens alone and in a text.
    The most frequent characters, up to half of the vocabulary, are its alphabet; rarer ones become <unk>.

    Args:
        texts: raw text, one item a line.
        vocabulary: size at most, special tokens included.
        max_length: longest input in tokens, kept as the tokenizer's `model_max_length`.
    """
    tokenizer = _untrained()
    alphabet = _alphabet(tokenizer, texts, vocabulary // 2)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True, lstrip=token == "<mask>") for token in SPECIAL],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        max_token_length=_LONGEST_TOKEN,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        add_prefix_space=True,
    )


def _untrained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", BOS), ("</s>", EOS)],
    )
    return tokenizer


def _alphabet(tokenizer: Tokenizer, texts: Iterable[str], size: int) -> list[str]:
    """The most frequent characters; ties go by code point (the trainer's own limit breaks them at random)."""
    counts: Counter[str] = Counter()
    for text in texts:
        words = tokenizer.normalizer.normalize_str(text).split()
        counts.update("".join(words))
        counts["▁"] += len(words)
    return sorted(counts, key=lambda character: (-counts[character], character))[:size]
