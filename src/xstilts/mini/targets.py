"""The nine target tasks as files in their upstream formats (XNLI-1.0/ … bucc2018/), and the pretraining text.

XNLI, PAWS-X, XQuAD and MLQA hold the same items in every language; Tatoeba and BUCC pair each language with English;
UDPOS, PANX and TyDiQA have items of their own in each language.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from xstilts import languages
from xstilts.mini import corpus, items
from xstilts.mini.events import Event, Part
from xstilts.mini.grammar import Token, sentence, tell
from xstilts.mini.intermediates import passages
from xstilts.mini.layout import write_lines, write_squad, write_table, write_tagged
from xstilts.mini.pairs import Inference
from xstilts.mini.seeds import stream
from xstilts.mini.sizes import Sizes
from xstilts.mini.tongues import ENGLISH, Vocabulary

_EVALUATED: tuple[Part, ...] = ("dev", "test")
_XNLI_HEADER = (
    *("language", "gold_label"),
    *("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse"),
    *("sentence1", "sentence2", "promptID", "pairID", "genre"),
    *(f"label{i}" for i in range(1, 6)),
    *("sentence1_tokenized", "sentence2_tokenized", "match"),
)
_FUSED_SHARE = 0.15
_BUCC_NAMES: dict[Part, str] = {"dev": "sample", "test": "training"}


def write_targets(root: Path, seed: int, sizes: Sizes, tongues: list[Vocabulary]) -> None:
    """Write every target task's files under `root`: training sets in English, the rest in every language."""
    english = next(v for v in tongues if v.tongue.code == ENGLISH)
    for part in _EVALUATED:
        _write_xnli(root / "XNLI-1.0" / f"xnli.{part}.tsv", seed, getattr(sizes, part), tongues, part)
    _write_training(root, seed, sizes, english)
    for vocabulary in tongues:
        _write_language(root, seed, sizes, vocabulary)
        if vocabulary is not english:
            _write_tatoeba(root / "tatoeba" / "v1", seed, sizes.tatoeba, vocabulary, english)
            _write_bucc(root / "bucc2018", seed, sizes, vocabulary, english)


def write_pretraining(root: Path, seed: int, sizes: Sizes, tongues: list[Vocabulary]) -> None:
    """Write `pretrain/<language>.txt`, and `pretrain/parallel.en-<language>.tsv` of all but English."""
    english = next(v for v in tongues if v.tongue.code == ENGLISH)
    for vocabulary in tongues:
        code = vocabulary.tongue.code
        found = corpus.lines(seed, vocabulary, english, sizes.text_lines)
        write_lines(root / "pretrain" / f"{code}.txt", found)
        if vocabulary is not english:
            pairs = corpus.parallel(seed, vocabulary, english, sizes.parallel_pairs)
            write_table(root / "pretrain" / f"parallel.en-{code}.tsv", pairs)


def _write_training(root: Path, seed: int, sizes: Sizes, english: Vocabulary) -> None:
    _write_pawsx(root / "x-final" / ENGLISH / "train.tsv", seed, sizes.pawsx, english, "train")
    _write_tagging(root, seed, sizes.udpos, sizes.panx, english, "train")
    _write_tydiqa(root, seed, sizes.tydiqa, english, "train")


def _write_language(root: Path, seed: int, sizes: Sizes, vocabulary: Vocabulary) -> None:
    code = vocabulary.tongue.code
    for part in _EVALUATED:
        size = getattr(sizes, part)
        _write_pawsx(root / "x-final" / code / f"{part}_2k.tsv", seed, size, vocabulary, part)
        _write_tagging(root, seed, size, size, vocabulary, part)
        mlqa = passages(stream(seed, "mlqa", part), part, size)
        path = root / "MLQA_V1" / part / f"{part}-context-{code}-question-{code}.json"
        write_squad(path, mlqa, vocabulary, f"mlqa-{part}")
    xquad = passages(stream(seed, "xquad", "test"), "test", sizes.test)
    write_squad(root / "xquad" / f"xquad.{code}.json", xquad, vocabulary, "xquad")
    _write_tydiqa(root, seed, sizes.test, vocabulary, "test")


def _write_xnli(path: Path, seed: int, size: int, tongues: list[Vocabulary], part: Part) -> None:
    found = list(items.inferences(seed, "xnli", part, size))
    rows = (_xnli_row(v, i, item) for v in tongues for i, item in enumerate(found))
    write_table(path, rows, _XNLI_HEADER)


def _xnli_row(vocabulary: Vocabulary, i: int, item: Inference) -> tuple[object, ...]:
    (premise,) = item.premise
    texts = tell(vocabulary, *premise), tell(vocabulary, *item.hypothesis)
    parses, labels = [""] * 4, [item.label] * 5
    return (vocabulary.tongue.code, item.label, *parses, *texts, i // 3, i, "events", *labels, *texts, True)


def _write_pawsx(path: Path, seed: int, size: int, vocabulary: Vocabulary, part: Part) -> None:
    found = enumerate(items.paraphrases(seed, part, size), 1)
    rows = ((i, tell(vocabulary, *p.first), tell(vocabulary, *p.second), int(p.same)) for i, p in found)
    write_table(path, rows, ("id", "sentence1", "sentence2", "label"))


def _write_tagging(root: Path, seed: int, udpos: int, panx: int, vocabulary: Vocabulary, part: Part) -> None:
    code = vocabulary.tongue.code
    treebank = root / "ud-treebanks-v2.5" / f"UD_{languages.table()[code].name.replace(' ', '_')}-Mini"
    _write_conllu(treebank / f"{code}_mini-ud-{part}.conllu", seed, udpos, vocabulary, part)
    found = (sentence(vocabulary, *clauses) for clauses in items.sentences(seed, "panx", part, code, panx))
    tagged = ([(f"{code}:{token.form}", token.entity) for token in tokens] for tokens in found)
    write_tagged(root / "panx_dataset" / code / part, tagged)


def _write_conllu(path: Path, seed: int, size: int, vocabulary: Vocabulary, part: Part) -> None:
    code = vocabulary.tongue.code
    rng = stream(seed, "udpos", part, code, "fused")
    lines: list[str] = []
    for i, clauses in enumerate(items.sentences(seed, "udpos", part, code, size)):
        tokens = sentence(vocabulary, *clauses)
        fused = _adposition_pair(tokens) if rng.random() < _FUSED_SHARE else None
        lines += [f"# sent_id = {part}-{i}", f"# text = {_written(tokens, fused)}"]
        lines += [*_conllu_rows(tokens, fused), ""]
    write_lines(path, lines)


def _adposition_pair(tokens: list[Token]) -> int | None:
    """Where the first adposition stands next to a word of its own phrase: the pair to be written as one word."""
    for i, (left, right) in enumerate(pairwise(tokens)):
        if "ADP" in (left.upos, right.upos) and left.slot == right.slot:
            return i
    return None


def _written(tokens: list[Token], fused: int | None) -> str:
    ends = ("" if i in (fused, len(tokens) - 1) else " " for i in range(len(tokens)))
    return "".join(token.form + end for token, end in zip(tokens, ends, strict=True))


def _conllu_rows(tokens: list[Token], fused: int | None) -> Iterator[str]:
    """The word lines of a sentence, all words attached to its first verb; a multiword token where two are fused."""
    root = 1 + next(i for i, token in enumerate(tokens) if token.upos == "VERB")
    for i, token in enumerate(tokens, 1):
        if i - 1 == fused:
            yield f"{i}-{i + 1}\t{token.form}{tokens[i].form}" + "\t_" * 8
        head, relation = (0, "root") if i == root else (root, "punct" if token.upos == "PUNCT" else "dep")
        yield "\t".join((str(i), token.form, token.lemma, token.upos, "_", "_", str(head), relation, "_", "_"))


def _write_tydiqa(root: Path, seed: int, size: int, vocabulary: Vocabulary, part: Part) -> None:
    code = vocabulary.tongue.code
    name = "train" if part == "train" else "dev"
    found = passages(stream(seed, "tydiqa", part, code), part, size)
    path = root / "tydiqa" / f"tydiqa-goldp-v1.1-{name}" / f"tydiqa.goldp.{code}.{name}.json"
    write_squad(path, found, vocabulary, f"tydiqa-{code}-{name}")


def _write_tatoeba(root: Path, seed: int, size: int, vocabulary: Vocabulary, english: Vocabulary) -> None:
    code = vocabulary.tongue.code
    stem = f"tatoeba.{languages.table()[code].iso3}-eng"
    found = items.facts(stream(seed, "tatoeba", "test", code), "test", size)
    write_lines(root / f"{stem}.{languages.table()[code].iso3}", (tell(vocabulary, event) for event in found))
    write_lines(root / f"{stem}.eng", (tell(english, event) for event in found))


def _write_bucc(root: Path, seed: int, sizes: Sizes, vocabulary: Vocabulary, english: Vocabulary) -> None:
    code = vocabulary.tongue.code
    for part, name in _BUCC_NAMES.items():
        rng = stream(seed, "bucc2018", part, code)
        many, more = sizes.bucc_pairs, sizes.bucc_distractors
        found = items.facts(rng, part, many + 2 * more)
        foreign = rng.sample(found[: many + more], many + more)
        native = rng.sample(found[:many] + found[many + more :], many + more)
        stem = root / f"{code}-en" / f"{code}-en.{name}"
        _write_side(stem.with_name(f"{stem.name}.{code}"), code, foreign, vocabulary)
        _write_side(stem.with_name(f"{stem.name}.en"), ENGLISH, native, english)
        places = ({event: i for i, event in enumerate(side)} for side in (foreign, native))
        here, there = places
        gold = sorted((_identity(code, here[e]), _identity(ENGLISH, there[e])) for e in found[:many])
        write_table(stem.with_name(f"{stem.name}.gold"), gold)


def _write_side(path: Path, code: str, events: list[Event], vocabulary: Vocabulary) -> None:
    write_table(path, ((_identity(code, i), tell(vocabulary, event)) for i, event in enumerate(events)))


def _identity(code: str, i: int) -> str:
    return f"{code}-{i + 1:09d}"
