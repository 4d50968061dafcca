"""How large the mini world is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

from xstilts.errors import ConfigError


@dataclass(frozen=True)
class Sizes:
    """Items per dataset part. Training sets are English; dev and test are per language.

    Attributes:
        mnli, snli, qqp, squad_v1, squad_v2, hellaswag, ccg, cosmosqa, commonsenseqa, pawsx, udpos, panx, tydiqa:
            training examples (questions for QA, sentences for tagging).
        anli: training examples per round.
        dev, test: examples per part, whatever the dataset.
        tatoeba: sentence pairs per language.
        bucc_pairs: translation pairs per part (sample, training) and language.
        bucc_distractors: sentences without a translation, per part and side.
        text_lines: lines of pretraining text per language.
        mlm_lines: lines of text for masking per language.
        parallel_pairs: translation pairs for pretraining per language other than English.
    """

    mnli: int = 6000
    snli: int = 2000
    anli: int = 1000
    qqp: int = 4000
    squad_v1: int = 6000
    squad_v2: int = 6000
    hellaswag: int = 4000
    ccg: int = 2000
    cosmosqa: int = 4000
    commonsenseqa: int = 2000
    pawsx: int = 4000
    udpos: int = 2000
    panx: int = 2000
    tydiqa: int = 6000
    dev: int = 150
    test: int = 150
    tatoeba: int = 200
    bucc_pairs: int = 150
    bucc_distractors: int = 150
    text_lines: int = 4200
    mlm_lines: int = 1500
    parallel_pairs: int = 1800

    @classmethod
    def of(cls, changes: Mapping[str, int]) -> Sizes:
        """The default sizes with some changed.

        Raises:
            ConfigError: a name that is no size, or a size below 1.
        """
        names = [field.name for field in fields(cls)]
        for name, value in changes.items():
            if name not in names:
                raise ConfigError(
                    f"data.world.sizes.{name}", "the mini world has no such size", f"use {', '.join(names)}"
                )
            if value < 1:
                raise ConfigError(f"data.world.sizes.{name}", f"{value} is less than 1", "give a positive number")
        return cls(**changes)


_COUNTED = {
    "multinli_1.0/*_train.jsonl": ("mnli",),
    "XNLI-MT-1.0/*": ("mnli",),
    "snli_1.0/*_train.jsonl": ("snli",),
    "anli_v1.0/*/train.jsonl": ("anli",),
    "QQP/train.tsv": ("qqp",),
    "translated/*/QQP/train.tsv": ("qqp",),
    "squad/train-v1.1.json": ("squad_v1",),
    "squad/train-v2.0.json": ("squad_v2",),
    "hellaswag/*_train.jsonl": ("hellaswag",),
    "ccg/train.tsv": ("ccg",),
    "cosmosqa/train.csv": ("cosmosqa",),
    "commonsenseqa/train_*": ("commonsenseqa",),
    "x-final/*/train.tsv": ("pawsx",),
    "ud-treebanks-v2.5/*-ud-train.conllu": ("udpos",),
    "panx_dataset/*/train": ("panx",),
    "tydiqa/*.train.json": ("tydiqa",),
    "tydiqa/*.dev.json": ("test",),
    "tatoeba/*": ("tatoeba",),
    "bucc2018/*": ("bucc_pairs", "bucc_distractors"),
    "pretrain/parallel.*": ("parallel_pairs",),
    "pretrain/*.txt": ("text_lines",),
    "mlm/*": ("mlm_lines",),
    "xquad/*": ("test",),
    "*test*": ("test",),
    "*dev*": ("dev",),
    "*val*": ("dev",),
}


def counted(path: str) -> tuple[str, ...]:
    """The sizes that a file's content depends on; all of them where the file is not known.

    Args:
        path: its place in the world, or a pattern of such places.
    """
    named = (sizes for pattern, sizes in _COUNTED.items() if fnmatchcase(path, pattern))
    return next(named, tuple(field.name for field in fields(Sizes)))
