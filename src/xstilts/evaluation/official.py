"""XTREME's official scores of a folder of predictions, with the numbers of its evaluate.py to the last digit.

    python -m xstilts.evaluation --predictions DIR --labels DIR --output scores.json

Both folders hold `<task>/test-<language>.{tsv,json}` as in XTREME's mock_test_data. The report is one JSON
object: task to `avg_<metric>`, `avg_metric` and, by language, each metric; before the tasks, as in
evaluate.py, the mean of each group whose tasks are all there and `all_task` if all nine are. All values are
percentages. Broken input is an error of one line that names the file, where evaluate.py would fail
somewhere inside or score what is not there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from xstilts import files, tasks
from xstilts.config import xtreme_languages
from xstilts.errors import DataError, UserError
from xstilts.evaluation import submission
from xstilts.metrics import classification, mlqa, retrieval, squad, tagging, xtreme

Metrics = dict[str, float]
Report = dict[str, float | dict[str, float | Metrics]]


class Files(NamedTuple):
    """A prediction file and the label file that it answers."""

    predicted: Path
    gold: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; a mistake of the user's is one line on stderr and status 1."""
    options = _parser().parse_args(arguments)
    try:
        report = score_folders(options.predictions, options.labels, options.languages_present)
        files.write_json(options.output, report)
    except (UserError, OSError) as error:
        print(f"xstilts.evaluation: {error}".replace("\n", " "), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    summary = "Score XTREME predictions with XTREME's official metrics."
    parser = argparse.ArgumentParser(prog="python -m xstilts.evaluation", description=summary)
    parser.add_argument("--predictions", type=Path, required=True, help="folder of <task>/test-<language> files")
    parser.add_argument("--labels", type=Path, required=True, help="folder of the same files with gold labels")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--languages-present",
        action="store_true",
        help="score the languages that both folders hold, not all of XTREME's; averages then run over those",
    )
    return parser


def score_folders(predictions: Path, labels: Path, languages_present: bool = False) -> Report:
    """Score every task that has a folder on both sides; say on stdout what is scored and what is left out.

    Args:
        predictions: folder of the prediction files.
        labels: folder of the label files.
        languages_present: take the languages that both sides hold instead of asking for all of XTREME's.

    Raises:
        DataError: a file is missing or malformed, or no task is there.
        UserError: MLQA is asked for a language that it cannot normalise.
    """
    report: Report = {}
    task_scores: Metrics = {}
    for task in xtreme_languages():
        if _is_there(task, predictions, labels):
            scores = _score_task(task, predictions, labels, languages_present)
            averages = xtreme.averages(task, scores)
            report[task] = {**averages, **scores}
            task_scores[task] = averages["avg_metric"]
            print(f"{task}: {task_scores[task]:.2f}")
    if not task_scores:
        raise DataError(predictions, f"no task has a folder both here and in {labels}", "name the folders by task")
    return {**xtreme.overall(task_scores), **report}


def _is_there(task: str, *folders: Path) -> bool:
    absent = [str(folder) for folder in folders if not (folder / task).is_dir()]
    if absent:
        print(f"{task}: skipped, no folder {task} in {' and '.join(absent)}")
    return not absent


def _score_task(task: str, predictions: Path, labels: Path, languages_present: bool) -> dict[str, Metrics]:
    choose = _languages_present if languages_present else _languages_expected
    scores = {}
    for language in choose(task, predictions, labels):
        pair = Files(*(submission.place(folder, task, language) for folder in (predictions, labels)))
        scores[language] = score_file(task, language, pair)
    return scores


def score_file(task: str, language: str, pair: Files) -> Metrics:
    """The metrics of one prediction file, in percent; errors as of `score_folders`."""
    return _SCORERS[task](task, language, pair)


def labels(task: str) -> tuple[str, ...]:
    """The labels or tags that a file of the task may hold."""
    return tasks.get(task).labels


def _languages_expected(task: str, *folders: Path) -> tuple[str, ...]:
    expected = xtreme_languages()[task]
    for folder in folders:
        missing = [code for code in expected if not submission.place(folder, task, code).is_file()]
        if missing:
            others = f" (and those of {', '.join(missing[1:])})" if missing[1:] else ""
            remedy = "add it, or pass --languages-present to score the languages that both folders hold"
            raise DataError(submission.place(folder, task, missing[0]), f"is missing{others}", remedy)
    return expected


def _languages_present(task: str, *folders: Path) -> tuple[str, ...]:
    expected = xtreme_languages()[task]
    pattern = submission.place(Path(), task, "*").name
    held = ({file.stem.removeprefix("test-") for file in (folder / task).glob(pattern)} for folder in folders)
    shared = set.intersection(*held)
    if not shared:
        raise DataError(folders[0] / task, f"no {pattern} is also in {folders[1] / task}", "add some to both")
    present = (*(code for code in expected if code in shared), *sorted(shared.difference(expected)))
    print(f"{task}: languages present: {' '.join(present)} ({len(present)}; XTREME has {len(expected)})")
    return present


def _score_labels(task: str, _language: str, pair: Files) -> Metrics:
    known = tasks.get(task).labels
    gold, predicted = (submission.read_labels(file, known) for file in (pair.gold, pair.predicted))
    return _accuracy(gold, predicted, pair)


def _score_indices(_task: str, _language: str, pair: Files) -> Metrics:
    return _accuracy(submission.read_indices(pair.gold), submission.read_indices(pair.predicted), pair)


def _accuracy(gold: Sequence[object], predicted: Sequence[object], pair: Files) -> Metrics:
    _require_some(gold, pair)
    _require_as_many(gold, predicted, "lines", pair)
    return {"accuracy": classification.accuracy(gold, predicted)}


def _score_tags(task: str, _language: str, pair: Files) -> Metrics:
    known = tasks.get(task).labels
    gold, predicted = (submission.read_tags(file, known) for file in (pair.gold, pair.predicted))
    _require_some(gold, pair)
    _require_as_many(gold, predicted, "sentences", pair)
    line = 1
    for tags, guess in zip(gold, predicted, strict=True):
        _require_as_many(tags, guess, "tags in the sentence", pair, line)
        line += len(guess) + 1
    return tagging.span_scores(gold, predicted)


def _score_pairs(_task: str, _language: str, pair: Files) -> Metrics:
    gold = submission.read_pairs(pair.gold)
    _require_some(gold, pair)
    return retrieval.pair_scores(gold, submission.read_pairs(pair.predicted))


def _score_answers(task: str, language: str, pair: Files) -> Metrics:
    questions, answers = submission.read_questions(pair.gold), submission.read_answers(pair.predicted)
    _require_some(questions, pair)
    golds, predicted = [gold for _, gold in questions], [answers.get(name) for name, _ in questions]
    if None in predicted:
        print(f"{pair.predicted}: {predicted.count(None)} of {len(golds)} questions have no answer and score 0")
    if unasked := answers.keys() - dict(questions).keys():
        print(f"{pair.predicted}: {len(unasked)} answers to questions that {pair.gold} does not ask are ignored")
    return mlqa.score(golds, predicted, language) if task == "mlqa" else squad.score(golds, predicted)


def _require_some(gold: Sequence[object], pair: Files) -> None:
    if not gold:
        raise DataError(pair.gold, "holds nothing to score against", "give the labels of the test set")


def _require_as_many(
    gold: Sequence[object], predicted: Sequence[object], what: str, pair: Files, line: int | None = None
) -> None:
    if len(gold) != len(predicted):
        problem = f"{len(predicted)} {what}, {pair.gold} has {len(gold)}"
        raise DataError(pair.predicted, problem, "write one for each, in the order of the test file", line)


_SCORERS: dict[str, Callable[[str, str, Files], Metrics]] = {
    **dict.fromkeys(("pawsx", "xnli"), _score_labels),
    **dict.fromkeys(xtreme.GROUPS["tagging"], _score_tags),
    **dict.fromkeys(xtreme.GROUPS["qa"], _score_answers),
    "bucc2018": _score_pairs,
    "tatoeba": _score_indices,
}
