"""Readers of questions: SQuAD's format and the multiple-choice formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import DataError
from xstilts.schema.data import FileGroup
from xstilts.tasks import formats
from xstilts.tasks.formats.part import SHIFT, Part

CONTEXT = "😀 Ada wrote code. Bob read it."
"""The first character counts once in code points, twice in UTF-16 and four times in UTF-8."""


def group(form: str, **given: Any) -> FileGroup:
    return FileGroup.model_validate({"format": form, "files": {}, **given})


def rows_of(path: Path, layout: FileGroup, part: Part | None = None) -> list[Any]:
    return list(formats.reader(layout.format)([path], layout, part or Part("train", "en")))


def question(name: str = "q", answers: list[Any] | None = None, **given: Any) -> dict[str, Any]:
    found = [{"text": "Ada", "answer_start": 2}] if answers is None else answers
    return {"id": name, "question": "Who?", "answers": found, **given}


def squad(path: Path, *questions: Any, context: str = CONTEXT, **article: Any) -> Path:
    about = {"title": "T", "paragraphs": [{"context": context, "qas": list(questions)}], **article}
    path.write_text(json.dumps({"version": "1.1", "data": [about]}), encoding="utf-8")
    return path


# --- squad


def test_offsets_count_code_points(tmp_path: Path) -> None:
    part = Part("train", "en")
    assert rows_of(squad(tmp_path / "s.json", question()), group("squad"), part) == [
        {"id": "q", "title": "T", "context": CONTEXT, "question": "Who?", "answers": ["Ada"], "starts": [2]}
    ]
    assert not part.counts


def test_unanswerable_questions_have_no_answers(tmp_path: Path) -> None:
    impossible = question("q2", [], is_impossible=True, plausible_answers=[{"text": "Bob", "answer_start": 18}])
    rows = rows_of(squad(tmp_path / "s.json", question(is_impossible=False), impossible), group("squad"))
    assert [(r["answers"], r["starts"]) for r in rows] == [(["Ada"], [2]), ([], [])]


def test_an_offset_beside_the_answer_is_repaired_and_counted(tmp_path: Path) -> None:
    part = Part("train", "en")
    moved = question(answers=[{"text": "Bob", "answer_start": 21}, {"text": "Ada", "answer_start": 2}])
    rows = rows_of(squad(tmp_path / "s.json", moved), group("squad"), part)
    assert rows[0]["starts"] == [18, 2]
    assert CONTEXT[18:21] == "Bob"
    assert part.counts == {"repaired: answer_start": 1}


@pytest.mark.parametrize(("start", "found"), [(4, 2), (5, 2), (6, 8)])  # at 5 both are 3 away
def test_the_nearest_place_is_taken_and_of_two_the_left(tmp_path: Path, start: int, found: int) -> None:
    moved = question(answers=[{"text": "ab", "answer_start": start}])
    rows = rows_of(squad(tmp_path / "s.json", moved, context="x ab    ab x"), group("squad"))
    assert rows[0]["starts"] == [found]


def test_an_answer_cut_by_stripping_the_passage_is_repaired(tmp_path: Path) -> None:
    part = Part("train", "en")
    padded = question(answers=[{"text": "it. ", "answer_start": 28}])
    rows = rows_of(squad(tmp_path / "s.json", padded), group("squad"), part)
    assert (rows[0]["answers"], rows[0]["starts"]) == (["it."], [27])
    assert part.counts == {"repaired: answer_start": 1}


def test_a_place_beyond_the_window_is_no_repair(tmp_path: Path) -> None:
    far = question(answers=[{"text": "Ada", "answer_start": 0}])
    near = "." * SHIFT + "Ada"
    assert rows_of(squad(tmp_path / "s.json", far, context=near), group("squad"))[0]["starts"] == [SHIFT]
    with pytest.raises(DataError, match="nor within"):
        rows_of(squad(tmp_path / "s.json", far, context="." + near), group("squad"))


def test_one_file_with_all_languages(tmp_path: Path) -> None:
    path = squad(tmp_path / "s.json", question("english-1-0"), question("finnish-1-0"))
    layout = group("squad", columns={"language": "id"}, codes={"en": "english", "sw": "swahili"})
    assert [r["id"] for r in rows_of(path, layout)] == ["english-1-0"]
    with pytest.raises(DataError, match=r"s\.json: no question whose id begins with 'swahili-'"):
        rows_of(path, layout, Part("train", "sw"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (question(answers=[{"text": "Eve", "answer_start": 2}]), r"'Eve' is not at answer_start 2 \(there is 'Ada'\)"),
        (question(answers=[{"text": "Ada", "answer_start": 9000}]), r"answer 'Ada' is not at answer_start 9000"),
        (question(answers=[{"text": "", "answer_start": 0}]), "an answer without text; .*blanks test answers"),
        (question(answers=[{"text": "Ada", "answer_start": "2"}]), "'answer_start' is '2', expected a whole number"),
        (question(answers=[{"text": "Ada"}]), r"answers\[0\]: no field 'answer_start'"),
        (question(answers=[]), "no answer; give one, or say is_impossible"),
        (question(is_impossible=True), "is_impossible, but has answers"),
        ({"id": "q", "answers": []}, "no answer"),
        ({"question": "Who?", "answers": []}, r"qas\[0\]: no field 'id'"),
        ("text", r"s\.json: data\[0\]\.paragraphs\[0\]\.qas\[0\]: 'text' is no object"),
    ],
)  # fmt: skip
def test_malformed_questions(tmp_path: Path, given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(squad(tmp_path / "s.json", given), group("squad"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [\n{"title": }]}', r"s\.json:2: not JSON"),
        ("[" * 100_000, r"s\.json: not JSON \(nested too deep\); fetch the file again"),
        ("[]", "the document is no object"),
        ('{"data": {}}', "'data' is {}, expected a list"),
        ('{"data": []}', "no question; fetch the file again"),
        ('{"data": [{"title": "T"}]}', r"data\[0\]: no field 'paragraphs'"),
    ],
)
def test_malformed_documents(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        rows_of(path, group("squad"))


def test_a_question_id_given_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"qas\[1\]: id 'q' is given twice in one part"):
        rows_of(squad(tmp_path / "s.json", question(), question()), group("squad"))


# --- multiple choice


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_hellaswag(tmp_path: Path) -> None:
    record = {"ind": 4, "ctx_a": "A", "ctx_b": "b", "ctx": "A b", "endings": ["w", "x", "y", "z"], "label": 3}
    rows = rows_of(jsonl(tmp_path / "h.jsonl", record, {**record, "label": "0"}), group("hellaswag"))
    assert rows[0] == {"id": "0", "context": "A b", "question": "", "choices": ["w", "x", "y", "z"], "label": 3}
    assert (rows[1]["id"], rows[1]["label"]) == ("1", 0)


@pytest.mark.parametrize("label", [4, -1, "", "a", None])
def test_hellaswag_label_out_of_its_endings(tmp_path: Path, label: Any) -> None:
    path = jsonl(tmp_path / "h.jsonl", {"ctx": "A", "endings": ["w", "x", "y", "z"], "label": label})
    with pytest.raises(DataError, match=r"h\.jsonl:1: label .* is no index of its choices \(0 to 3\)"):
        rows_of(path, group("hellaswag"))


def test_hellaswag_without_endings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 choices, expected two or more"):
        rows_of(jsonl(tmp_path / "h.jsonl", {"ctx": "A", "endings": ["w"], "label": 0}), group("hellaswag"))


NESTED = {
    "id": "n",
    "answerKey": "B",
    "question": {"stem": "Where?", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]},
}
FLAT = {"id": "f", "answerKey": "A", "question": "Where?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}}


def test_commonsenseqa_nested_and_flat(tmp_path: Path) -> None:
    assert rows_of(jsonl(tmp_path / "c.jsonl", NESTED, FLAT), group("commonsenseqa")) == [
        {"id": "n", "context": "Where?", "question": "", "choices": ["x", "y"], "label": 1},
        {"id": "f", "context": "Where?", "question": "", "choices": ["x", "y"], "label": 0},
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**FLAT, "answerKey": "E"}, "answerKey 'E' is none of A, B"),
        ({**FLAT, "answerKey": ""}, "answerKey '' is none of A, B"),
        ({**FLAT, "choices": {"label": ["A"], "text": ["x", "y"]}}, "choices: 1 labels and 2 texts"),
        ({**FLAT, "choices": ["x", "y"]}, "'choices' is .*, expected an object"),
        ({**NESTED, "question": {"stem": "Where?", "choices": ["x"]}}, "question: no field 'label'"),
        ({**NESTED, "question": {"stem": "Where?"}}, "question: no field 'choices'"),
    ],
)
def test_malformed_commonsenseqa(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(jsonl(tmp_path / "c.jsonl", record), group("commonsenseqa"))


COSMOS = "id,context,question,answer0,answer1,answer2,answer3,label\n"


def test_cosmosqa_is_quoted_csv(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(COSMOS + 'i##q1,"A ""b"" ,\nc",Why ?,w,x,y,None of the above choices .,3\n', encoding="utf-8")
    assert rows_of(path, group("cosmosqa")) == [
        {
            "id": "i##q1",
            "context": 'A "b" ,\nc',
            "question": "Why ?",
            "choices": ["w", "x", "y", "None of the above choices ."],
            "label": 3,
        }
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COSMOS + "i,c,q,w,x,y,z,4\n", r"c\.csv:2: label '4' is no index of its choices"),
        (COSMOS + "i,c,q,w,x,y,3\n", r"c\.csv:2: 7 columns, expected 8"),
        (COSMOS.replace("answer3,", ""), r"c\.csv:1: no column 'answer3'"),
        (COSMOS + "i,c,q,w,x,y,z,1\ni,c,q,w,x,y,z,1\n", r"c\.csv:3: id 'i' is given twice"),
    ],
)
def test_malformed_cosmosqa(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        rows_of(path, group("cosmosqa"))
