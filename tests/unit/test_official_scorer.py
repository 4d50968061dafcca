"""The official scorer on folders in XTREME's layout: hand-computed scores, and one line for each kind of mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from xstilts.config import xtreme_languages
from xstilts.evaluation import submission
from xstilts.evaluation.official import main

QUESTIONS = {"q1": ["blue car"], "q2": ["red", "dark red"]}


class World:
    """Perfect predictions and their labels, two examples for each of a task's languages."""

    def __init__(self, folder: Path) -> None:
        self.predictions, self.labels, self.output = folder / "predictions", folder / "labels", folder / "out.json"
        self.predictions.mkdir()
        self.labels.mkdir()

    def add(self, *names: str, languages: Iterable[str] = ()) -> None:
        for task in names:
            for language in languages or xtreme_languages()[task]:
                for folder in (self.predictions, self.labels):
                    self._write(task, submission.place(folder, task, language), folder == self.labels)

    def _write(self, task: str, path: Path, gold: bool) -> None:
        if task in ("xquad", "mlqa", "tydiqa"):
            submission.write_answers(path, {name: answers[0] for name, answers in QUESTIONS.items()})
            if gold:
                path.write_text(json.dumps(squad_format(QUESTIONS)), encoding="utf-8")
        elif task in ("panx", "udpos"):
            word, other = ("NOUN", "VERB") if task == "udpos" else ("B-LOC", "O")
            submission.write_tags(path, [[word, other], [other, word]])
        elif task == "bucc2018":
            submission.write_pairs(path, [("x-1", "en-1"), ("x-2", "en-2")])
        else:
            pair = {"xnli": ["neutral", "entailment"], "pawsx": ["0", "1"], "tatoeba": ["1", "0"]}[task]
            submission.write_labels(path, pair)

    def predict(self, task: str, language: str, content: str | bytes) -> Path:
        path = submission.place(self.predictions, task, language)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def arguments(self, *extra: str) -> list[str]:
        folders = ["--predictions", str(self.predictions), "--labels", str(self.labels)]
        return [*folders, "--output", str(self.output), *extra]

    def score(self, *extra: str) -> dict[str, Any]:
        assert main(self.arguments(*extra)) == 0
        report: dict[str, Any] = json.loads(self.output.read_text(encoding="utf-8"))
        return report


def squad_format(questions: dict[str, list[str]]) -> object:
    qas = [
        {"id": name, "question": "?", "answers": [{"text": text, "answer_start": 0} for text in answers]}
        for name, answers in questions.items()
    ]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": qas}]}]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_all_nine_tasks_by_hand(world: World) -> None:
    world.add(*xtreme_languages())
    world.predict("pawsx", "ko", "0\n0\n")  # 1 of 2 right
    world.predict("panx", "yo", "B-LOC\nO\n\nB-LOC\nO\n")  # 1 of 2 spans right, 2 true
    world.predict("udpos", "ar", "NOUN\nNOUN\n\nVERB\nNOUN\n")  # 3 spans, 2 right, 4 true: F1 4/7
    world.predict("bucc2018", "de", "x-1\ten-1\nx-1\ten-1\nx-2\ten-1\nx-2\ten-3\n")  # 3 pairs, 1 right, 2 true: F1 2/5
    world.predict("xquad", "th", '{"q1": "the car", "q2": "Dark red!"}')  # EM 0 + 1; F1 2/3 + 1
    scores = world.score()

    assert scores["pawsx"] == {
        "avg_accuracy": 650 / 7,
        "avg_metric": 650 / 7,
        **{code: {"accuracy": 100.0} for code in ("de", "en", "es", "fr", "ja", "zh")},
        "ko": {"accuracy": 50.0},
    }
    assert scores["panx"]["yo"] == {"f1": 50.0, "precision": 50.0, "recall": 50.0}
    assert scores["panx"]["avg_f1"] == scores["panx"]["avg_metric"] == (39 * 100 + 50) / 40
    assert scores["udpos"]["ar"] == pytest.approx({"f1": 400 / 7, "precision": 200 / 3, "recall": 50.0})
    assert scores["udpos"]["avg_recall"] == pytest.approx((32 * 100 + 50) / 33)
    assert scores["udpos"]["avg_metric"] == pytest.approx((32 * 100 + 400 / 7) / 33)
    assert scores["bucc2018"]["de"] == pytest.approx({"f1": 40.0, "precision": 100 / 3, "recall": 50.0})
    assert scores["bucc2018"]["avg_f1"] == pytest.approx(85.0)
    assert scores["xquad"]["th"] == pytest.approx({"exact_match": 50.0, "f1": 250 / 3})
    assert scores["xquad"]["avg_exact_match"] == pytest.approx(1050 / 11)
    assert scores["xquad"]["avg_metric"] == pytest.approx((1050 / 11 + (1000 + 250 / 3) / 11) / 2)
    assert [scores[task]["avg_metric"] for task in ("xnli", "tatoeba", "mlqa", "tydiqa")] == [100.0] * 4
    assert scores["classification"] == pytest.approx((650 / 7 + 100) / 2)
    assert scores["retrieval"] == pytest.approx(92.5)
    nine = [650 / 7, 98.75, (3200 + 400 / 7) / 33, 85.0, (1050 + 1000 + 250 / 3) / 22, *[100.0] * 4]
    assert scores["all_task"] == pytest.approx(sum(nine) / 9)
    assert list(scores)[-9:] == list(xtreme_languages())


def test_mlqa_is_normalised_by_language_and_the_others_are_not(world: World) -> None:
    world.add("mlqa", "xquad")
    for task in ("mlqa", "xquad"):
        world.predict(task, "es", '{"q1": "el blue car", "q2": "red"}')
    scores = world.score()
    assert scores["mlqa"]["es"] == {"exact_match": 100.0, "f1": 100.0}
    # Without the Spanish article: 2 of 3 words, F1 4/5.
    assert scores["xquad"]["es"] == pytest.approx({"exact_match": 50.0, "f1": 90.0})


def test_tatoeba_compares_line_by_line(world: World) -> None:
    world.add("tatoeba")
    world.predict("tatoeba", "af", "0\n1\n")
    world.predict("tatoeba", "ar", "1\n7\n")
    scores = world.score()
    assert (scores["tatoeba"]["af"], scores["tatoeba"]["ar"]) == ({"accuracy": 0.0}, {"accuracy": 50.0})


def test_absent_tasks_are_skipped_and_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("pawsx")
    (world.labels / "xnli").mkdir()
    assert list(world.score()) == ["pawsx"]
    lines = capsys.readouterr().out.splitlines()
    assert f"xnli: skipped, no folder xnli in {world.predictions}" in lines
    assert f"mlqa: skipped, no folder mlqa in {world.predictions} and {world.labels}" in lines
    assert lines[0] == "pawsx: 100.00"
    assert len(lines) == 9


def test_unanswered_and_unasked_questions_are_mentioned(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("tydiqa")
    path = world.predict("tydiqa", "fi", '{"q2": "red", "q9": "x", "q8": "y"}')
    assert world.score()["tydiqa"]["fi"] == {"exact_match": 50.0, "f1": 50.0}
    out = capsys.readouterr().out
    assert f"{path}: 1 of 2 questions have no answer and score 0\n" in out
    assert f"{path}: 2 answers to questions that" in out


def test_mining_nothing_scores_zero(world: World) -> None:
    world.add("bucc2018")
    world.predict("bucc2018", "ru", "")
    assert world.score()["bucc2018"]["ru"] == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_languages_present(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("xnli", languages=("zh", "en", "qaa"))
    world.add("bucc2018")
    submission.place(world.labels, "xnli", "zh").unlink()
    submission.place(world.predictions, "bucc2018", "fr").unlink()
    world.predict("xnli", "qaa", "neutral\nneutral\n")
    scores = world.score("--languages-present")
    assert scores["xnli"] == {
        "avg_accuracy": 75.0,
        "avg_metric": 75.0,
        "en": {"accuracy": 100.0},
        "qaa": {"accuracy": 50.0},
    }
    out = capsys.readouterr().out
    assert "xnli: languages present: en qaa (2; XTREME has 15)\n" in out
    assert "bucc2018: languages present: de ru zh (3; XTREME has 4)\n" in out


def complaint(world: World, capsys: pytest.CaptureFixture[str], extra: Sequence[str] = ()) -> str:
    """The one line on stderr of a scoring that fails, without the program's name."""
    world.output.write_text("an earlier report", encoding="utf-8")
    before = sorted(world.output.parent.iterdir())
    assert main(world.arguments(*extra)) == 1
    assert world.output.read_text(encoding="utf-8") == "an earlier report"
    assert sorted(world.output.parent.iterdir()) == before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("xstilts.evaluation: ")


MALFORMED = [
    ("xnli", "sw", b"neutral\n", ": 1 lines, "),
    ("xnli", "sw", b"neutral\nentails\n", ":2: unknown label 'entails'"),
    ("xnli", "sw", b"neutral\n\xe9ntailment\n", ": is not UTF-8 (byte 8)"),
    ("pawsx", "fr", b"", ": 0 lines, "),
    ("panx", "my", b"B-LOC\nO\n", ": 1 sentences, "),
    ("panx", "my", b"B-LOC\nO\n\nO\nB-LOC\nO\n", ":4: 3 tags in the sentence, "),
    ("panx", "my", b"B-LOC\nO\n\nO\nB-MISC\n", ":5: unknown label 'B-MISC'"),
    ("udpos", "kk", b"NOUN\nVERB\n\nVERB\n", ":4: 1 tags in the sentence, "),
    ("bucc2018", "zh", b"x-1 en-1\n", ":1: found 'x-1 en-1'"),
    ("tatoeba", "te", b"[1]\n[0]\n", ":1: found '[1]'"),
    ("xquad", "el", b'{"q1": "a", "q1": "b", "q2": "c"}', ": the key 'q1' occurs twice"),
    ("mlqa", "hi", b"q1\tblue\n", ": is not JSON ("),
    ("tydiqa", "sw", b'{"q1": "\xff"}', ": is not UTF-8 (byte 8)"),
    ("tydiqa", "sw", b'{"q1": ["blue car"]}', ": the answer to 'q1' is a JSON array"),
]


@pytest.mark.parametrize(
    ("task", "language", "content", "message"),
    MALFORMED,
    ids=lambda value: value if isinstance(value, str) and len(value) < 9 else "",
)
def test_malformed_predictions_are_one_line(
    world: World, capsys: pytest.CaptureFixture[str], task: str, language: str, content: bytes, message: str
) -> None:
    world.add(task)
    path = world.predict(task, language, content)
    assert complaint(world, capsys).startswith(f"{path}{message}")


@pytest.mark.parametrize("side", ["predictions", "labels"])
def test_missing_languages_are_one_line(world: World, capsys: pytest.CaptureFixture[str], side: str) -> None:
    world.add("mlqa")
    folder: Path = getattr(world, side)
    for language in ("de", "ar", "zh"):
        submission.place(folder, "mlqa", language).unlink()
    first = submission.place(folder, "mlqa", "de")
    message = complaint(world, capsys)
    assert message.startswith(f"{first}: is missing (and those of ar, zh); ")
    assert "--languages-present" in message


def test_broken_labels_are_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("pawsx")
    path = submission.place(world.labels, "pawsx", "de")
    for content, message in (("", "holds nothing to score against"), ("paraphrase\n", "unknown label 'paraphrase'")):
        path.write_text(content, encoding="utf-8")
        world.predict("pawsx", "de", content)
        line = complaint(world, capsys)
        assert line.startswith(str(path))
        assert message in line


@pytest.mark.parametrize("task", ["panx", "tatoeba", "bucc2018", "xquad"])
def test_empty_labels_are_one_line(world: World, capsys: pytest.CaptureFixture[str], task: str) -> None:
    world.add(task)
    path = submission.place(world.labels, task, "de")
    path.write_text("[]" if task == "xquad" else "", encoding="utf-8")
    world.predict(task, "de", "{}" if task == "xquad" else "")
    assert complaint(world, capsys).startswith(f"{path}: holds nothing to score against")


def test_nothing_to_score_is_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(world, capsys).startswith(f"{world.predictions}: no task has a folder both here and in")
    world.add("pawsx", languages=("de",))
    submission.place(world.labels, "pawsx", "de").unlink()
    message = complaint(world, capsys, ["--languages-present"])
    assert message.startswith(f"{world.predictions / 'pawsx'}: no test-*.tsv is also in {world.labels / 'pawsx'}")


def test_a_language_that_mlqa_lacks_is_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("mlqa", languages=("en", "fr"))
    assert "'fr' has no normalisation" in complaint(world, capsys, ["--languages-present"])


def test_an_output_that_cannot_be_written_is_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("pawsx")
    world.output.mkdir()
    assert main(world.arguments()) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(path.name for path in world.output.parent.iterdir()) == ["labels", "out.json", "predictions"]


def run(world: World, *extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xstilts.evaluation", *world.arguments(*extra)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})


@pytest.mark.slow
def test_command_line(world: World) -> None:
    world.add("pawsx")
    good = run(world)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("pawsx: 100.00\n")
    assert json.loads(world.output.read_text(encoding="utf-8"))["pawsx"]["avg_accuracy"] == 100.0

    world.output.unlink()
    path = world.predict("pawsx", "ja", "1\nyes\n")
    bad = run(world)
    assert bad.returncode == 1
    assert bad.stderr == f"xstilts.evaluation: {path}:2: unknown label 'yes'; use one of 0 1\n"
    assert not world.output.exists()
