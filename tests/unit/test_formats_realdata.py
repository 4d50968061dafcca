"""The readers on real files as upstream publishes them (shared/realdata), against the row counts of its README."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from xstilts import tasks
from xstilts.schema.data import FileGroup
from xstilts.tasks import formats
from xstilts.tasks.base import NLI_LABELS
from xstilts.tasks.formats.part import Part

DATA = Path(__file__).parents[2].parent / "shared" / "realdata"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
UPOS = tasks.get("udpos").labels


def read(
    form: str, files: str | list[str], known: tuple[str, ...] = (), language: str = "en", **layout: Any
) -> tuple[list[Any], Counter[str]]:
    group = FileGroup.model_validate({"format": form, "files": {}, **layout})
    part = Part("train", language, known, group.labels)
    paths = [DATA / f for f in ([files] if isinstance(files, str) else files)]
    return list(formats.reader(form)(paths, group, part)), part.counts


@pytest.mark.parametrize(
    "language", ["ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"]
)
def test_xnli(language: str) -> None:
    train, _ = read("pairs", f"nli/xnli/train-{language}.tsv", NLI_LABELS)
    dev, _ = read("pairs", f"nli/xnli/dev-{language}.tsv", NLI_LABELS)
    assert Counter(row["label"] for row in train) == dict.fromkeys(NLI_LABELS, 160)  # three rows a premise
    assert Counter(row["label"] for row in dev) == dict.fromkeys(NLI_LABELS, 120)


@pytest.mark.parametrize("language", ["de", "en", "es", "fr", "ja", "ko", "zh"])
def test_pawsx(language: str) -> None:
    sizes = [len(read("pairs", f"paraphrase/pawsx/{s}-{language}.tsv", ("0", "1"))[0]) for s in ("train", "dev")]
    assert sizes == [800, 300]


def test_sick() -> None:
    layout = {
        "header": True,
        "columns": {"id": "pair_ID", "text_a": "sentence_A", "text_b": "sentence_B", "label": "entailment_judgment"},
        "labels": {label.upper(): label for label in NLI_LABELS},
    }
    train, _ = read("pairs", "nli/sick/SICK_train.txt", NLI_LABELS, **layout)
    trial, _ = read("pairs", "nli/sick/SICK_trial.txt", NLI_LABELS, **layout)
    assert (len(train), len(trial)) == (4500, 500)
    assert (train[3]["id"], train[3]["label"]) == ("5", "neutral")


QUESTIONS = {
    **{
        f"qa/xquad/xquad.{code}.json": 298
        for code in ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]
    },
    "qa/squad/squad_subset.train.en.json": 691,
    "qa/tydiqa_goldp/tydiqa.goldp.en.train.json": 900,
    "qa/tydiqa_goldp/tydiqa.goldp.ko.train.json": 400,
    "qa/tydiqa_goldp/tydiqa.goldp.bn.dev.json": 67,
    **{
        f"qa/tydiqa_goldp/tydiqa.goldp.{code}.dev.json": 140
        for code in ["ar", "en", "fi", "id", "ko", "ru", "sw", "te"]
    },
    "qa/mlqa/dev-context-ar-question-ar.json": 158,
    "qa/mlqa/dev-context-en-question-en.json": 371,
    "qa/mlqa/dev-context-hi-question-hi.json": 151,
    "qa/mlqa/dev-context-zh-question-zh.json": 135,
}


@pytest.mark.parametrize(("file", "number"), QUESTIONS.items())
def test_questions_with_every_offset_right(file: str, number: int) -> None:
    rows, counts = read("squad", file)
    assert (len(rows), counts) == (number, {})
    for row in rows:
        assert row["answers"], row["id"]
        for answer, start in zip(row["answers"], row["starts"], strict=True):
            assert row["context"][start : start + len(answer)] == answer


def test_tydiqa_by_the_prefix_of_the_ids() -> None:
    layout: dict[str, Any] = {"columns": {"language": "id"}, "codes": {"sw": "swahili", "ko": "korean"}}
    for language, number in (("sw", 400), ("ko", 400)):
        file = f"qa/tydiqa_goldp/tydiqa.goldp.{language}.train.json"
        assert len(read("squad", file, language=language, **layout)[0]) == number


@pytest.mark.parametrize(
    ("form", "file", "number", "choices"),
    [
        ("hellaswag", "mc/hellaswag/hellaswag_train.jsonl", 800, 4),
        ("hellaswag", "mc/hellaswag/hellaswag_val.jsonl", 300, 4),
        ("commonsenseqa", "mc/commonsenseqa/csqa_train.jsonl", 650, 5),
        ("commonsenseqa", "mc/commonsenseqa/csqa_dev.jsonl", 300, 5),
        ("cosmosqa", "mc/cosmosqa/train.csv", 600, 4),
        ("cosmosqa", "mc/cosmosqa/valid.csv", 200, 4),
    ],
)
def test_multiple_choice(form: str, file: str, number: int, choices: int) -> None:
    rows, _ = read(form, file)
    assert len(rows) == number
    assert {len(row["choices"]) for row in rows} == {choices}
    assert {row["label"] for row in rows} == set(range(choices))
    assert all(row["context"] for row in rows)


TREEBANKS = {
    "de_gsd-ud-dev": 100, "de_gsd-ud-test": 180, "en_ewt-ud-dev": 150, "en_ewt-ud-test": 200, "en_ewt-ud-train": 905,
    "es_gsd-ud-dev": 100, "es_gsd-ud-test": 180, "th_pud-ud-test": 150, "tr_imst-ud-dev": 100, "tr_imst-ud-test": 180,
    "tr_imst-ud-train": 400, "vi_vtb-ud-dev": 100, "vi_vtb-ud-test": 180, "zh_gsd-ud-dev": 100, "zh_gsd-ud-test": 180,
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), TREEBANKS.items())
def test_treebanks(name: str, number: int) -> None:
    rows, counts = read("conllu", f"pos/ud/{name}.conllu", UPOS, language=name[:2])
    assert (len(rows), counts) == (number, {})
    assert not any(" " in token for row in rows for token in row["tokens"])


def test_fused_tokens_of_a_real_sentence() -> None:
    rows, _ = read("conllu", "pos/ud/de_gsd-ud-test.conllu", UPOS, language="de")
    fused = {(t, tag) for row in rows for t, tag in zip(row["tokens"], row["tags"], strict=True) if t in {"im", "zum"}}
    assert fused == {("im", "ADP"), ("zum", "ADP")}


@pytest.mark.parametrize("language", ["ar", "bg", "el", "hi", "id", "ja", "ko", "ru", "te", "ur"])
def test_xtreme_pos(language: str) -> None:
    rows, _ = read("columns", f"pos/xtreme/dev-{language}.tsv", UPOS, language=language)
    assert len(rows) == (84 if language == "te" else 220)


def test_masakha_is_separated_by_spaces() -> None:
    pos = [len(read("columns", f"pos/masakhapos/swa/{s}.txt", UPOS, "sw", delimiter="space")[0]) for s in SPLITS]
    ner = [len(read("columns", f"ner/masakhaner2/swa/{s}.txt", (), "sw", delimiter="space")[0]) for s in SPLITS]
    assert (pos, ner) == ([500, 138, 220], [800, 250, 300])


SPLITS = ("train", "dev", "test")


@pytest.mark.parametrize("language", ["de", "en", "es", "fr", "ru"])
def test_wikineural(language: str) -> None:
    layout: dict[str, Any] = {"columns": {"token": 1, "tag": 2}, "labels": {"B-MISC": "O", "I-MISC": "O"}}
    labels = tasks.get("panx").labels
    files = [f"ner/wikineural/{language}/{split}.conllu" for split in SPLITS]
    assert [len(read("columns", f, labels, language, **layout)[0]) for f in files] == [850, 250, 300]


@pytest.mark.parametrize(("language", "tokens"), [("deu", 334), ("eng", 349), ("ita", 333), ("nld", 334)])
def test_supertags(language: str, tokens: int) -> None:
    rows, _ = read("columns", f"ccg/quadrilingual/dev.{language}.supertags.tsv")
    assert (len(rows), sum(len(row["tokens"]) for row in rows)) == (50, tokens)


def test_a_supertag_is_read_as_it_stands() -> None:
    rows, _ = read("columns", "ccg/quadrilingual/dev.eng.supertags.tsv")
    assert (rows[0]["tokens"][0], rows[0]["tags"][0]) == ("Can", "(s:q/(s:b\\np))/np")


TATOEBA = {"ara": 577, "cmn": 586, "jpn": 598, "swh": 219, "tel": 141, "tha": 343, "urd": 601, "vie": 616}


@pytest.mark.parametrize(("code", "number"), TATOEBA.items())
def test_tatoeba(code: str, number: int) -> None:
    stem = f"retrieval/tatoeba/tatoeba.{code}-eng"
    rows, _ = read("line_pairs", [f"{stem}.{code}", f"{stem}.eng"])
    assert Counter(row["side"] for row in rows) == {"foreign": number, "english": number}
    assert len({row["text"] for row in rows if row["side"] == "english"}) == number
