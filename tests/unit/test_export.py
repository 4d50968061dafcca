"""Submission files: our scorer on them gives what `evaluation.score` gives for the same prediction tables."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from xstilts import command, config, tasks
from xstilts.config import xtreme_languages
from xstilts.errors import DataError, UserError
from xstilts.evaluation import external, submission
from xstilts.evaluation.export import export, write_labels, write_predictions
from xstilts.evaluation.official import score_folders
from xstilts.evaluation.score import score
from xstilts.evaluation.submit import main
from xstilts.study import Plan
from xstilts.tasks.prepare import SCHEMAS

LANGUAGES = ("de", "zh")
LAYER = 2
SIZE = 40
Rows = list[dict[str, Any]]


def labels(task: str, draw: random.Random) -> Rows:
    known = tasks.get(task).labels
    return [{"id": str(i), "text_a": "a", "text_b": "b", "label": draw.choice(known)} for i in range(SIZE)]


def sentences(task: str, draw: random.Random) -> Rows:
    known = tasks.get(task).labels
    lengths = [draw.randint(1, 9) for _ in range(SIZE)]
    rows = [[draw.choice(known) for _ in range(length)] for length in lengths]
    return [{"id": str(i), "tokens": ["w"] * len(tags), "tags": tags} for i, tags in enumerate(rows)]


WORDS = ("the", "der", "Stadt", "Haus,", "中国", "北京", "1998", "red")


def questions(_task: str, draw: random.Random) -> Rows:
    rows = []
    for i in range(SIZE):
        answers = [" ".join(draw.choices(WORDS, k=draw.randint(1, 4))) for _ in range(draw.randint(1, 3))]
        about = {"title": f"t{i // 6}", "context": f"passage {i // 3}", "question": "?"}
        rows.append({"id": f"q-{i}", **about, "answers": answers, "starts": [0] * len(answers)})
    return rows


def sides(_task: str, draw: random.Random) -> Rows:
    """Ids that are no line numbers, English texts in an order that is not theirs by code point."""
    names = draw.sample(range(1000), SIZE)
    foreign = [{"side": "foreign", "id": f"f{n}", "text": "x", "gold": [f"e{n}"]} for n in names]
    english = [{"side": "english", "id": f"e{n}", "text": f"{(n * 7919) % 1000:03}", "gold": []} for n in names]
    return [*foreign, *english]


def guess(gold: Any, others: Sequence[Any], draw: random.Random) -> Any:
    """The truth, or more rarely something else."""
    return gold if draw.random() < 0.6 else draw.choice(others)


def answered(rows: Rows, column: str, others: Sequence[Any], draw: random.Random) -> dict[str, list[Any]]:
    gold = [row[column] for row in rows]
    return {"id": [r["id"] for r in rows], "gold": gold, "prediction": [guess(g, others, draw) for g in gold]}


def predicted(task: str, rows: Rows, draw: random.Random) -> list[dict[str, list[Any]]]:
    """Columns of the test table, or of several variants of it."""
    kind = tasks.get(task).kind
    if kind == "pair":
        return [answered(rows, "label", tasks.get(task).labels, draw)]
    if kind == "tagging":
        table = answered(rows, "tags", [None], draw)
        known = tasks.get(task).labels
        wrong = [[guess(tag, known, draw) for tag in tags] for tags in table["gold"]]
        return [table | {"prediction": wrong}]
    if kind == "span":
        table = answered(rows, "answers", [None], draw)
        texts = ["", *(" ".join(draw.choices(WORDS, k=2)) for _ in range(9))]
        return [table | {"prediction": [guess(draw.choice(gold), texts, draw) for gold in table["gold"]]}]
    variants = [(layer, centred) for layer in (1, LAYER) for centred in (False, True)]
    make = mined if task == "bucc2018" else found
    return [variant(make(rows, draw), *key) for key in variants]


def variant(columns: dict[str, list[Any]], layer: int, centred: bool) -> dict[str, list[Any]]:
    count = len(columns["gold"])
    return {"layer": [layer] * count, "centred": [centred] * count, **columns}


def found(rows: Rows, draw: random.Random) -> dict[str, list[Any]]:
    foreign = [row["id"] for row in rows if row["side"] == "foreign"]
    english = sorted((row for row in rows if row["side"] == "english"), key=lambda row: row["text"])
    ids = [row["id"] for row in english]
    gold = [name.replace("e", "f") for name in ids]
    return {"id": ids, "gold": gold, "prediction": [guess(name, foreign, draw) for name in gold]}


def mined(rows: Rows, draw: random.Random) -> dict[str, list[Any]]:
    """Three in four gold pairs are found, the others missed (NaN), and as many wrong pairs with lower scores."""
    pairs = [(row["id"], row["gold"][0]) for row in rows if row["side"] == "foreign"]
    wrong = [(left, right) for (left, _), (_, right) in pairwise(pairs)]
    scores = [float("nan") if draw.random() < 0.25 else draw.uniform(1.0, 1.6) for _ in pairs]
    scores += [draw.uniform(0.8, 1.3) for _ in wrong]
    foreign, english = map(list, zip(*pairs, *wrong, strict=True))
    gold = [True] * len(pairs) + [False] * len(wrong)
    return {"foreign": foreign, "english": english, "score": scores, "gold": gold}


ROWS: dict[str, Callable[[str, random.Random], Rows]] = {
    "pair": labels,
    "tagging": sentences,
    "span": questions,
    "retrieval": sides,
}


def part(folder: Path, task: str, language: str) -> dict[str, str]:
    """A prepared test set and its prediction table (dev rows too), as a job names them."""
    draw = random.Random(f"{task} {language}")
    kind = tasks.get(task).kind
    tables = []
    for split in ("dev", "test"):
        rows = ROWS[kind](task, draw)
        for columns in predicted(task, rows, draw):
            count = len(columns["gold"])
            tables.append(pa.table({"split": [split] * count, **columns}))
    data, predictions = (folder / name / task / f"{language}.parquet" for name in ("data", "predictions"))
    for path, table in (
        (data, pa.Table.from_pylist(rows, schema=SCHEMAS[kind])),
        (predictions, pa.concat_tables(tables)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    return {"task": task, "language": language, "predictions": str(predictions), "data": str(data)}


def scored(folder: Path, task: str, parts: list[dict[str, str]]) -> dict[tuple[str, str], float]:
    """The test scores of `evaluation.score` by (language, metric)."""
    known = tasks.get(task)
    retrieval = known.kind == "retrieval"
    job = {
        "name": "score/test", "digest": "0", "plan": {}, "kind": known.kind, "metrics": list(known.metrics),
        "scorer": known.scorer or known.criterion.split(".")[0], "variant": None if retrieval else "best",
        "predictions": {one["language"]: one["predictions"] for one in parts}, "also": {},
        "output": str(folder / "scores" / task),
    }  # fmt: skip
    score(job)
    rows = json.loads((folder / "scores" / task / "scores.json").read_text(encoding="utf-8"))["rows"]
    wanted = f"layer{LAYER}" if retrieval else "best"
    chosen = [row for row in rows if row["split"] == "test" and row["variant"] == wanted]
    return {(row["language"], row["metric"]): row["value"] for row in chosen}


def test_our_scorer_gives_the_scores_of_the_tables(tmp_path: Path) -> None:
    parts = {task: [part(tmp_path, task, code) for code in LANGUAGES] for task in xtreme_languages()}
    job = {"name": "submission/test", "digest": "0", "plan": {}, "layer": LAYER, "output": str(tmp_path / "made")}
    export(job | {"parts": [one for some in parts.values() for one in some]})
    report = score_folders(tmp_path / "made" / "predictions", tmp_path / "made" / "labels", languages_present=True)
    assert set(xtreme_languages()) < set(report)
    for task, some in parts.items():
        expected = scored(tmp_path, task, some)
        official: Any = report[task]
        for (language, metric), value in expected.items():
            assert 0 < value < 100, (task, language, metric)
            if metric != "accuracy" or task != "udpos":  # XTREME reports no accuracy of POS tags
                got = official[f"avg_{metric}"] if language == "avg" else official[language][metric]
                assert got == value, (task, language, metric)
        assert {language for language, _ in expected} == {*LANGUAGES, "avg"}


@pytest.mark.parametrize("task", sorted(xtreme_languages()))
def test_another_system_s_files_score_as_the_tables_do(tmp_path: Path, task: str) -> None:
    """Our own predictions, taken for another system's: the same scores, and the same examples under the same ids."""
    parts = [part(tmp_path, task, code) for code in LANGUAGES]
    write_predictions(parts, LAYER, tmp_path / "system")
    given = [one | {"predictions": str(submission.place(tmp_path / "system", task, one["language"]))} for one in parts]
    job = {"name": "external/system", "digest": "0", "plan": {}, "task": task, "metrics": list(tasks.get(task).metrics)}
    external.score({**job, "parts": given, "output": str(tmp_path / "external")})
    rows = json.loads((tmp_path / "external" / "scores.json").read_text(encoding="utf-8"))["rows"]
    expected = scored(tmp_path, task, parts)
    found = {(row["language"], row["metric"]): row["value"] for row in rows}
    assert found == {key: expected[key] for key in found} and ("avg", tasks.get(task).metrics[0]) in found
    wanted = f"layer{LAYER}" if task in ("bucc2018", "tatoeba") else "best"
    own = [r for r in _examples(tmp_path / "scores" / task) if r["split"] == "test" and r["variant"] == wanted]
    theirs = _examples(tmp_path / "external")
    for row in (*own, *theirs):
        del row["variant"]
    assert theirs == own


def _examples(folder: Path) -> Rows:
    rows: Rows = pq.read_table(folder / "examples.parquet").to_pylist()
    return rows


def test_gold_files_look_as_published(tmp_path: Path) -> None:
    """Tatoeba: English "b", "a", "c" on lines 0, 1, 2 stand as a, b, c: lines 1, 0, 2 of the foreign file."""
    english = [{"side": "english", "id": f"e{text}", "text": text, "gold": []} for text in "bac"]
    foreign = [{"side": "foreign", "id": f"f{text}", "text": "x", "gold": [f"e{text}"]} for text in "bac"]
    about = {"title": "t", "question": "?"}
    spans = [
        {"id": "1", **about, "context": "p q", "answers": ["p", "p q"], "starts": [0, 0]},
        {"id": "2", **about, "context": "p q", "answers": ["q"], "starts": [2]},
    ]
    parts = []
    for task, rows in (("tatoeba", [*foreign, *english]), ("bucc2018", [*foreign, *english]), ("tydiqa", spans)):
        path = tmp_path / f"{task}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[tasks.get(task).kind]), path)
        parts.append({"task": task, "language": "de", "data": str(path)})
    write_labels(parts, tmp_path)
    assert (tmp_path / "tatoeba" / "test-de.tsv").read_text(encoding="utf-8") == "1\n0\n2\n"
    assert (tmp_path / "bucc2018" / "test-de.tsv").read_text(encoding="utf-8") == "fb\teb\nfa\tea\nfc\tec\n"
    made = json.loads((tmp_path / "tydiqa" / "test-de.json").read_text(encoding="utf-8"))
    (article,) = made["data"]
    (paragraph,) = article["paragraphs"]
    assert (article["title"], paragraph["context"]) == ("t", "p q")
    assert paragraph["qas"][0]["answers"] == [{"text": "p", "answer_start": 0}, {"text": "p q", "answer_start": 0}]
    assert submission.read_questions(tmp_path / "tydiqa" / "test-de.json") == [("1", ["p", "p q"]), ("2", ["q"])]


def test_tables_that_do_not_fit_the_data_are_refused(tmp_path: Path) -> None:
    one = part(tmp_path, "xnli", "de")
    pq.write_table(pq.read_table(one["data"]).slice(1), one["data"])
    with pytest.raises(DataError, match=r"de\.parquet: holds other examples than the prepared test set"):
        write_predictions([one], LAYER, tmp_path)
    with pytest.raises(DataError, match=r"absent\.parquet: cannot be read .*snakemake all_data"):
        write_predictions([one | {"data": str(tmp_path / "absent.parquet")}], LAYER, tmp_path)


def test_mining_without_dev_and_other_layers_are_refused(tmp_path: Path) -> None:
    one = part(tmp_path, "bucc2018", "de")
    with pytest.raises(UserError, match="no test predictions of layer 7"):
        write_predictions([one], 7, tmp_path)
    table = pq.read_table(one["predictions"])
    pq.write_table(table.filter(pc.equal(table["split"], "test")), one["predictions"])
    with pytest.raises(UserError, match="no dev predictions to tune the threshold on"):
        write_predictions([one], LAYER, tmp_path)


ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the config of a study of two targets and two seeds; nothing has run."""
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load((ROOT / "config" / "mini.yaml").read_text(encoding="utf-8"))
    raw["targets"] = {"pawsx": {"languages": ["en", "qaa"]}, "tatoeba": {"languages": ["qaa"]}}
    raw["seeds"] = {"intermediate": [1, 2]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return tmp_path


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The command, in the study's directory, with further arguments."""

    def given(*extra: str) -> None:
        words = ["submit", "--configfile", "study.yaml", "--output", "p", "--labels", "l", *extra]
        monkeypatch.setattr(sys, "argv", words)
        command.run(main)

    return given


def test_the_command_writes_one_checkpoint(
    study: Path, submit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    made = Plan(config.load(yaml.safe_load(Path("study.yaml").read_text(encoding="utf-8"))))
    step = made.step("submission", ("mini", "mnli", "seed-2"))
    assert {Path(path).parts[5] for path in (p["predictions"] for p in step.payload["parts"])} == {"pawsx", "encoder"}
    assert all("/seed-2/" in p["predictions"] for p in step.payload["parts"])
    for one in step.payload["parts"]:
        there = part(study / "made", one["task"], one["language"])
        if one["task"] == "tatoeba":
            table = pq.read_table(there["predictions"])
            layer = table.schema.get_field_index("layer")
            deeper = pa.array([step.slice["layer"] if n == LAYER else 99 for n in table["layer"].to_pylist()])
            pq.write_table(table.set_column(layer, "layer", deeper), there["predictions"])
        for name in ("data", "predictions"):
            Path(one[name]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(there[name], one[name])
    submit("--intermediate", "mnli", "--seeds", "seed-2")
    assert capsys.readouterr().out == "submission/mini/mnli/seed-2: 3 files in p\n"
    for folder in ("p", "l"):
        names = {str(path.relative_to(folder)) for path in Path(folder).rglob("*.*")}
        assert names == {"pawsx/test-en.tsv", "pawsx/test-qaa.tsv", "tatoeba/test-qaa.tsv"}
    assert set(score_folders(Path("p"), Path("l"), languages_present=True)) == {"pawsx", "tatoeba"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--intermediate", "mnli"], "--seeds: the study has several; name one of seed-1, seed-2"),
        (["--intermediate", "mnlo"], "--intermediate: the study has no 'mnlo'; name one of none, "),
        (["--intermediate", "none", "--backbone", "x"], "--backbone: the study has no 'x'; name one of mini"),
        (["--intermediate", "none", "--seeds", "seed-1"], "3 of 3 prediction tables are missing, first results/mini/"),
        (["--intermediate", "none", "--config", "seed={}"], "config: seed: unknown key; did you mean 'seeds'?"),
    ],
)
def test_mistakes_at_the_command_are_one_line(
    study: Path, submit: Callable[..., None], extra: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        submit(*extra)
    (line,) = str(ended.value).splitlines()
    assert line.startswith("xstilts: ") and message in line
    assert not (study / "p").exists()
