"""Bad input gets one clear line: what is wrong, where, and what to do; nothing half-written remains.

A whole small study over files, each time with one of them spoilt: the steps run as Snakemake runs them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import backbone

from xstilts import config, job
from xstilts.errors import UserError
from xstilts.study import Plan

HYPER = {"learning_rate": 1.0e-3, "batch": 4, "steps": 1, "max_length": 32, "selection": {"checkpoint": "last"}}
FUNCTIONS = {
    "preflight": "xstilts.tasks.preflight:preflight",
    "prepare": "xstilts.tasks.prepare:prepare",
    "backbone": "xstilts.models.fetch:fetch",
}
SQUAD = {
    "data": [
        {"title": title, "paragraphs": [{"context": "A cat sat.", "qas": [
            {"id": title, "question": "who?", "answers": [{"text": "cat", "answer_start": 2}]},
        ]}]}
        for title in ("one", "two")
    ]
}  # fmt: skip
SENTENCE = "1\tcat\tcat\tNOUN\t_\t_\t0\troot\t_\t_\n\n"
PAIRS = "a\tb\t0\nc\td\t1\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The files of a study that is in order."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "dev", "test"):
        (folder / f"pairs-{name}.tsv").write_text(PAIRS, encoding="utf-8")
        (folder / f"en-ud-{name}.conllu").write_text(SENTENCE * 2, encoding="utf-8")
        (folder / f"qa-{name}.json").write_text(json.dumps(SQUAD), encoding="utf-8")
    for side in ("de", "en"):
        (folder / f"lines.{side}").write_text("eins\nzwei\n", encoding="utf-8")
    backbone(folder / "model")
    return folder


def plan(data: Path) -> Plan:
    splits = ("train", "dev", "test")
    datasets = {
        "pawsx": {"format": "pairs", "files": {split: f"pairs-{split}.tsv" for split in splits}},
        "udpos": {"format": "conllu", "files": {split: f"en-ud-{split}.conllu" for split in splits}},
        "tydiqa": {"format": "squad", "files": {"train": "qa-train.json", "test": "qa-test.json"}},
        "tatoeba": {"format": "line_pairs", "files": {"test": ["lines.{lang}", "lines.en"]}},
    }
    study = {
        "study": "bad",
        "data": {"source": "files", "root": str(data), "datasets": {n: {"files": [g]} for n, g in datasets.items()}},
        "recipe": "own",
        "recipes": {"own": {"defaults": HYPER, "finetune": {"pawsx": {}, "udpos": {}, "tydiqa": {}}}},
        "backbones": {"b": {"path": str(data / "model"), "retrieval_layer": 1}},
        "intermediates": {"none": {"tasks": []}},
        "targets": {
            **{name: {"languages": ["en"]} for name in ("pawsx", "udpos", "tydiqa")},
            "tatoeba": {"languages": ["de"]},
        },
        "seeds": {"intermediate": [1]},
        "compute": {"device": "cpu", "precision": "fp32"},
    }
    return Plan(config.load(study), results=data.parent / "results")


def run(data: Path) -> None:
    """Every step that reads what the user gave, in order; the first that fails ends it, as in a job."""
    for step in plan(data).steps():
        if step.phase in FUNCTIONS:
            path = data.parent / "job.json"
            path.write_text(step.job(), encoding="utf-8")
            job.run([FUNCTIONS[step.phase], "--", str(path)])


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda data: (data / name).write_text(content, encoding="utf-8")


def question(**answer: object) -> Callable[[Path], object]:
    """The first question's answer, changed."""
    spoilt = json.loads(json.dumps(SQUAD))
    spoilt["data"][0]["paragraphs"][0]["qas"][0]["answers"][0].update(answer)
    return text("qa-train.json", json.dumps(spoilt))


def gone(name: str) -> Callable[[Path], object]:
    return lambda data: (data / name).unlink()


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (
        gone("lines.de"),
        "1 files are missing; put them there or change `data`:\n  tatoeba: {data}/lines.de",
    ),
    "missing directory": (
        lambda data: data.rename(data.with_name("elsewhere")),
        "files are missing; put them there or change `data`:\n  pawsx: {data}/pairs-dev.tsv",
    ),
    "empty file": (
        text("pairs-dev.tsv", ""),
        "{data}/pairs-dev.tsv: the file is empty, expected rows; fetch it again",
    ),
    "malformed JSON": (
        text("qa-train.json", '{"data": [\n}'),
        "{data}/qa-train.json:2: not JSON (Expecting value at column 1); fetch the file again",
    ),
    "wrong number of columns": (
        text("pairs-train.tsv", "a\tb\t0\nc\td\n"),
        "{data}/pairs-train.tsv:2: 2 columns, expected 3; correct the line",
    ),
    "unknown label": (
        text("pairs-test.tsv", "a\tb\t2\n"),
        "{data}/pairs-test.tsv:1: unknown label '2'; known are 0, 1; map it to one of them",
    ),
    "unknown tag": (
        text("en-ud-dev.conllu", SENTENCE.replace("NOUN", "NUON")),
        "{data}/en-ud-dev.conllu:1: token 1: unknown label 'NUON'; known are ADJ",
    ),
    "answer outside the passage": (
        question(answer_start=900),
        "{data}/qa-train.json: data[0].paragraphs[0].qas[0]: answer 'cat' is not at answer_start 900",
    ),
    "answer that does not match": (
        question(text="dog"),
        "answer 'dog' is not at answer_start 2 (there is 'cat') nor within 32 of it; correct answer_start",
    ),
    "different line counts": (
        text("lines.en", "one\n"),
        "{data}/lines.de: 2 lines, but lines.en has 1; line i of one must translate line i of the other",
    ),
    "sentence without tokens": (
        text("en-ud-test.conllu", "# text = cat\n\n" + SENTENCE),
        "{data}/en-ud-test.conllu:1: a sentence without tokens; remove the sentence or give its tokens",
    ),
    "invalid UTF-8": (
        lambda data: (data / "lines.de").write_bytes(b"eins\nzw\xffei\n"),
        "{data}/lines.de:2: byte 3 of the line (0xff) is not UTF-8; convert the file to UTF-8",
    ),
    "checkpoint without weights": (
        gone("model/model.safetensors"),
        "backbone {data}/model: no safetensors weights, and no others are read; if its weights are pickled",
    ),
    "checkpoint with broken weights": (
        text("model/model.safetensors", "x"),
        "{data}/model: its safetensors weights cannot be read (",
    ),
    "checkpoint without a tokenizer": (
        lambda data: [path.unlink() for path in (data / "model").glob("tokenizer*")],
        "{data}/model: no tokenizer (none of tokenizer.json",
    ),
    "checkpoint with a broken config": (
        text("model/config.json", "{"),
        "{data}/model: not an encoder that can be loaded (",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(
    name: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = MISTAKES[name]
    spoil(data)
    with pytest.raises(SystemExit):
        run(data)
    said = capsys.readouterr().err.strip()
    assert expected.replace("{data}", str(data)) in said
    assert "Traceback" not in said
    if "directory" not in name:
        assert len(said.splitlines()) == 1 + (name == "missing file")  # the missing are listed, a line each
    written = {p.parent for p in (data.parent / "results").rglob("*") if p.is_file()}
    assert all((folder / "record.json").is_file() for folder in written)


def test_the_study_itself_is_in_order(data: Path) -> None:
    run(data)
    made = plan(data)
    assert all(step.done for step in made.steps() if step.phase in FUNCTIONS)


def test_a_target_without_its_train_set_is_refused_by_the_plan(data: Path) -> None:
    raw = plan(data).study.model_dump(mode="json")
    del raw["data"]["datasets"]["pawsx"]["files"][0]["files"]["train"]
    with pytest.raises(UserError, match=r"data\.datasets\.pawsx: has no training part in English \(en\); name its"):
        Plan(config.load(raw)).steps()
