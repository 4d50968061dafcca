"""The mini world: whole, well-formed, true to its own semantics, and the same wherever and however it is made."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import ConfigError
from xstilts.mini import events, lexicon
from xstilts.mini.events import Event, Phrase
from xstilts.mini.grammar import Clause, sentence, tell
from xstilts.mini.seeds import stream
from xstilts.mini.sizes import Sizes, counted
from xstilts.mini.tongues import TONGUES, vocabulary
from xstilts.mini.world import write_world

INVENTED = ("qaa", "qab", "qac", "qad", "qae")
LANGUAGES = ("en", *INVENTED)
SIZES = {
    **dict.fromkeys(("mnli", "snli", "anli", "qqp", "squad_v1", "squad_v2", "hellaswag", "ccg"), 60),
    **dict.fromkeys(("cosmosqa", "commonsenseqa", "pawsx", "udpos", "panx", "tydiqa"), 60),
    **dict.fromkeys(("dev", "test", "parallel_pairs"), 30),
    "tatoeba": 20,
    "bucc_pairs": 12,
    "bucc_distractors": 9,
    "text_lines": 60,
    "mlm_lines": 60,
}
SEED = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world in every language."""
    directory = tmp_path_factory.mktemp("world")
    write_world(directory, seed=SEED, languages=INVENTED, sizes=SIZES)
    return directory


def digests(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(path)]


def table(path: Path) -> list[dict[str, str]]:
    header, *rows = [line.split("\t") for line in lines(path)]
    assert all(len(row) == len(header) for row in rows)
    return [dict(zip(header, row, strict=True)) for row in rows]


def tagged(path: Path) -> list[list[tuple[str, str]]]:
    blocks = path.read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")
    return [[(token, tag) for token, tag in (line.split("\t") for line in block.split("\n"))] for block in blocks]


def questions(path: Path) -> list[tuple[str, dict[str, Any]]]:
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [(p["context"], qa) for article in articles for p in article["paragraphs"] for qa in p["qas"]]


def sentences_of(context: str) -> list[str]:
    return [f"{part} ." for part in context.removesuffix(" .").split(" . ")]


def names(text: str) -> Counter[str]:
    """Words that are the same in every language: names and numbers."""
    return Counter(word for word in text.split() if word.isdigit() or ("A" <= word[0] <= "Z"))


class Reader:
    """Reads English back into an event, knowing the word lists but nothing of how sentences were made."""

    def __init__(self, text: str) -> None:
        self.words = text.removesuffix(" .").removesuffix(" ?").split()

    def event(self) -> Event:
        slots: dict[str, Any] = {}
        while self.words[0] in ("in", "at"):
            self.circumstance(slots)
        slots["agent"] = self.thing()
        slots["verb"] = self.words.pop(0)
        assert slots["verb"] in lexicon.VERBS
        slots["object"] = self.thing()
        while self.words:
            self.circumstance(slots)
        return Event(**slots)

    def circumstance(self, slots: dict[str, Any]) -> None:
        word = self.words.pop(0)
        slot = {"for": "beneficiary", "in": "place", "at": "time", "where": "place", "when": "time"}[word]
        assert slot not in slots
        if word.startswith("wh"):
            slots[slot] = Phrase(word, "wh")
        elif slot == "place" and self.words[0] != "the":
            slots[slot] = Phrase(self.words.pop(0), "LOC")
        else:
            slots[slot] = Phrase(self.words.pop(0), "noun") if slot == "time" else self.thing()

    def thing(self) -> Phrase:
        word = self.words.pop(0)
        if word in ("who", "what"):
            return Phrase(word, "wh")
        if word != "the":
            return self.name(word)
        word = self.words.pop(0)
        adjective, nouns = "", (*lexicon.PROFESSIONS, *lexicon.OBJECTS, *lexicon.PLACES, *lexicon.GENERAL)
        if word in lexicon.ADJECTIVES and self.words and self.words[0] in nouns:
            adjective, word = word, self.words.pop(0)
        number = self.words.pop(0) if self.words and self.words[0].isdigit() else ""
        assert word in nouns
        return Phrase(word, "noun", adjective, number)

    def name(self, first: str) -> Phrase:
        more = [self.words.pop(0)] if self.words and self.words[0][0].isupper() else []
        company = first in lexicon.COMPANIES or more[:1] == ["Union"] or more[:1] == ["Group"]
        return Phrase(" ".join([first, *more]), "ORG" if company else "PER")


def read(text: str) -> Event:
    """The event of an English sentence or question."""
    return Reader(text).event()


# --- files ---------------------------------------------------------------------------------------------------


def expected_files() -> Iterator[str]:
    yield from (f"multinli_1.0/multinli_1.0_{part}.jsonl" for part in ("train", "dev_matched"))
    yield from (f"snli_1.0/snli_1.0_{part}.jsonl" for part in ("train", "dev"))
    yield from (f"anli_v1.0/R{i}/{part}.jsonl" for i in (1, 2, 3) for part in ("train", "dev"))
    yield from (f"{name}/{part}.tsv" for name in ("QQP", "ccg") for part in ("train", "dev"))
    yield from (f"squad/{part}-{version}.json" for part in ("train", "dev") for version in ("v1.1", "v2.0"))
    yield from (f"hellaswag/hellaswag_{part}.jsonl" for part in ("train", "val"))
    yield from (f"cosmosqa/{part}.csv" for part in ("train", "valid"))
    yield from (f"commonsenseqa/{part}_rand_split.jsonl" for part in ("train", "dev"))
    yield from (f"XNLI-1.0/xnli.{part}.tsv" for part in ("dev", "test"))
    yield from ("x-final/en/train.tsv", "panx_dataset/en/train")
    yield "ud-treebanks-v2.5/UD_English-Mini/en_mini-ud-train.conllu"
    yield "tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.en.train.json"
    for code, letter in zip(LANGUAGES, ("nglish", *(f"nvented_{x}" for x in "ABCDE")), strict=True):
        treebank = f"ud-treebanks-v2.5/UD_{'E' if code == 'en' else 'I'}{letter}-Mini"
        for part in ("dev", "test"):
            yield f"x-final/{code}/{part}_2k.tsv"
            yield f"panx_dataset/{code}/{part}"
            yield f"MLQA_V1/{part}/{part}-context-{code}-question-{code}.json"
            yield f"{treebank}/{code}_mini-ud-{part}.conllu"
        yield f"xquad/xquad.{code}.json"
        yield f"tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.{code}.dev.json"
        yield from (f"{folder}/{code}.txt" for folder in ("pretrain", "mlm"))
    for code in INVENTED:
        yield from (f"tatoeba/v1/tatoeba.{code}-eng.{side}" for side in (code, "eng"))
        yield f"pretrain/parallel.en-{code}.tsv"
        yield f"XNLI-MT-1.0/multinli/multinli.train.{code}.tsv"
        yield f"translated/{code}/QQP/train.tsv"
        for part in ("sample", "training"):
            yield from (f"bucc2018/{code}-en/{code}-en.{part}.{side}" for side in (code, "en", "gold"))


def test_the_world_has_the_upstream_files_and_no_others(root: Path) -> None:
    assert set(digests(root)) == set(expected_files())


def test_sizes_count_what_they_say(root: Path) -> None:
    assert len(jsonl(root / "multinli_1.0/multinli_1.0_train.jsonl")) == 60
    assert len(questions(root / "squad/train-v1.1.json")) == 60
    assert len(questions(root / "xquad/xquad.qac.json")) == 30
    assert len(tagged(root / "panx_dataset/qad/dev")) == 30
    assert len(lines(root / "pretrain/qab.txt")) == 60
    assert len(lines(root / "tatoeba/v1/tatoeba.qae-eng.qae")) == 20
    assert len(lines(root / "bucc2018/qaa-en/qaa-en.training.en")) == 12 + 9
    assert len(lines(root / "bucc2018/qaa-en/qaa-en.training.gold")) == 12


@pytest.mark.parametrize(("sizes", "problem"), [({"mlni": 3}, "sizes.mlni"), ({"dev": 0}, "less than 1")])
def test_wrong_sizes_are_named(tmp_path: Path, sizes: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        write_world(tmp_path, seed=0, languages=["qaa"], sizes=sizes)


def test_an_unknown_language_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'de'.*qaa"):
        write_world(tmp_path, seed=0, languages=["de"], sizes={})


# --- determinism ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_process(root: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from xstilts.mini.world import write_world; "
        f"write_world(Path(sys.argv[1]), seed={SEED}, languages={INVENTED!r}, sizes={SIZES!r})"
    )
    for hash_seed in ("1", "2"):
        directory = tmp_path / hash_seed
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", program, str(directory)], check=True, env=environment)
        assert digests(directory) == digests(root)


def test_a_language_does_not_depend_on_the_others(root: Path, tmp_path: Path) -> None:
    write_world(tmp_path, seed=SEED, languages=["qac"], sizes=SIZES)
    whole, alone = digests(root), digests(tmp_path)
    shared = {name for name in alone if not name.startswith("XNLI-1.0")}
    assert {name: alone[name] for name in shared} == {name: whole[name] for name in shared}
    for part in ("dev", "test"):
        rows = table(root / f"XNLI-1.0/xnli.{part}.tsv")
        assert table(tmp_path / f"XNLI-1.0/xnli.{part}.tsv") == [r for r in rows if r["language"] in ("en", "qac")]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of the smallest world that has all files."""
    directory = tmp_path_factory.mktemp("small")
    write_world(directory, seed=SEED, languages=["qaa"], sizes=_SMALLEST)
    return digests(directory)


_SMALLEST = {field.name: 12 for field in fields(Sizes)}


@pytest.mark.parametrize("size", _SMALLEST)
def test_a_size_changes_its_own_files_only(size: str, small: dict[str, str], tmp_path: Path) -> None:
    write_world(tmp_path, seed=SEED, languages=["qaa"], sizes={**_SMALLEST, size: 18})
    changed = {name for name, known in digests(tmp_path).items() if known != small[name]}
    assert changed == {name for name in small if size in counted(name)}


def test_another_seed_is_another_world(root: Path, tmp_path: Path) -> None:
    write_world(tmp_path, seed=SEED + 1, languages=INVENTED, sizes=SIZES)
    other = digests(tmp_path)
    assert not [name for name, digest in digests(root).items() if other[name] == digest]


# --- translations --------------------------------------------------------------------------------------------


def test_translated_training_data_are_the_same_items_in_the_same_order(root: Path) -> None:
    english = jsonl(root / "multinli_1.0/multinli_1.0_train.jsonl")
    translated = table(root / "XNLI-MT-1.0/multinli/multinli.train.qac.tsv")
    names = {"contradiction": "contradictory"}
    assert [names.get(row["gold_label"], row["gold_label"]) for row in english] == [row["label"] for row in translated]
    assert all(row["premise"] != one["sentence1"] for row, one in zip(translated, english, strict=True))
    questions_ = [table(root / name) for name in ("QQP/train.tsv", "translated/qae/QQP/train.tsv")]
    ours, theirs = ([row["is_duplicate"] for row in rows] for rows in questions_)
    assert ours == theirs


# --- languages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "share"), [("en", 1.0), ("qaa", 0.6), ("qab", 0.4), ("qac", 0.2), ("qad", 0.05), ("qae", 0.0)]
)
def test_the_share_of_common_words_is_as_declared(code: str, share: float) -> None:
    for seed in range(5):
        words = vocabulary(seed, code).words
        same = sum(word == form for word, form in words.items())
        assert same / len(words) == pytest.approx(share, abs=0.5 / len(words))
        assert len(set(words.values())) == len(words)


@pytest.mark.parametrize(
    ("code", "slots"),
    [
        ("en", ["agent", "verb", "object", "place"]),
        ("qaa", ["agent", "verb", "object", "place"]),
        ("qab", ["agent", "verb", "object", "place"]),
        ("qac", ["agent", "place", "object", "verb"]),
        ("qad", ["verb", "agent", "object", "place"]),
        ("qae", ["agent", "place", "object", "verb"]),
    ],
)
def test_words_stand_in_the_language_s_order(code: str, slots: list[str]) -> None:
    event = Event(Phrase("Anna", "PER"), "sold", Phrase("book", "noun", "old"), place=Phrase("Oslo", "LOC"))
    words = vocabulary(0, code)
    tokens = sentence(words, Clause(event))
    assert list(dict.fromkeys(token.slot for token in tokens if token.slot)) == slots
    tags = [token.upos for token in tokens if token.slot in ("object", "place")]
    adjective_last, postposition = code == "qad", code in ("qac", "qae")
    phrase = ["DET", "NOUN", "ADJ"] if adjective_last else ["DET", "ADJ", "NOUN"]
    place = ["PROPN", "ADP"] if postposition else ["ADP", "PROPN"]
    assert tags == ([*place, *phrase] if postposition else [*phrase, *place])


def test_only_two_languages_have_endings() -> None:
    event = Event(Phrase("Anna", "PER"), "sold", Phrase("book", "noun"))
    for code in LANGUAGES:
        tokens = sentence(vocabulary(0, code), Clause(event))
        inflected = [token.upos for token in tokens if token.form != token.lemma]
        assert sorted(inflected) == (["NOUN", "VERB"] if code in ("qab", "qac") else [])


def test_one_language_has_its_own_script(root: Path) -> None:
    text = (root / "tatoeba/v1/tatoeba.qae-eng.qae").read_text(encoding="utf-8")
    words = set(text.split()) - {"."}
    own = {word for word in words if all(0x10D0 <= ord(letter) < 0x10EA for letter in word)}
    assert own and words - own == set(names(text))


def test_the_table_has_the_languages() -> None:
    assert tuple(TONGUES) == LANGUAGES


def test_ambiguous_words_have_both_readings() -> None:
    rng, words = stream(0, "test"), vocabulary(0, "en")
    told = [token for _ in range(400) for token in sentence(words, Clause(events.draw(rng, "train")))]
    tags = {(token.form, token.upos) for token in told}
    assert {("saw", "NOUN"), ("saw", "VERB"), ("light", "NOUN"), ("light", "ADJ")} <= tags
    assert {("left", "VERB"), ("left", "ADJ")} <= tags
    entities = {(token.form, token.entity) for token in told}
    assert {("Jordan", "B-PER"), ("Jordan", "B-LOC"), ("Lima", "B-LOC"), ("Lima", "B-ORG")} <= entities


# --- inference -----------------------------------------------------------------------------------------------

PREMISE = "the old doctor sold the new book 3 for Anna in the market at noon ."


@pytest.mark.parametrize(
    ("hypothesis", "label"),
    [
        ("the old doctor sold the new book 3 for Anna in the market at noon .", "entailment"),
        ("the doctor sold the book .", "entailment"),
        ("at noon the person sold the thing for Anna .", "entailment"),
        ("the doctor bought the book .", "contradiction"),
        ("the new doctor sold the book .", "contradiction"),
        ("the doctor sold the old book .", "contradiction"),
        ("the doctor sold the book in the garden .", "contradiction"),
        ("the doctor sold the book at dawn .", "contradiction"),
        ("the doctor bought the book in Oslo .", "contradiction"),
        ("the doctor sold the book in Oslo .", "neutral"),
        ("the clean doctor sold the book .", "neutral"),
        ("the doctor sold the book for Boris .", "neutral"),
        ("the doctor sold the book 4 at dawn .", "neutral"),
        ("the farmer bought the book .", "neutral"),
        ("the doctor found the book .", "neutral"),
        ("the doctor sold the ring at dawn .", "neutral"),
    ],
)
def test_what_follows_from_an_event(hypothesis: str, label: str) -> None:
    assert events.relation(read(PREMISE), read(hypothesis)) == label


def test_nothing_general_stands_for_a_company() -> None:
    premise = read("Lima Union sold the book .")
    assert events.relation(premise, read("the person sold the book .")) == "neutral"


def nli_rows(root: Path) -> Iterator[tuple[str, str, str]]:
    for name in ("multinli_1.0/multinli_1.0_{}.jsonl", "snli_1.0/snli_1.0_{}.jsonl"):
        for part in ("train", "dev_matched" if "multi" in name else "dev"):
            for row in jsonl(root / name.format(part)):
                yield row["sentence1"], row["sentence2"], row["gold_label"]
    for part in ("dev", "test"):
        for row in table(root / f"XNLI-1.0/xnli.{part}.tsv"):
            if row["language"] == "en":
                yield row["sentence1"], row["sentence2"], row["gold_label"]


def test_inference_labels_are_what_the_sentences_mean(root: Path) -> None:
    found = [row for row in nli_rows(root) if row[2] != "-"]
    assert len(found) == 60 + 30 + 60 + 30 + 30 + 30
    for premise, hypothesis, label in found:
        assert events.relation(read(premise), read(hypothesis)) == label
        assert premise != hypothesis


def test_only_snli_has_pairs_without_consensus(root: Path) -> None:
    dropped = [row for row in jsonl(root / "snli_1.0/snli_1.0_train.jsonl") if row["gold_label"] == "-"]
    assert len(dropped) == 60 // 50
    assert sum(label == "-" for _, _, label in nli_rows(root)) == len(dropped)


def test_anli_hypotheses_speak_of_one_sentence(root: Path) -> None:
    for number in ("R1", "R2", "R3"):
        rows = jsonl(root / "anli_v1.0" / number / "train.jsonl")
        assert Counter(row["label"] for row in rows) == {"e": 20, "n": 20, "c": 20}
        for row in rows:
            told = [read(sentence) for sentence in sentences_of(row["context"])]
            assert len(told) == 2
            labels = sorted(events.relation(event, read(row["hypothesis"])) for event in told)
            label = {"e": "entailment", "n": "neutral", "c": "contradiction"}[row["label"]]
            assert labels == sorted([label, "neutral"])


# --- paraphrase and duplicates -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "dev_2k", "test_2k"])
def test_paraphrases_mean_the_same_in_the_same_words(root: Path, name: str) -> None:
    rows = table(root / f"x-final/en/{name}.tsv")
    for row in rows:
        assert sorted(row["sentence1"].split()) == sorted(row["sentence2"].split())
        assert row["sentence1"] != row["sentence2"]
        assert (read(row["sentence1"]) == read(row["sentence2"])) == (row["label"] == "1")
    assert Counter(row["label"] for row in rows) == {"0": len(rows) // 2, "1": len(rows) // 2}


def test_duplicate_questions_ask_the_same(root: Path) -> None:
    rows = table(root / "QQP/train.tsv")
    for row in rows:
        assert (read(row["question1"]) == read(row["question2"])) == (row["is_duplicate"] == "1")
    assert len({qid for row in rows for qid in (row["qid1"], row["qid2"])}) == 2 * len(rows)


# --- questions and choices -----------------------------------------------------------------------------------


def reading_files(root: Path) -> list[Path]:
    files = [p for name in ("squad", "xquad", "MLQA_V1", "tydiqa") for p in (root / name).rglob("*.json")]
    assert len(files) == 4 + 6 + 12 + 7
    return sorted(files)


def language_of(path: Path) -> str:
    return next((code for code in INVENTED if f".{code}." in path.name or f"-{code}." in path.name), "en")


def test_answers_stand_where_the_files_say(root: Path) -> None:
    for path in reading_files(root):
        for context, qa in questions(path):
            for answer in [*qa["answers"], *qa.get("plausible_answers", [])]:
                start = answer["answer_start"]
                assert answer["text"] and context[start : start + len(answer["text"])] == answer["text"]


def test_a_question_has_the_words_of_the_sentence_that_answers_it(root: Path) -> None:
    for path in reading_files(root):
        words = vocabulary(SEED, language_of(path)).words
        asking = {words[word] for word in events.WH.values()} | {"?"}
        for context, qa in questions(path):
            told = Counter(word for word in qa["question"].split() if word not in asking)
            fitting = [text for text in sentences_of(context) if told <= Counter(text.split())]
            if qa.get("is_impossible"):
                assert not fitting and not qa["answers"] and qa["plausible_answers"]
            else:
                assert len(fitting) == 1 and qa["answers"][0]["text"] in fitting[0]


def test_an_answer_fills_the_asked_slot(root: Path) -> None:
    for context, qa in questions(root / "squad/train-v1.1.json"):
        asked = read(qa["question"])
        (told,) = [e for e in map(read, sentences_of(context)) if e.verb == asked.verb]
        (slot,) = [slot for slot, word in events.WH.items() if asked.phrase(slot) == Phrase(word, "wh")]
        phrase = told.phrase(slot)
        assert phrase
        words = (phrase.adjective, phrase.head, phrase.number)
        assert qa["answers"][0]["text"] == " ".join(word for word in words if word)


def test_some_questions_of_squad_v2_are_impossible(root: Path) -> None:
    impossible = [qa["is_impossible"] for _, qa in questions(root / "squad/train-v2.0.json")]
    assert 0 < sum(impossible) < len(impossible) / 2


def test_training_questions_come_in_several_articles(root: Path) -> None:
    articles = json.loads((root / "squad/train-v1.1.json").read_text(encoding="utf-8"))["data"]
    assert len({article["title"] for article in articles}) == len(articles) == 4  # 30 paragraphs, 8 an article


def test_what_is_done_next_is_the_opposite_with_the_same_object(root: Path) -> None:
    for row in jsonl(root / "hellaswag/hellaswag_train.jsonl"):
        event = read(row["ctx_a"])
        claims = [read(f"{row['ctx_b'].removeprefix('then ')} {ending}") for ending in row["endings"]]
        right = [lexicon.OPPOSITE_VERB[event.verb] == c.verb and c.object == event.object for c in claims]
        assert right.index(True) == row["label"] and sum(right) == 1
        assert len({c.verb for c in claims}) == len({c.object for c in claims}) == 2
        assert row["ctx"] == f"{row['ctx_a']} {row['ctx_b']}"


def test_the_right_place_and_time_are_told(root: Path) -> None:
    with (root / "cosmosqa/train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row in rows:
        asked = read(row["question"])
        (event,) = [e for e in map(read, sentences_of(row["context"])) if e.verb == asked.verb]
        beginning = row["question"].removesuffix(" where ?")
        answers = [read(f"{beginning} {row[f'answer{i}']}") for i in range(4)]
        right = [(a.place, a.time) == (event.place, event.time) for a in answers]
        assert right.index(True) == int(row["label"]) and sum(right) == 1
        assert len({a.place for a in answers}) == len({a.time for a in answers}) == 2


def test_common_sense_is_where_things_belong(root: Path) -> None:
    for row in jsonl(root / "commonsenseqa/train_rand_split.jsonl"):
        question = row["question"]
        choices = {choice["label"]: choice["text"] for choice in question["choices"]}
        assert sorted(choices) == list("ABCDE") and sorted(choices.values()) == sorted(lexicon.PLACES)
        assert choices[row["answerKey"]] == lexicon.HOME[question["question_concept"]]
        assert question["question_concept"] in question["stem"].split()


# --- tagging -------------------------------------------------------------------------------------------------


def conllu(path: Path) -> list[tuple[str, list[list[str]]]]:
    blocks = path.read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")
    parsed = []
    for block in blocks:
        _, text, *rows = block.split("\n")
        parsed.append((text.removeprefix("# text = "), [row.split("\t") for row in rows]))
    return parsed


def test_treebanks_are_well_formed(root: Path) -> None:
    ranges = 0
    for path in root.rglob("*.conllu"):
        for text, rows in conllu(path):
            assert all(len(row) == 10 for row in rows)
            words = [row for row in rows if "-" not in row[0]]
            assert [row[0] for row in words] == [str(i) for i in range(1, len(words) + 1)]
            assert [row[6] for row in words].count("0") == 1
            assert sorted(" ".join(surface(rows)).split()) == sorted(text.split())
            ranges += len(rows) - len(words)
    assert ranges > 20


def surface(rows: list[list[str]]) -> Iterator[str]:
    """The written words: a multiword token in place of the words it spans."""
    covered: set[str] = set()
    forms = {row[0]: row[1] for row in rows}
    for number, form, *_ in rows:
        if "-" in number:
            first, last = number.split("-")
            assert form == forms[first] + forms[last] and int(last) == int(first) + 1
            covered |= {first, last}
            yield form
        elif number not in covered:
            yield form


def test_entity_tags_are_valid(root: Path) -> None:
    for code in LANGUAGES:
        for sentence_ in tagged(root / f"panx_dataset/{code}/test"):
            previous = "O"
            for token, tag in sentence_:
                assert token.startswith(f"{code}:")
                assert tag == "O" or (tag[:2] in ("B-", "I-") and tag[2:] in ("PER", "ORG", "LOC"))
                assert tag[:2] != "I-" or previous[2:] == tag[2:]
                assert (tag != "O") == ("A" <= token[len(code) + 1] <= "Z")
                previous = tag


def test_supertags_tell_readings_apart(root: Path) -> None:
    tags = {pair for sentence_ in tagged(root / "ccg/train.tsv") for pair in sentence_}
    assert {("sold", "(S\\NP)/NP"), ("the", "NP/N"), ("old", "N/N"), ("book", "N"), (".", ".")} <= tags
    assert {("in", "((S\\NP)\\(S\\NP))/NP"), ("in", "(S/S)/NP")} <= tags


# --- languages side by side ----------------------------------------------------------------------------------


def test_parallel_items_hold_in_every_language(root: Path) -> None:
    for part in ("dev", "test"):
        by_item: dict[str, list[tuple[str, Counter[str], Counter[str]]]] = {}
        for row in table(root / f"XNLI-1.0/xnli.{part}.tsv"):
            told = (row["gold_label"], names(row["sentence1"]), names(row["sentence2"]))
            by_item.setdefault(row["pairID"], []).append(told)
        assert len(by_item) == 30
        assert all(len(versions) == 6 and versions.count(versions[0]) == 6 for versions in by_item.values())


@pytest.mark.parametrize("code", INVENTED)
def test_files_of_two_languages_are_parallel(root: Path, code: str) -> None:
    for part in ("dev_2k", "test_2k"):
        pairs = zip(table(root / f"x-final/en/{part}.tsv"), table(root / f"x-final/{code}/{part}.tsv"), strict=True)
        for one, two in pairs:
            assert (one["id"], one["label"]) == (two["id"], two["label"])
            assert names(one["sentence1"]) == names(two["sentence1"])
    for path in ("xquad/xquad.{0}.json", "MLQA_V1/test/test-context-{0}-question-{0}.json"):
        both = zip(questions(root / path.format("en")), questions(root / path.format(code)), strict=True)
        for (context, qa), (other_context, other_qa) in both:
            assert qa["id"] == other_qa["id"] and names(context) == names(other_context)
            assert names(qa["answers"][0]["text"]) == names(other_qa["answers"][0]["text"])
    stem = root / f"tatoeba/v1/tatoeba.{code}-eng"
    sides = [lines(stem.with_name(f"{stem.name}.{side}")) for side in (code, "eng")]
    assert [names(text) for text in sides[0]] == [names(text) for text in sides[1]]
    assert [len(set(side)) for side in sides] == [20, 20]


@pytest.mark.parametrize("part", ["sample", "training"])
def test_mining_gold_is_the_translations_and_no_more(root: Path, part: str) -> None:
    for code in INVENTED:
        stem = root / f"bucc2018/{code}-en/{code}-en.{part}"
        here, there = (
            dict(line.split("\t") for line in lines(stem.with_name(f"{stem.name}.{side}"))) for side in (code, "en")
        )
        gold = [line.split("\t") for line in lines(stem.with_name(f"{stem.name}.gold"))]
        words = vocabulary(SEED, code)
        translations = {tell(words, read(text)): identity for identity, text in there.items()}
        found = [(identity, translations[text]) for identity, text in here.items() if text in translations]
        assert sorted(found) == [tuple(pair) for pair in gold]


def test_pretraining_pairs_are_translations(root: Path) -> None:
    for code in INVENTED:
        for line in lines(root / f"pretrain/parallel.en-{code}.tsv"):
            english, foreign = line.split("\t")
            words = vocabulary(SEED, code)
            assert sorted(tell_all(words, english).split()) == sorted(foreign.split())


def tell_all(words: Any, english: str) -> str:
    return " ".join(tell(words, read(text)) for text in sentences_of(english))


def test_text_lines_have_one_segment_or_two(root: Path) -> None:
    for code in LANGUAGES:
        counts = Counter(line.count("\t") for line in lines(root / f"pretrain/{code}.txt"))
        assert set(counts) == {0, 1} and counts[1] > counts[0] / 2


# --- parts ---------------------------------------------------------------------------------------------------


def triples(root: Path) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Who does what to what in English, by part of the world."""
    texts = [("train", row["sentence1"]) for row in jsonl(root / "multinli_1.0/multinli_1.0_train.jsonl")]
    texts += [("dev", row["sentence1"]) for row in jsonl(root / "multinli_1.0/multinli_1.0_dev_matched.jsonl")]
    for part in ("dev", "test"):
        rows = table(root / f"XNLI-1.0/xnli.{part}.tsv")
        texts += [(part, row["sentence1"]) for row in rows if row["language"] == "en"]
    texts += [("train", row["sentence1"]) for row in table(root / "x-final/en/train.tsv")]
    texts += [("test", row["sentence1"]) for row in table(root / "x-final/en/test_2k.tsv")]
    for part, name in (("train", "squad/train-v1.1"), ("dev", "squad/dev-v1.1"), ("test", "xquad/xquad.en")):
        contexts = {context for context, _ in questions(root / f"{name}.json")}
        texts += [(part, text) for context in sorted(contexts) for text in sentences_of(context)]
    for code in INVENTED:
        texts += [("test", text) for text in lines(root / f"tatoeba/v1/tatoeba.{code}-eng.eng")]
        pairs = (line.split("\t")[0] for line in lines(root / f"pretrain/parallel.en-{code}.tsv"))
        texts += [("text", text) for pair in pairs for text in sentences_of(pair)]
    for part, text in texts:
        event = read(text)
        yield part, (event.agent.head, event.verb, event.object.head)


def test_no_event_is_in_two_parts(root: Path) -> None:
    owners: dict[tuple[str, str, str], set[str]] = {}
    for part, triple in triples(root):
        owners.setdefault(triple, set()).add(part)
    assert {part for parts in owners.values() for part in parts} == {"train", "dev", "test", "text"}
    assert all(len(parts) == 1 for parts in owners.values())
