"""The published numbers as the file holds them: their sums are those of their sources."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

import pytest

from xstilts import config
from xstilts.analysis import published
from xstilts.analysis.published import Published

FIRST = "x-stilts-v1"


def chosen(source: str, **wanted: str) -> list[Published]:
    found = [n for n in published.numbers() if n.source.key == source]
    return [n for n in found if all(getattr(n, key) == value for key, value in wanted.items())]


def rows(source: str, **wanted: str) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(part, row): target: its numbers."""
    grouped: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in chosen(source, **wanted):
        grouped[number.part, number.row][number.target].append(number.value)
    return grouped


def recomputed(row: dict[str, list[float]]) -> float:
    """Mean over the nine targets, QA as the mean of F1 and exact match."""
    values = {target: mean(found) for target, found in row.items() if target != "avg"}
    assert len(values) == 9
    return mean(values.values())


@pytest.mark.parametrize(("target", "split", "average"), [("tatoeba", "test", 31.0), ("bucc2018", "dev", 71.5)])
def test_replication_has_the_means_of_the_paper(target: str, split: str, average: float) -> None:
    found = chosen("jiant-dev-128", target=target)
    assert {n.language for n in found} == set(config.xtreme_languages()[target])
    assert {n.split for n in found} == {split}
    assert round(mean(n.value for n in found), 1) == average
    printed = chosen(FIRST, part="baseline", target=target)
    assert [n.value for n in printed] == [average]


@pytest.mark.parametrize(
    ("row", "average"),  # the last digits that the spec computed from the printed cells
    [("XLM-R", 67.20), ("XLM-R (Hu et al.)", 68.12), ("XLM-R (ours)", 66.09), ("Our best models", 74.16)],
)
def test_averages_of_scores(row: str, average: float) -> None:
    (found,) = (cells for (_, name), cells in rows(FIRST, measure="score").items() if name == row)
    assert recomputed(found) == pytest.approx(average, abs=0.005)
    assert found["avg"] == [pytest.approx(average, abs=0.05)]


def test_average_of_xlm_r_base() -> None:
    """Seven targets, QA as the mean of F1 and exact match: the printed average is theirs."""
    (row,) = rows("xlm-align-readme").values()
    values = [mean(found) for target, found in row.items() if target != "avg"]
    assert len(values) == 7
    assert row["avg"] == [pytest.approx(mean(values), abs=0.06)]


def test_averages_of_deltas_but_for_one_misprint() -> None:
    found = rows(FIRST, measure="delta")
    assert len(found) == 16
    # each printed cell is off by at most 0.05, so is their mean, and so is the printed average
    wrong = {key for key, row in found.items() if abs(recomputed(row) - row["avg"][0]) > 0.1}
    assert wrong == {("with MLM", "qqp")}
    marked = [n for n in published.numbers() if n.corrected is not None]
    assert [(n.part, n.row, n.target, n.value, n.corrected) for n in marked] == [("with MLM", "qqp", "avg", 5.1, 7.1)]
    assert recomputed(found["with MLM", "qqp"]) == pytest.approx(7.1, abs=0.1)


def test_only_what_was_read_counts_as_verbatim() -> None:
    secondary = {n.source.key for n in published.numbers() if n.source.trust == "secondary"}
    assert secondary == {"x-stilts-final"}


def test_two_sources_of_the_same_number_agree() -> None:
    """XLM-R large of Hu et al. stands in the paper's Table 2, in mT5's README and in VECO's tables."""
    paper = {(n.target, n.metric): n.value for n in chosen(FIRST, row="XLM-R (Hu et al.)")}
    others = [*chosen("mt5-readme", row="XLM-R large"), *chosen("veco-notes", row="XLM-R large")]
    assert len(others) == 11
    assert {(n.target, n.metric): n.value for n in others}.items() <= paper.items()


def test_metrics_are_official() -> None:
    """Accuracy of POS is not its headline; F1 is (XTREME issue 56)."""
    found = {(n.row, n.metric): n.value for n in chosen("xtreme-56")}
    assert found["XLM-R large (rerun)", "f1"] == 74.2
    assert found["XLM-R large (rerun)", "accuracy"] == 78.23


def test_what_a_reader_must_know_comes_along() -> None:
    assert all("TyDiQA" in n.note for n in chosen(FIRST, measure="delta"))
