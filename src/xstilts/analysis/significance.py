"""What the scores are worth: intervals, tests over seeds, degenerate runs, further averages, and the best models.

Intervals speak of seeds, languages and examples together; the test's unit is the pair of runs (docs/statistics.md). A
table is one backbone's one split, all intermediates by all targets; Holm's adjustment is within it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from xstilts import digest, files, parquet, provenance, tasks
from xstilts.analysis import resampling, tables
from xstilts.analysis.publish import forget_others
from xstilts.analysis.resampling import Array, Effect

ENGLISH = "en"
UNIT = "pair of runs"
NAMES = ("significance", "averages", "runs", "best_models", "retrieval")
KEPT = {"all": "all runs", "without degenerate": "without degenerate runs"}
GUESSED = 5.0
"""Percent of F1 up to which a run counts as at chance: answers and tags at random get some right."""

Rows = Iterator[dict[str, Any]]
Run = tuple[str, int | None, int | None]  # intermediate and its seed, seed of the fine-tuning


def make(job: dict[str, Any]) -> None:
    """The step `significance`: its tables, then the receipt.

    Args:
        job: `name`, `digest`, `plan`; `cells` as in `tables.write_tables`, with `examples.parquet` beside the scores;
            `tables`: directory of selection.csv, layers.csv and what is written; `targets`, `intermediates`,
            `candidates` (intermediates that may be chosen), `headline_variants`, `train_sets` (target: task or
            null) and `oracle` (also choose on test?); `output`: directory of the receipt.
    """
    started = time.time()
    forget_others(Path(job["output"]))
    columns = [column for backbone in job["headline_variants"] for column in _columns(job, backbone)]
    runs = [row for column in columns for row in _checked(column, job["train_sets"])]
    studies = [Block(job, backbone, columns, _degenerate(runs)) for backbone in job["headline_variants"]]
    rows: dict[str, list[dict[str, Any]]] = {
        "significance": [row for study in studies for row in _adjusted(list(study.cells()))],
        "averages": [row for study in studies for row in study.averages()],
        "runs": runs,
        "best_models": [row for study in studies for row in study.best_models()],
        "retrieval": list(retrieval(job)),
    }
    for name in NAMES:
        tables.write(Path(job["tables"]) / f"{name}.csv", pd.DataFrame(rows[name], columns=COLUMNS[name]))
    counts = {name: len(rows[name]) for name in NAMES}
    files.write_json(Path(job["output"]) / files.RECORD, provenance.record(job, started, rows=counts))


_VALUE = ["value", "value_low", "value_high", "sd", "seeds"]
_DELTA = ["delta", "low", "high", "delta_sd", "pairs", "p", "smallest_p"]
COLUMNS = {
    "significance": ["backbone", "split", "runs", "intermediate", "target", "languages", "examples", *_VALUE, *_DELTA,
                     "p_holm", "unit"],
    "averages": ["backbone", "split", "runs", "intermediate", "measure", "targets", *_VALUE, *_DELTA, "unit"],
    "runs": ["backbone", "target", "train_set", "intermediate", *tables.SEEDS, "english_dev", "chance", "limit",
             "degenerate"],
    "best_models": ["backbone", "rule", "target", "intermediate", "chosen_on", *_VALUE, *_DELTA, "unit"],
    "retrieval": ["backbone", "intermediate", "target", "vectors", "variant", "value", "delta"],
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One target of one backbone: every run's score of every language, replicated.

    Attributes:
        runs: what each run is; codes: the languages, of each split, in the order of the scores.
        held: places of the runs that have the split (other systems have no dev predictions).
        scores: of each split (1 + replicates, languages, runs) in percent.
        examples: of each split, their number over languages.
        chance: English dev's; None where it has none.
    """

    backbone: str
    target: str
    runs: list[Run]
    codes: dict[str, list[str]]
    held: dict[str, list[int]]
    scores: dict[str, Array]
    examples: dict[str, int]
    chance: float | None

    def of(self, split: str, intermediate: str, without: frozenset[Run]) -> list[int]:
        """Places of an intermediate's runs, in the order of their seeds."""
        places = [k for k in self.held[split] if self.runs[k][0] == intermediate and self.runs[k] not in without]
        return sorted(places, key=lambda k: [-1 if seed is None else seed for seed in self.runs[k][1:]])

    def pair(
        self, split: str, intermediate: str, without: frozenset[Run], measure: Measure
    ) -> tuple[Effect | None, Effect | None]:
        """The intermediate's effect and its distance from `none`; None where there is no such run or language."""
        scores = measure(self.codes[split], self.scores[split]) if split in self.scores else None
        places = self.of(split, intermediate, without) if scores is not None else []
        if scores is None or not places:
            return None, None
        own = resampling.effect(_estimate(scores, places), scores[:, :, self._matched(places)])
        base = self.of(split, tables.BASELINE, without) if intermediate != tables.BASELINE else []
        return own, self._change(scores, places, base) if base else None

    def _matched(self, places: Sequence[int]) -> list[int]:
        return [places[k] for k in _matched([self.runs[k] for k in places])]

    def _change(self, scores: Array, places: Sequence[int], base: Sequence[int]) -> Effect:
        """Runs are paired in the order of their seeds; a baseline that has none is the same for every run."""
        own, other = self._matched(places), self._matched(base)
        pairs = len(own) if len(base) == 1 else min(len(own), len(other))
        distances = scores[:, :, own[:pairs]] - scores[:, :, other[:pairs]]
        return resampling.effect(_estimate(scores, places) - _estimate(scores, base), distances)


def _estimate(scores: Array, places: Sequence[int]) -> float:
    """The mean over languages and all of the runs."""
    return float(scores[0][:, list(places)].mean())


# From a split's languages and their scores (1 + replicates, languages, runs) the same of what is averaged over; None
# where the measure makes no sense.
Measure = Callable[[Sequence[str], Array], Array | None]


def _every(_codes: Sequence[str], scores: Array) -> Array:
    return scores


def _others(codes: Sequence[str], scores: Array) -> Array | None:
    places = [k for k, code in enumerate(codes) if code != ENGLISH]
    return scores[:, places] if places else None


def _gap(codes: Sequence[str], scores: Array) -> Array | None:
    """English minus each other language."""
    others = _others(codes, scores)
    return scores[:, [codes.index(ENGLISH)]] - others if ENGLISH in codes and others is not None else None


def _generator(*names: str) -> np.random.Generator:
    """The same names, the same draws."""
    return np.random.default_rng(int(digest.of(list(names)), 16))


def _matched(runs: Sequence[Run]) -> list[int]:
    """Runs of which no two share a seed of a phase, first come first served."""
    used: tuple[set[int | None], set[int | None]] = (set(), set())
    kept = []
    for place, (_, first, second) in enumerate(runs):
        if (first is None or first not in used[0]) and (second is None or second not in used[1]):
            kept.append(place)
            used[0].add(first)
            used[1].add(second)
    return kept


def _columns(job: Mapping[str, Any], backbone: str) -> Iterator[Column]:
    for target in job["targets"]:
        entries = [e for e in job["cells"] if (e["cell"]["backbone"], e["cell"]["target"]) == (backbone, target)]
        if entries:
            yield _column(backbone, target, entries, job["headline_variants"][backbone].get(target))


def _column(backbone: str, target: str, entries: Sequence[Mapping[str, Any]], variant: str | None) -> Column:
    cells = [entry["cell"] for entry in entries]
    runs: list[Run] = [(c["intermediate"], c["seed_intermediate"], c["seed_finetune"]) for c in cells]
    parts = [_parts(Path(entry["scores"]).with_name("examples.parquet"), variant) for entry in entries]
    held = {
        split: [k for k, part in enumerate(parts) if any(key[0] == split for key in part)] for split in tables.SPLITS
    }
    codes = {split: _languages([parts[k] for k in places], split) for split, places in held.items() if places}
    scores, examples = {}, {}
    for split, known in codes.items():
        counted = [resampling.counts({k: parts[k][split, code] for k in held[split]}, len(parts)) for code in known]
        examples[split] = sum(len(one.ids) for one in counted)
        scores[split] = resampling.replicated(counted, _generator(backbone, target, split))
    chance = _chance(Path(entries[0]["scores"]), target) if ENGLISH in codes.get("dev", ()) else None
    return Column(backbone, target, runs, codes, held, scores, examples, chance)


def _languages(parts: Sequence[Mapping[tuple[str, str], Any]], split: str) -> list[str]:
    """The languages that all of these runs have, in the order of the first."""
    return [code for own, code in parts[0] if own == split and all((split, code) in part for part in parts)]


def _parts(path: Path, variant: str | None) -> dict[tuple[str, str], tuple[Any, Array, Array]]:
    """Ids, points and weights by (split, language), of the headline variant."""
    table = parquet.read(path)
    known = pc.unique(table["variant"]).to_pylist()
    table = table.filter(pc.equal(table["variant"], known[0] if len(known) == 1 else variant))
    found = {}
    for key in table.group_by(["split", "language"], use_threads=False).aggregate([]).to_pylist():
        own = table.filter(
            pc.and_(pc.equal(table["split"], key["split"]), pc.equal(table["language"], key["language"]))
        )
        columns = [own[name].to_numpy() for name in ("id", "points", "weight")]
        found[key["split"], key["language"]] = (columns[0].astype(str), columns[1], columns[2])
    return found


def _chance(path: Path, target: str) -> float:
    """Percent that guessing gives on English dev: the most frequent label's share, or of F1 a few points."""
    if tasks.get(target).kind != "pair":
        return GUESSED
    rows = json.loads(path.read_text(encoding="utf-8"))["chance"]
    return float(next(row["value"] for row in rows if (row["split"], row["language"]) == ("dev", ENGLISH)))


def _checked(column: Column, train_sets: Mapping[str, str | None]) -> Rows:
    """Whether each run is above chance on English dev: by two standard errors of that many examples."""
    if column.chance is None:
        return
    english = column.scores["dev"][:, column.codes["dev"].index(ENGLISH)]
    for place in column.held["dev"]:
        intermediate, first, second = column.runs[place]
        limit = column.chance + 2 * float(np.std(english[1:, place], ddof=1))
        value = float(english[0, place])
        yield {
            "backbone": column.backbone, "target": column.target, "train_set": train_sets[column.target],
            "intermediate": intermediate, "seed_intermediate": first, "seed_finetune": second,
            "english_dev": value, "chance": column.chance, "limit": limit, "degenerate": value <= limit,
        }  # fmt: skip


def _degenerate(runs: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str | None], frozenset[Run]]:
    """Degenerate runs by backbone and train set: what is wrong with a fine-tuning concerns each target it serves."""
    found: dict[tuple[str, str | None], set[Run]] = {}
    for row in runs:
        if row["degenerate"]:
            run = (row["intermediate"], row["seed_intermediate"], row["seed_finetune"])
            found.setdefault((row["backbone"], row["train_set"]), set()).add(run)
    return {key: frozenset(value) for key, value in found.items()}


class Block:
    """One backbone: its targets' columns, and rows of the result tables from them."""

    def __init__(
        self,
        job: Mapping[str, Any],
        backbone: str,
        columns: Sequence[Column],
        degenerate: Mapping[tuple[str, str | None], frozenset[Run]],
    ) -> None:
        self.job = job
        self.backbone = backbone
        self.columns = {column.target: column for column in columns if column.backbone == backbone}
        self._degenerate = {t: degenerate.get((backbone, job["train_sets"][t]), frozenset()) for t in self.columns}

    def _without(self, target: str, runs: str) -> frozenset[Run]:
        return self._degenerate[target] if runs != "all" else frozenset()

    @cached_property
    def _selections(self) -> list[str]:
        """All runs, and again without the degenerate ones if there are any."""
        return list(KEPT)[: 2 if any(self._degenerate.values()) else 1]

    def _pair(
        self, target: str, split: str, intermediate: str, runs: str, measure: Measure
    ) -> tuple[Effect | None, Effect | None]:
        return self.columns[target].pair(split, intermediate, self._without(target, runs), measure)

    def cells(self) -> Rows:
        """Rows of significance.csv."""
        for split, runs in ((s, r) for s in tables.SPLITS for r in self._selections):
            for intermediate, target in ((i, t) for i in self.job["intermediates"] for t in self.columns):
                own, change = self._pair(target, split, intermediate, runs, _every)
                if own is not None:
                    column = self.columns[target]
                    place = {"backbone": self.backbone, "split": split, "runs": runs, "intermediate": intermediate}
                    size = {"languages": len(column.codes[split]), "examples": column.examples[split]}
                    yield {**place, "target": target, **size, **_numbers(own, change)}

    def averages(self) -> Rows:
        """Rows of averages.csv: a mean over the targets that both rows have, where at least one makes sense."""
        for split, runs in ((s, r) for s in tables.SPLITS for r in self._selections):
            for intermediate in self.job["intermediates"]:
                for name, (targets, measure) in self._measures().items():
                    pairs = [self._pair(t, split, intermediate, runs, measure) for t in targets]
                    place = {"backbone": self.backbone, "split": split, "runs": runs, "intermediate": intermediate}
                    own = [effect for effect, _ in pairs if effect]
                    changes = [change for _, change in pairs if change]
                    if own:
                        numbers = _numbers(resampling.mean(own), resampling.mean(changes) if changes else None)
                        yield {**place, "measure": name, "targets": len(own), **numbers}

    def _measures(self) -> dict[str, tuple[list[str], Measure]]:
        whole = list(self.columns)
        averaged = tables.averaged(whole)
        return {
            **{name: (averaged[name], _every) for name in tables.AVERAGES},
            "avg_non_english": (whole, _others),
            "english_minus_others": ([t for t in whole if tasks.get(t).kind != "retrieval"], _gap),
        }

    def best_models(self) -> Rows:
        """Rows of best_models.csv: what selection on dev gives on test, and on request what selection on test would."""
        chosen = tables.read(Path(self.job["tables"]), "selection")
        chosen = chosen[chosen["chosen"] & (chosen["backbone"] == self.backbone)]
        basis = zip(chosen["intermediate"].astype(str), chosen["chosen_on"].astype(str), strict=True)
        rules = {"dev": dict(zip(chosen["target"].astype(str), basis, strict=True))}
        if self.job["oracle"]:
            rules["oracle"] = {t: (self._oracle(t), "test") for t in self.columns if "test" in self.columns[t].scores}
        for rule, choices in rules.items():
            yield from self._best(rule, {t: choice for t, choice in choices.items() if t in self.columns})

    def _best(self, rule: str, choices: Mapping[str, tuple[str, str]]) -> Rows:
        """A row for each target, and their average, to which `none` where it was chosen adds no change."""
        owns, changes = [], []
        for target, (name, basis) in choices.items():
            own, change = self._pair(target, "test", name, "all", _every)
            if own is None:
                continue
            owns.append(own)
            changes.append(change or resampling.NOTHING)
            place = {"backbone": self.backbone, "rule": rule, "target": target, "intermediate": name}
            yield {**place, "chosen_on": basis, **_numbers(own, change)}
        if owns:
            compared = tables.BASELINE in self.job["intermediates"]
            place = {"backbone": self.backbone, "rule": rule, "target": tables.AVERAGE, "intermediate": ""}
            yield {
                **place,
                "chosen_on": "",
                **_numbers(resampling.mean(owns), resampling.mean(changes) if compared else None),
            }

    def _oracle(self, target: str) -> str:
        """The intermediate with the best test score, the first of equal ones."""
        effects = {name: self._pair(target, "test", name, "all", _every)[0] for name in self.job["candidates"]}
        values = {name: effect.value for name, effect in effects.items() if effect}
        best: str = max(values, key=lambda name: values[name])
        return best


def _numbers(own: Effect, change: Effect | None) -> dict[str, Any]:
    value = resampling.summary(own)
    found = dict(zip(_VALUE, (value.value, value.low, value.high, value.sd, value.seeds), strict=True))
    delta = resampling.summary(change) if change else None
    return {**found, **dict(zip(_DELTA, delta or [math.nan] * len(_DELTA), strict=True)), "unit": UNIT if delta else ""}


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with Holm's p within each table."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["unit"]:
            groups.setdefault(tuple(row[key] for key in ("backbone", "split", "runs")), []).append(row)
    for group in groups.values():
        for row, p in zip(group, resampling.holm([row["p"] for row in group]), strict=True):
            row["p_holm"] = p
    return rows


def retrieval(job: Mapping[str, Any]) -> Rows:
    """Rows of retrieval.csv: test scores at the headline layer and at the best on dev, vectors as they are and centred.

    `delta` is the distance from `none` with vectors of the same kind, at its own best layer.
    """
    entries = [e for e in job["cells"] if tasks.get(e["cell"]["target"]).kind == "retrieval"]
    if not entries:
        return
    cells = tables.read_cells(entries)
    cells = tables.headline(cells[(cells["language"] == tables.AVERAGE) & (cells["split"] == "test")])
    means = cells.groupby(["backbone", "intermediate", "target", "variant"])["value"].mean()
    found = {key[:4]: means.get((*key[:3], variant)) for key, variant in _vectors(job, means)}
    for (key, variant), value in zip(_vectors(job, means), found.values(), strict=True):
        backbone, intermediate, target, vectors = key
        base = found.get((backbone, tables.BASELINE, target, vectors))
        if value is not None:
            delta = value - base if base is not None and intermediate != tables.BASELINE else math.nan
            yield dict(zip(COLUMNS["retrieval"], (*key[:3], vectors, variant, value, delta), strict=True))


def _vectors(job: Mapping[str, Any], means: pd.Series[float]) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """(backbone, intermediate, target, kind of vectors) and the variant that it stands for."""
    best = tables.read(Path(job["tables"]), "layers").set_index(["backbone", "intermediate", "centred"])["variant"]
    for backbone, intermediate, target in dict.fromkeys(key[:3] for key in means.index):
        headline = job["headline_variants"][backbone][target]
        yield (backbone, intermediate, target, "headline layer"), headline
        yield (backbone, intermediate, target, "headline layer, centred"), f"{headline}-centred"
        for centred in (False, True):
            if (backbone, intermediate, centred) in best.index:
                name = "best dev layer" + ", centred" * centred
                yield (backbone, intermediate, target, name), str(best[backbone, intermediate, centred])
