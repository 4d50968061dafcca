"""The nine English training tasks as files in their upstream formats (multinli_1.0/ … commonsenseqa/)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from xstilts.mini import choices, items, reading
from xstilts.mini.choices import Choice
from xstilts.mini.events import Part
from xstilts.mini.grammar import question, sentence, tell
from xstilts.mini.layout import write_jsonl, write_squad, write_table, write_tagged
from xstilts.mini.pairs import Inference
from xstilts.mini.reading import Passage, context
from xstilts.mini.seeds import stream
from xstilts.mini.sizes import Sizes
from xstilts.mini.tongues import Vocabulary

PARTS: tuple[Part, ...] = ("train", "dev")
QQP_HEADER = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
_NO_CONSENSUS_EVERY = 50
_MAKERS = {
    "hellaswag": choices.hellaswag,
    "cosmosqa": choices.cosmosqa,
    "commonsenseqa": choices.commonsenseqa,
}


def write_intermediates(root: Path, seed: int, sizes: Sizes, english: Vocabulary) -> None:
    """Write every intermediate task's training and dev files under `root`."""
    for part in PARTS:
        _write_nli(root, seed, sizes, english, part)
        _write_anli(root, seed, sizes, english, part)
        _write_qqp(root / "QQP" / f"{part}.tsv", seed, _count(sizes, "qqp", part), english, part)
        _write_squads(root / "squad", seed, sizes, english, part)
        _write_ccg(root / "ccg" / f"{part}.tsv", seed, _count(sizes, "ccg", part), english, part)
        _write_choices(root, seed, sizes, english, part)


def _count(sizes: Sizes, dataset: str, part: Part) -> int:
    return int(getattr(sizes, dataset if part == "train" else part))


def _write_nli(root: Path, seed: int, sizes: Sizes, english: Vocabulary, part: Part) -> None:
    dev = part == "dev"
    for dataset, path, genre in (
        ("mnli", f"multinli_1.0/multinli_1.0_{'dev_matched' if dev else part}.jsonl", "events"),
        ("snli", f"snli_1.0/snli_1.0_{part}.jsonl", ""),
    ):
        found = items.inferences(seed, dataset, part, _count(sizes, dataset, part))
        rows = (_nli_row(item, f"{dataset}-{part}-{i}", english, genre) for i, item in enumerate(found))
        write_jsonl(root / path, _with_no_consensus(rows) if dataset == "snli" else rows)


def _nli_row(item: Inference, identity: str, english: Vocabulary, genre: str) -> dict[str, Any]:
    row = {
        "gold_label": item.label,
        "sentence1": context(english, item.premise)[0],
        "sentence2": tell(english, *item.hypothesis),
        "pairID": identity,
    }
    return {**row, "promptID": identity.rsplit("-", 1)[1], "genre": genre} if genre else row


def _with_no_consensus(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """After every 50th row the same pair again as one whose annotators agreed on nothing: `-`, dropped by readers."""
    for i, row in enumerate(rows, 1):
        yield row
        if i % _NO_CONSENSUS_EVERY == 0:
            yield {**row, "gold_label": "-", "pairID": f"{row['pairID']}-no-consensus"}


def _write_anli(root: Path, seed: int, sizes: Sizes, english: Vocabulary, part: Part) -> None:
    for number in ("R1", "R2", "R3"):
        found = items.inferences(seed, number, part, _count(sizes, "anli", part))
        rows = (_anli_row(item, f"{number}-{part}-{i}", english) for i, item in enumerate(found))
        write_jsonl(root / "anli_v1.0" / number / f"{part}.jsonl", rows)


def _anli_row(item: Inference, identity: str, english: Vocabulary) -> dict[str, Any]:
    return {
        "uid": identity,
        "context": context(english, item.premise)[0],
        "hypothesis": tell(english, *item.hypothesis),
        "label": item.label[0],
        "reason": "",
    }


def _write_qqp(path: Path, seed: int, count: int, english: Vocabulary, part: Part) -> None:
    pairs = enumerate(items.question_pairs(seed, part, count))
    rows = (
        (i, 2 * i, 2 * i + 1, question(english, *pair.first), question(english, *pair.second), int(pair.same))
        for i, pair in pairs
    )
    write_table(path, rows, QQP_HEADER)


def passages(rng: Random, part: Part, questions: int, impossible: bool = False) -> Iterator[Passage]:
    """Passages with `questions` questions in all, two each (the last perhaps one)."""
    for left in range(questions, 0, -2):
        yield reading.passage(rng, part, min(2, left), impossible)


def _write_squads(root: Path, seed: int, sizes: Sizes, english: Vocabulary, part: Part) -> None:
    for dataset, version in (("squad_v1", "v1.1"), ("squad_v2", "v2.0")):
        rng = stream(seed, dataset, part)
        found = passages(rng, part, _count(sizes, dataset, part), impossible=dataset == "squad_v2")
        write_squad(root / f"{part}-{version}.json", found, english, f"{dataset}-{part}", version)


def _write_ccg(path: Path, seed: int, count: int, english: Vocabulary, part: Part) -> None:
    found = (sentence(english, *clauses) for clauses in items.sentences(seed, "ccg", part, "en", count))
    write_tagged(path, ([(token.form, token.supertag) for token in tokens] for tokens in found))


def _write_choices(root: Path, seed: int, sizes: Sizes, english: Vocabulary, part: Part) -> None:
    def made(dataset: str) -> Iterator[Choice]:
        rng, make = stream(seed, dataset, part), _MAKERS[dataset]
        return items.unique(lambda _: make(rng, part, english), _count(sizes, dataset, part))

    train = part == "train"
    hellaswag = (_hellaswag_row(i, item, part) for i, item in enumerate(made("hellaswag")))
    write_jsonl(root / "hellaswag" / f"hellaswag_{'train' if train else 'val'}.jsonl", hellaswag)
    _write_cosmosqa(root / "cosmosqa" / f"{'train' if train else 'valid'}.csv", part, made("cosmosqa"))
    commonsenseqa = (_commonsense_row(i, item, part) for i, item in enumerate(made("commonsenseqa")))
    write_jsonl(root / "commonsenseqa" / f"{part}_rand_split.jsonl", commonsenseqa)


def _hellaswag_row(i: int, item: Choice, part: Part) -> dict[str, Any]:
    return {
        "ind": i,
        "activity_label": item.concept,
        "ctx_a": item.context,
        "ctx_b": item.question,
        "ctx": f"{item.context} {item.question}",
        "endings": list(item.answers),
        "label": item.label,
        "split_type": "indomain",
        "source_id": f"mini~{part}-{i}",
    }


def _write_cosmosqa(path: Path, part: Part, found: Iterator[Choice]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("id", "context", "question", *(f"answer{i}" for i in range(4)), "label"))
        for i, item in enumerate(found):
            table.writerow((f"cosmosqa-{part}-{i}", item.context, item.question, *item.answers, item.label))


def _commonsense_row(i: int, item: Choice, part: Part) -> dict[str, Any]:
    letters = "ABCDE"
    answers = [{"label": letter, "text": answer} for letter, answer in zip(letters, item.answers, strict=True)]
    return {
        "answerKey": letters[item.label],
        "id": f"commonsenseqa-{part}-{i}",
        "question": {"question_concept": item.concept, "choices": answers, "stem": item.question},
    }
