"""Measures the statistics of src/xstilts/data/lengths.yaml from prepared samples of the datasets.

    python benchmarks/token_lengths.py --data results/local/data --vocabulary mbert_vocab.txt.gz [--texts pretrain]
    python benchmarks/token_lengths.py --data results/mini/data --tokenizer results/mini/backbone/mini/*/tokenizer.json

Prints YAML: quantiles of English tokens by dataset and, from texts that are translations line by line, tokens per
English token and per character of each language.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from xstilts.budget import lengths


def word_pieces(vocabulary: Path) -> Callable[[list[str]], Any]:
    """Counts tokens with a BERT vocabulary (cased)."""
    with gzip.open(vocabulary, "rt", encoding="utf-8") as lines:
        pieces = {line.rstrip("\n"): i for i, line in enumerate(lines)}
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return lambda texts: np.array([len(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False)])


def datasets(data: Path, count: Callable[[list[str]], Any]) -> None:
    """Print the quantiles of each dataset's English part (of a retrieval set, of its first language)."""
    for dataset in sorted(data.iterdir()):
        parts = sorted(dataset.glob("*/train.en.parquet")) or sorted(dataset.glob("*/test.*.parquet"))
        english = [part for part in parts if part.stem.endswith(".en")] or parts
        rows, roles = lengths.measured(english[0], count)
        shown = ", ".join(f"{role}: {[round(x) for x in curve]}" for role, curve in roles.items() if role != "choices")
        choices = f", choices: {roles['choices'][0]:g}" if "choices" in roles else ""
        print(f"  {dataset.name}: {{{shown}{choices}}}  # {rows} rows of {english[0].stem}")


def languages(texts: Path, count: Callable[[list[str]], Any], aligned: int) -> None:
    """Print each language's tokens per English token and per character."""
    read = {p.stem: p.read_text(encoding="utf-8").split("\n")[:aligned] for p in sorted(texts.glob("??.txt"))}
    tokens = {code: count(lines).sum() for code, lines in read.items()}
    for name, against in (
        ("tokens_per_english_token", dict.fromkeys(read, tokens["en"])),
        ("tokens_per_character", {code: sum(map(len, lines)) for code, lines in read.items()}),
    ):
        print(f"{name}: {{{', '.join(f'{code}: {tokens[code] / against[code]:.2f}' for code in read)}}}")


def main() -> None:
    """Measure what the command line names."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--data", type=Path, required=True, help="prepared datasets of a study: results/<study>/data"
    )
    arguments.add_argument("--tokenizer", type=Path, help="tokenizer.json")
    arguments.add_argument("--vocabulary", type=Path, help="a BERT vocabulary, gzipped, if there is no tokenizer.json")
    arguments.add_argument("--texts", type=Path, help="folder of {lang}.txt, translations line by line")
    arguments.add_argument("--aligned", type=int, default=1430, help="lines that are translations")
    given = arguments.parse_args()
    count = lengths.by_tokenizer(given.tokenizer) if given.tokenizer else word_pieces(given.vocabulary)
    datasets(given.data, count)
    if given.texts:
        languages(given.texts, count, given.aligned)


if __name__ == "__main__":
    main()
