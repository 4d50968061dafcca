"""From score files to the study's tables: every number, the matrix, the deltas, and the languages.

`cells.csv` holds every measured number; the other three derive from it alone. Values are percentages with eight
decimals: finer than any metric resolves, coarser than the last bits in which two machines differ.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xstilts import files, languages, provenance, tasks
from xstilts.analysis.origins import write_origins
from xstilts.analysis.publish import publish
from xstilts.errors import UserError

BASELINE = "none"
EXTERNAL = "external"
SPLITS = ("dev", "test")
AVERAGE = "avg"
AVERAGES = (AVERAGE, "avg_without_retrieval")
NAMES = ("cells", "matrix", "deltas", "per_language")

SEEDS = ["seed_intermediate", "seed_finetune"]
_KEYS = ["study", "backbone", "intermediate", "target", "regime", "variant", "language", "split", *SEEDS, "metric"]
_CELLS = [*_KEYS, "value", "n"]
_GROUP = ["backbone", "intermediate", "target", "split", "language", "metric"]


def make(job: dict[str, Any]) -> None:
    """The step `tabulate`: tables in `job["tables"]`, the receipt in `job["output"]`."""
    publish(write_tables, job, Path(job["tables"]))


def write_tables(job: Mapping[str, Any]) -> None:
    """Write cells.csv, its parts cells-dev.csv and cells-test.csv, and what derives from it, then record.json.

    What selects is given cells-dev.csv, so that it cannot reach a test score.

    Args:
        job: `name`, `digest`, `plan`; `cells`: a list of {`cell`: {study, backbone, intermediate, target,
            regime, seed_intermediate, seed_finetune}, `scores`: path of scores.json}, a seed None where there
            is no such phase; `targets` and `intermediates` in the study's order; `headline_variants`:
            {backbone: {target: variant}} where a target has several; `root`: the study's results; `output`:
            directory of the tables.
    """
    started = time.time()
    cells = read_cells(job["cells"])
    backbones = list(dict.fromkeys(entry["cell"]["backbone"] for entry in job["cells"]))
    scores = headline_variants(cells, job["headline_variants"])
    whole = matrix(scores, backbones, job["intermediates"], job["targets"])
    rows = per_language(scores, backbones, job["intermediates"], job["targets"])
    tables = dict(zip(NAMES, (cells, whole, deltas(whole), rows), strict=True))
    with files.staged(Path(job["output"])) as directory:
        for name, table in tables.items():
            write(directory / f"{name}.csv", table)
        for split in SPLITS:
            write(directory / f"cells-{split}.csv", cells[cells["split"] == split])
        write_origins(job["cells"], Path(job["root"]), directory)
        counts = {name: len(table) for name, table in tables.items()}
        files.write_json(directory / files.RECORD, provenance.record(dict(job), started, rows=counts))


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, values with eight decimals."""
    numbers = table.select_dtypes("float").round(8) + 0.0  # no minus zero
    text = table.assign(**{str(name): numbers[name] for name in numbers})
    text.to_csv(path, index=False, float_format="%.11g", lineterminator="\n")


def read(directory: Path, name: str) -> pd.DataFrame:
    """One of the written tables; only an empty field is missing, so that an intermediate may be called `NA`."""
    return pd.read_csv(directory / f"{name}.csv", keep_default_na=False, na_values=[""])


def read_cells(entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Every row of every score file beside the cell it belongs to, sorted by its key (design.md §4).

    Raises:
        UserError: two rows have the same key, so that a mean would count one number twice.
    """
    rows = [{**entry["cell"], **row} for entry in entries for row in _score_rows(Path(entry["scores"]))]
    seeds = {"seed_intermediate": "Int64", "seed_finetune": "Int64"}
    frame = pd.DataFrame(rows, columns=_CELLS).astype({**seeds, "value": float, "n": int})
    if (twice := frame[frame.duplicated(_KEYS)]).size:
        key = ", ".join(str(part) for part in twice.iloc[0][_KEYS])
        raise UserError(f"scores: two values for ({key}), expected one; remove one of the two score files")
    return frame.sort_values(_KEYS, na_position="first", ignore_index=True)


def _score_rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def headline_variants(cells: pd.DataFrame, named: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """The rows of one variant for each backbone and target: its only one, else the one that is named.

    Rows of other systems stay: they have no variants.

    Raises:
        UserError: there are several and the named one is not among them.
    """
    foreign = cells["regime"] == EXTERNAL
    kept = [
        block[block["variant"] == _variant(block, named.get(str(backbone), {}).get(str(target)))]
        for (backbone, target), block in cells[~foreign].groupby(["backbone", "target"], sort=False)
    ]
    return pd.concat([*kept, cells[foreign]]) if kept else cells


def _variant(block: pd.DataFrame, named: str | None) -> str:
    found = sorted(block["variant"].unique())
    if len(found) == 1:
        return str(found[0])
    if named in found:
        return str(named)
    first = block.iloc[0]
    raise UserError(
        f"tables: {first['target']} of {first['backbone']}: the headline is {named!r}, "
        f"the scores have {', '.join(found)}; name one of these"
    )


def headline_metrics(target: str) -> tuple[str, ...]:
    """The metrics whose mean is the target's headline: both in QA, else the first (XTREME's evaluate.py)."""
    task = tasks.get(target)
    return task.metrics if task.kind == "span" else task.metrics[:1]


def headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Those rows whose metric is part of their target's headline."""
    wanted = {target: headline_metrics(target) for target in rows["target"].unique()}
    part = [metric in wanted[target] for target, metric in zip(rows["target"], rows["metric"], strict=True)]
    return rows[part]


def matrix(
    scores: pd.DataFrame, backbones: Sequence[str], intermediates: Sequence[str], targets: Sequence[str]
) -> pd.DataFrame:
    """Mean headline over seeds: a block for each backbone and split, rows intermediates, columns targets.

    A target without a dev split lends its test value to the dev block, as in the paper (v1, Table 2), and is
    listed in `dev_is_test`. `avg` is over the targets that are present; `targets` is their number.
    """
    average = headline(scores[scores["language"] == AVERAGE])
    means = average.groupby(["split", "backbone", "intermediate", "target"], observed=True)["value"].mean()
    index = pd.MultiIndex.from_product([backbones, intermediates], names=["backbone", "intermediate"])
    blocks = {split: _wide(means, split, index, targets) for split in SPLITS}
    borrowed = [t for t in targets if blocks["dev"][t].isna().all() and blocks["test"][t].notna().any()]
    blocks["dev"][borrowed] = blocks["test"][borrowed]
    whole = pd.concat(blocks, names=["split"]).dropna(how="all").reset_index()
    whole["dev_is_test"] = whole["split"].map({"dev": " ".join(borrowed), "test": ""})
    order = whole["backbone"].map({name: k for k, name in enumerate(backbones)})
    return _with_averages(whole.loc[order.sort_values(kind="stable").index], targets)


def _wide(means: pd.Series[float], split: str, index: pd.MultiIndex, targets: Sequence[str]) -> pd.DataFrame:
    if split not in means.index.get_level_values("split"):
        return pd.DataFrame(float("nan"), index=index, columns=list(targets))
    return means.xs(split, level="split").unstack("target").reindex(index=index, columns=list(targets))


def _with_averages(frame: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """The matrix's columns in order, averages computed over the targets that each row has."""
    averages = {name: frame[of].mean(axis=1) for name, of in averaged(targets).items()}
    frame = frame.assign(**averages, targets=frame[list(targets)].notna().sum(axis=1))
    columns = ["backbone", "split", "intermediate", *targets, *AVERAGES, "targets", "dev_is_test"]
    return frame[columns].reset_index(drop=True)


def averaged(targets: Sequence[str]) -> dict[str, list[str]]:
    """The targets that each average is over."""
    trained = [target for target in targets if tasks.get(target).kind != "retrieval"]
    return dict(zip(AVERAGES, (list(targets), trained), strict=True))


def target_columns(frame: pd.DataFrame) -> list[str]:
    """The targets of a matrix or of deltas, in the study's order."""
    columns = list(frame.columns)
    return columns[columns.index("intermediate") + 1 : columns.index(AVERAGE)]


def deltas(whole: pd.DataFrame) -> pd.DataFrame:
    """The matrix minus its row `none`, within each backbone and split.

    Averages are taken over the deltas, so that a target which one of the two rows lacks is in neither.
    """
    targets = target_columns(whole)
    base = whole[whole["intermediate"] == BASELINE].set_index(["backbone", "split"])[targets]
    rows = whole[whole["intermediate"] != BASELINE]
    own = base.reindex(pd.MultiIndex.from_frame(rows[["backbone", "split"]]))
    changes = rows.assign(**{target: rows[target] - own[target].to_numpy() for target in targets})
    return _with_averages(changes.dropna(subset=targets, how="all"), targets)


def per_language(
    scores: pd.DataFrame, backbones: Sequence[str], intermediates: Sequence[str], targets: Sequence[str]
) -> pd.DataFrame:
    """Mean, sample standard deviation and number of seeds by language, and the mean's distance from `none`.

    `sd` is empty for a single seed, `delta` where the baseline lacks the number.
    """
    found = scores.groupby(_GROUP)["value"].agg(["mean", "std", "count"])
    found = found.rename(columns={"std": "sd", "count": "seeds"}).reset_index()
    key = [name for name in _GROUP if name != "intermediate"]
    base = found[found["intermediate"] == BASELINE].set_index(key)["mean"]
    own = base.reindex(pd.MultiIndex.from_frame(found[key]))
    found["delta"] = found["mean"] - own.to_numpy()
    order = {"backbone": backbones, "intermediate": intermediates, "target": targets, "split": SPLITS,
             "language": [AVERAGE, *languages.table()]}  # fmt: skip
    ranks = {name: {value: k for k, value in enumerate(values)} for name, values in order.items()}
    return found.sort_values(_GROUP, key=lambda c: c.map(ranks.get(str(c.name), str)), ignore_index=True)


def number(value: float, form: str = ".1f") -> str:
    """A value for readers: a real minus sign, no sign on zero, nothing for a missing one."""
    text = "" if math.isnan(value) else format(value, form)
    return text.replace("-", "−") if float(text or 0) else text.lstrip("+-")
