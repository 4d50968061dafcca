"""Do the tests notice when a scorer is wrong?  Run: python tests/mutations/scorers.py [part of a name]

Each mutation is one wrong line in a copy of `src`; the tests named beside it run against that copy. Prints which of
them fail, and exits 1 if a mutation survives or the tests fail without one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FAILED = re.compile(r"^FAILED \S*?test_(\w+)\.py::(\w+)", re.MULTILINE)


class Mutation(NamedTuple):
    """`old`, which stands exactly once in `file`, becomes `new`; one of `tests` (test_<name>.py) must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "accuracy multiplies before it divides",
        "metrics/classification.py",
        "correct / len(gold) * 100",
        "100 * correct / len(gold)",
        "metrics_classification",
    ),
    Mutation(
        "QQP is scored by F1 alone",
        "metrics/classification.py",
        "(accuracy(gold, predicted) + binary_f1(gold, predicted, positive)) / 2",
        "binary_f1(gold, predicted, positive)",
        "metrics_classification",
    ),
    Mutation(
        "tags with S merge into runs",
        "metrics/tagging.py",
        'if now.prefix in "BS":',
        'if now.prefix in "B":',
        "metrics_tagging",
    ),
    Mutation(
        "CCONJ and SCONJ are one kind (seqeval 1.2.2)",
        "metrics/tagging.py",
        'tag.rpartition("-")[2]',
        'tag[1:].rpartition("-")[2]',
        "metrics_tagging",
    ),
    Mutation(
        "a stray I opens no entity",
        "metrics/tagging.py",
        'return now.prefix not in "O." and before.kind != now.kind',
        'return now.prefix not in "IO." and before.kind != now.kind',
        "metrics_tagging",
    ),
    Mutation(
        "precision and recall change places",
        "metrics/tagging.py",
        '"precision": precision * 100, "recall": recall * 100',
        '"precision": recall * 100, "recall": precision * 100',
        "metrics_tagging",
    ),
    Mutation(
        "F1 is the worst over the gold answers",
        "metrics/squad.py",
        "return exact, max(",
        "return exact, min(",
        "metrics_squad",
    ),
    Mutation(
        "exact match is the worst over the gold answers",
        "metrics/squad.py",
        "exact = max(",
        "exact = min(",
        "metrics_squad",
    ),
    Mutation(
        "questions left out do not count",
        "metrics/squad.py",
        '"exact_match": 100.0 * exact_match / len(golds)',
        '"exact_match": 100.0 * exact_match / sum(p is not None for p in predictions)',
        "metrics_squad",
    ),
    Mutation(
        "any answer to an unanswerable question is right",
        "metrics/squad.py",
        'float(guess == "")',
        "1.0",
        "metrics_squad",
    ),
    Mutation(
        "shared words count once each",
        "metrics/squad.py",
        "(Counter(guess) & Counter(gold)).total()",
        "len(set(guess) & set(gold))",
        "metrics_squad",
    ),
    Mutation(
        "English loses the article an",
        "metrics/squad.py",
        r"\b(a|an|the)\b",
        r"\b(a|the)\b",
        "metrics_squad",
    ),
    Mutation(
        "Spanish has no articles",
        "metrics/mlqa.py",
        '"es": _words("un una unos unas el la los las")',
        '"es": None',
        "metrics_mlqa",
    ),
    Mutation(
        "German loses one article",
        "metrics/mlqa.py",
        "einem eines einer",
        "einem einer",
        "metrics_mlqa",
    ),
    Mutation(
        "the Arabic article goes at the start of words only",
        "metrics/mlqa.py",
        r'"\u0627\u0644"',
        r'r"\b\u0627\u0644"',
        "metrics_mlqa",
    ),
    Mutation(
        "Chinese characters end at U+9FFF",
        "metrics/mlqa.py",
        r"\u9fa5])",
        r"\u9fff])",
        "metrics_mlqa",
    ),
    Mutation(
        "only ASCII punctuation goes",
        "metrics/mlqa.py",
        ' or unicodedata.category(character).startswith("P")',
        "",
        "metrics_mlqa",
    ),
    Mutation(
        "ASCII symbols such as + and $ stay",
        "metrics/mlqa.py",
        "character in string.punctuation or ",
        "",
        "metrics_mlqa",
    ),
    Mutation(
        "a repeated pair counts again",
        "metrics/retrieval.py",
        "correct / len(claimed)",
        "correct / len(list(predicted))",
        "metrics_retrieval",
    ),
    Mutation(
        "a repeated sentence keeps an id",
        "metrics/retrieval.py",
        "occurrences[text] == 1",
        "occurrences[text] >= 1",
        "metrics_retrieval",
    ),
    Mutation(
        "a score on the threshold is dropped",
        "metrics/retrieval.py",
        "score >= threshold",
        "score > threshold",
        "metrics_retrieval",
    ),
    Mutation(
        "of equally good thresholds the laxest wins",
        "metrics/retrieval.py",
        "if f1 > best:",
        "if f1 >= best:",
        "metrics_retrieval",
    ),
    Mutation(
        "the threshold is the last score kept",
        "metrics/retrieval.py",
        "(score + following) / 2",
        "score",
        "metrics_retrieval",
    ),
    Mutation(
        "English sentences are used twice",
        "metrics/retrieval.py",
        " and english not in used_english",
        "",
        "metrics_retrieval",
    ),
    Mutation(
        "pairs without a positive score are kept",
        "metrics/retrieval.py",
        "score > 0 and ",
        "",
        "metrics_retrieval",
    ),
    Mutation(
        "Tatoeba runs from foreign to English",
        "metrics/retrieval.py",
        "return accuracy(tatoeba_labels(english), nearest)",
        "return accuracy([tatoeba_labels(english).index(i) for i in range(len(english))], nearest)",
        "metrics_retrieval",
    ),
    Mutation(
        "English is sorted without regard to case",
        "metrics/retrieval.py",
        "english[index].strip())",
        "english[index].strip().lower())",
        "metrics_retrieval",
    ),
    Mutation(
        "questions are ranked by F1 alone",
        "metrics/xtreme.py",
        '(means["avg_exact_match"] + means["avg_f1"]) / 2',
        'means["avg_f1"]',
        "metrics_xtreme official_scorer",
    ),
    Mutation(
        "all_task is the mean of the groups",
        "metrics/xtreme.py",
        '{"all_task": tuple(task_scores)}',
        '{"all_task": ("xnli", "udpos", "xquad", "bucc2018")}',
        "metrics_xtreme official_scorer",
    ),
    Mutation(
        "MLQA is normalised as SQuAD",
        "evaluation/official.py",
        'mlqa.score(golds, predicted, language) if task == "mlqa" else squad.score(golds, predicted)',
        "squad.score(golds, predicted)",
        "official_scorer",
    ),
    Mutation(
        "tags are not counted sentence by sentence",
        "evaluation/official.py",
        '_require_as_many(tags, guess, "tags in the sentence", pair, line)',
        "pass",
        "official_scorer",
    ),
    Mutation(
        "missing languages are left out silently",
        "evaluation/official.py",
        "choose = _languages_present if languages_present else _languages_expected",
        "choose = _languages_present",
        "official_scorer",
    ),
    Mutation(
        "a repeated question id wins over the first",
        "evaluation/submission.py",
        "if len(result) < len(items):",
        "if False:",
        "submission official_scorer",
    ),
    Mutation(
        "unknown labels are wrong answers, not mistakes",
        "evaluation/submission.py",
        "if label not in known:",
        "if False:",
        "submission official_scorer",
    ),
    Mutation(
        "lines end at U+2028 too",
        "evaluation/submission.py",
        r'text.removesuffix("\n").split("\n")',
        "text.splitlines()",
        "submission",
    ),
    Mutation(
        "a language of Tatoeba is forgotten",
        "data/xtreme_languages.yaml",
        "th, sw, zh, kk",
        "th, sw, zh",
        "metrics_xtreme",
    ),
]


def main(wanted: str) -> int:
    """Run the mutations whose name contains `wanted`; 1 if any survives."""
    chosen = [mutation for mutation in MUTATIONS if wanted in mutation.name]
    if not chosen:
        print(f"no mutation has {wanted!r} in its name")
        return 1
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        every = sorted({test for mutation in chosen for test in mutation.tests.split()})
        if failed := failures(source, every):
            print(f"these fail without any mutation: {', '.join(failed)}")
            return 1
        for mutation in chosen:
            caught = try_out(mutation, source)
            survivors += not caught
            print(f"{'caught  ' if caught else 'SURVIVED'}  {mutation.name}: {', '.join(caught) or '-'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations caught")
    return int(survivors > 0)


def try_out(mutation: Mutation, source: Path) -> list[str]:
    """The tests that fail under the mutation; `source` is as before afterwards."""
    path = source / "xstilts" / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(
            f"{mutation.name}: {mutation.old!r} stands {text.count(mutation.old)} times in {mutation.file}"
        )
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return failures(source, mutation.tests.split())
    finally:
        path.write_text(text, encoding="utf-8")


def failures(source: Path, tests: list[str]) -> list[str]:
    """`file::test` of what fails against the library in `source`."""
    files = [str(ROOT / "tests" / "unit" / f"test_{name}.py") for name in tests]
    # Without bytecode: an edit within the same second and of the same length would go unnoticed.
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rf", "-p", "no:cacheprovider", *files]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    if result.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run the tests:\n{result.stdout}{result.stderr}")
    return list(dict.fromkeys(f"{file}::{test}" for file, test in FAILED.findall(result.stdout)))


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
