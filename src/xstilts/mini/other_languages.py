"""Training data in other languages than English: translations, exact by construction, and text for masking.

XNLI-MT-1.0/multinli/multinli.train.<code>.tsv   MNLI's training set, as XNLI's authors published theirs
translated/<code>/QQP/train.tsv                  QQP's, in QQP's own format
mlm/<code>.txt                                   plain text, one sentence or two a line
"""

from __future__ import annotations

from pathlib import Path

from xstilts.mini import corpus, items
from xstilts.mini.grammar import question, tell
from xstilts.mini.intermediates import QQP_HEADER
from xstilts.mini.layout import write_lines, write_table
from xstilts.mini.reading import context
from xstilts.mini.sizes import Sizes
from xstilts.mini.tongues import ENGLISH, Vocabulary

_NAMES = {"contradiction": "contradictory"}  # as in XNLI-MT-1.0


def write_other_languages(root: Path, seed: int, sizes: Sizes, tongues: list[Vocabulary]) -> None:
    """Write translations into every language but English, and text in every language, under `root`."""
    for vocabulary in tongues:
        code = vocabulary.tongue.code
        write_lines(root / "mlm" / f"{code}.txt", corpus.plain_lines(seed, vocabulary, sizes.mlm_lines))
        if code != ENGLISH:
            _write_mnli(root / "XNLI-MT-1.0" / "multinli" / f"multinli.train.{code}.tsv", seed, sizes.mnli, vocabulary)
            _write_qqp(root / "translated" / code / "QQP" / "train.tsv", seed, sizes.qqp, vocabulary)


def _write_mnli(path: Path, seed: int, size: int, vocabulary: Vocabulary) -> None:
    found = items.inferences(seed, "mnli", "train", size)
    rows = (
        (context(vocabulary, item.premise)[0], tell(vocabulary, *item.hypothesis), _NAMES.get(item.label, item.label))
        for item in found
    )
    write_table(path, rows, ("premise", "hypo", "label"))


def _write_qqp(path: Path, seed: int, size: int, vocabulary: Vocabulary) -> None:
    pairs = enumerate(items.question_pairs(seed, "train", size))
    rows = (
        (i, 2 * i, 2 * i + 1, question(vocabulary, *pair.first), question(vocabulary, *pair.second), int(pair.same))
        for i, pair in pairs
    )
    write_table(path, rows, QQP_HEADER)
