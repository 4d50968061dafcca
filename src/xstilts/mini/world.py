"""The mini world: every dataset of the study in miniature, made from known truths.

Events (`events`) are told (`grammar`) in English and five invented languages (`tongues`); datasets ask about them:

    what                 truth                                               chance
    NLI (`pairs`)        what one event says of another (`events.relation`)   33.3 %
    PAWS-X, QQP          whether two word orders tell the same event          50 %
    QA (`reading`)       the phrase in the asked slot                         about half by reading the wh-word only
    multiple choice      the opposite action, the asked slot (`choices`)      25 %, CommonsenseQA 20 %
    POS, NER, supertags  the grammar that told the event                      no entity: F1 0
    retrieval            the event told in the other language                 1 / sentences

No label is noise. Events are shared out between train, dev, test and pretraining text by their content
(`events.part_of`), so what is asked in a test occurs in no training set and no pretraining text.
Every file depends only on the seed, its own size and its own language, never on the other languages made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from xstilts.mini.intermediates import write_intermediates
from xstilts.mini.other_languages import write_other_languages
from xstilts.mini.sizes import Sizes
from xstilts.mini.targets import write_pretraining, write_targets
from xstilts.mini.tongues import ENGLISH, tongue, vocabulary


def write_world(
    root: Path, *, seed: int, languages: Sequence[str], sizes: Mapping[str, int], processes: int = 1
) -> None:
    """Write all datasets and the pretraining text in their upstream layouts under `root`.

    Args:
        root: the data root; made if missing, its files overwritten.
        seed: of the world: other seeds give other items and other invented words.
        languages: codes (`tongues.TONGUES`); English is always made.
        sizes: changes to the default `Sizes`, by name.
        processes: how many write it.

    Raises:
        ConfigError: an unknown language, an unknown size or one below 1.
    """
    codes = sorted({ENGLISH, *languages})
    found = [vocabulary(seed, tongue(code).code) for code in codes]
    chosen = Sizes.of(sizes)
    english = found[codes.index(ENGLISH)]
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        written = [
            pool.submit(write_pretraining, root, seed, chosen, found),
            pool.submit(write_targets, root, seed, chosen, found),
            pool.submit(write_intermediates, root, seed, chosen, english),
            pool.submit(write_other_languages, root, seed, chosen, found),
        ]
    for one in written:
        one.result()
