"""The best intermediate for each target, chosen on dev alone.

The rule: highest headline score on dev, mean over seeds; equal ones go to the intermediate that the study names first,
so to `none` before any other. A target without a dev part of its own is chosen for on the dev parts of the targets of
its kind (all targets if there is none of its kind), and says so in `chosen_on`. Nothing here can reach a test score:
the step is given the table of dev scores and refuses any other row.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xstilts import files, provenance, tasks
from xstilts.analysis import tables
from xstilts.analysis.publish import forget_others
from xstilts.errors import DataError

LAYERS = ["backbone", "intermediate", "centred", "variant", "dev"]
COLUMNS = ["backbone", "target", "rank", "intermediate", "dev", "sd", "seeds", "chosen", "chosen_on"]


def make(job: dict[str, Any]) -> None:
    """The step `select`: selection.csv and layers.csv in `job["tables"]`, then the receipt.

    Args:
        job: `name`, `digest`, `plan`; `dev`: the table of dev scores; `targets`, `candidates` (intermediates in the
            study's order) and `headline_variants` as in `tables.write_tables`; `output`: directory of the receipt.
    """
    started = time.time()
    forget_others(Path(job["output"]))
    dev = read_dev(Path(job["dev"]))
    chosen = selection(dev, job["headline_variants"], job["candidates"], job["targets"])
    tables.write(Path(job["tables"]) / "selection.csv", chosen)
    tables.write(Path(job["tables"]) / "layers.csv", layers(dev))
    files.write_json(Path(job["output"]) / files.RECORD, provenance.record(job, started, rows=len(chosen)))


def read_dev(path: Path) -> pd.DataFrame:
    """The table of dev scores.

    Raises:
        DataError: it holds a score of another split.
    """
    found = tables.read(path.parent, path.stem)
    if other := sorted(set(found["split"]) - {"dev"}):
        raise DataError(path, f"holds {other[0]} scores", "selection reads dev scores alone: make the tables again")
    return found


def selection(
    dev: pd.DataFrame, variants: Mapping[str, Mapping[str, str]], candidates: Sequence[str], targets: Sequence[str]
) -> pd.DataFrame:
    """Every candidate for every target, best first, as COLUMNS name it.

    Args:
        dev: rows of cells.csv of the dev split.
        variants: backbone: target: headline variant.
        candidates: intermediates, in the order in which equal ones are preferred.
        targets: in the study's order.
    """
    scores = tables.headline(tables.headline_variants(dev, variants))
    scores = scores[(scores["language"] == tables.AVERAGE) & scores["intermediate"].isin(candidates)]
    runs = scores.groupby(["backbone", "target", "intermediate", *tables.SEEDS], dropna=False)["value"].mean()
    blocks = [
        _ranked(str(backbone), target, block, list(candidates))
        for backbone, block in runs.groupby("backbone", sort=False)
        for target in targets
    ]
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)


def _ranked(backbone: str, target: str, runs: pd.Series[float], candidates: Sequence[str]) -> pd.DataFrame:
    basis = _basis(target, list(runs.index.unique("target")))
    own = runs[runs.index.get_level_values("target").isin(basis)]
    cells = own.groupby(["intermediate", "target"]).agg(["mean", "std", "count"])
    found = pd.DataFrame(
        {
            # An intermediate that lacks one of the targets is no candidate.
            "dev": cells["mean"].unstack("target").reindex(columns=basis).dropna().mean(axis=1),
            "sd": cells["std"].groupby("intermediate").mean() if len(basis) == 1 else float("nan"),
            "seeds": cells["count"].groupby("intermediate").min(),
        }
    ).dropna(subset="dev")
    found = found.reindex([name for name in candidates if name in found.index]).rename_axis("intermediate")
    found = found.loc[found["dev"].round(8).sort_values(ascending=False, kind="stable").index].reset_index()
    found = found.assign(backbone=backbone, target=target, chosen_on=" ".join(basis))
    return found.assign(rank=found.index + 1, chosen=found.index == 0)[COLUMNS]


def _basis(target: str, with_dev: list[str]) -> list[str]:
    """The targets on whose dev parts the choice is made."""
    if target in with_dev:
        return [target]
    kind = tasks.get(target).kind
    return [name for name in with_dev if tasks.get(name).kind == kind] or with_dev


def layers(dev: pd.DataFrame) -> pd.DataFrame:
    """The best layer for retrieval of every backbone and intermediate, vectors as they are and mean-centred.

    Chosen by the mean over seeds and over the retrieval targets that have a dev part (of XTREME's: BUCC); of equal ones
    the lowest layer.
    """
    kinds = {target: tasks.get(target).kind for target in dev["target"].unique()}
    own = tables.headline(dev[dev["target"].map(kinds).eq("retrieval") & dev["language"].eq(tables.AVERAGE)])
    if own.empty:
        return pd.DataFrame(columns=LAYERS)
    number = own["variant"].str.extract(r"(\d+)", expand=False).astype(int)
    own = own.assign(centred=own["variant"].str.endswith("-centred"), layer=number)
    means = own.groupby(["backbone", "intermediate", "centred", "layer", "variant"], sort=True)["value"].mean()
    best = means.round(8).groupby(["backbone", "intermediate", "centred"]).idxmax()
    rows = [(*key[:3], key[4], means[key]) for key in best]
    return pd.DataFrame(rows, columns=LAYERS)
