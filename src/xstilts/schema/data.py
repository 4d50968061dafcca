"""Where a dataset comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from xstilts.schema.base import Model, Number

UNPINNED = "unpinned"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str) -> bool:
    """Does the revision name one content for ever? Branches, tags and `unpinned` do not."""
    return _COMMIT.fullmatch(revision) is not None


Split = Literal["train", "dev", "test"]
Format = Literal[
    "pairs",
    "pairs_jsonl",
    "squad",
    "hellaswag",
    "commonsenseqa",
    "cosmosqa",
    "conllu",
    "columns",
    "line_pairs",
    "bucc",
    "lines",
]


def expected_rows(rows: Mapping[str, int], split: str, language: str) -> int | None:
    """The number of rows that a part must have; None where it is not recorded."""
    return rows.get(f"{split}.{language}", rows.get(split))


class HubSource(Model):
    """A dataset on the Hugging Face hub (parquet only; no scripts)."""

    id: str = Field(description="Repository id.")
    revision: str = Field(UNPINNED, description="Commit to load; `unpinned` until recorded.")
    config: str | dict[str, str] = Field(
        "default",
        description="Configuration; `{lang}` stands for the language; a mapping gives one per language.",
    )
    folders: bool = Field(
        False,
        description="`config` names a folder of the repository, as on the hub's branch refs/convert/parquet.",
    )
    splits: dict[Split, str] = Field(description="The hub's split name for each of train, dev, test.")
    columns: dict[str, str] = Field({}, description="Our field: the hub's column (dots reach into structs).")
    labels: dict[str, str] = Field({}, description="The hub's label (as text): ours.")
    drop_labels: tuple[str, ...] = Field((), description="Rows with these labels are left out and counted (SNLI's -1).")
    language_prefix: dict[str, str] = Field(
        {}, description="Where one table holds all languages: language code: prefix of its ids."
    )
    languages: tuple[str, ...] | None = Field(None, description="Languages it has; none given: any may be asked of it.")
    rows: dict[str, int] = Field({}, description="Expected rows, by `split` or `split.language`.")


class FileGroup(Model):
    """Files of one layout within a dataset; several groups serve languages that come in different formats."""

    format: Format = Field(description="The reader.")
    files: dict[Split, str | tuple[str, ...]] = Field(
        description="Path patterns under `data.root`: `{lang}` is the language's code, `*` matches any text."
    )
    languages: tuple[str, ...] | None = Field(None, description="Languages it serves; none given: all.")
    codes: dict[str, str] = Field({}, description="Language code: the code that stands in these files and their names.")
    columns: dict[str, str | int] = Field(
        {}, description="Our field: header name or 0-based position of the column in the file."
    )
    header: bool = Field(False, description="Does the first line of a table name the columns?")
    delimiter: Literal["tab", "space", "comma"] = Field("tab", description="What separates the columns.")
    labels: dict[str, str] = Field(
        {}, description="Label in the file: label of the task; others must be the task's own."
    )
    drop_labels: tuple[str, ...] = Field(
        (), description="Rows with these labels are left out and counted (SNLI's `-`)."
    )
    rows: dict[str, int] = Field({}, description="Expected rows of complete files, by `split` or `split.language`.")
    drop_short_rows: bool = Field(
        False, description="Rows with too few columns are left out and counted (GLUE's QQP has some), not refused."
    )


class DevCut(Model):
    """Dev cut from the training part, where a dataset has no dev apart from its test."""

    share: Number = Field(0.1, gt=0, lt=1, description="Share of the units that become dev.")
    unit: Literal["row", "article", "text_a", "context"] = Field(
        "row", description="What stays together: a row, an article (title), a premise or a context."
    )


class PublishedDev(Model):
    """The published dev part of a dataset whose dev is cut from train: the paper chose by it, though it leaks."""

    hub: str = Field(description="The hub's split.")
    files: str = Field(description="Path pattern, in the layout of the first file group.")


class Dataset(Model):
    """Where a dataset comes from."""

    hub: HubSource | None = Field(None, description="Its place on the hub.")
    files: tuple[FileGroup, ...] = Field(
        (), description="Its files under `data.root`; the first group that fits serves."
    )
    root: str | None = Field(None, description="Directory of its files, if not `data.root`.")
    dev: DevCut | None = Field(None, description="Cut dev from train (default: the dataset has its own dev).")
    published_dev: PublishedDev | None = Field(
        None, description="Dev instead of the cut, if `data.selection_dev: paper`."
    )
    without_dev: tuple[str, ...] = Field((), description="Languages that have no dev part.")
    limit: dict[Split, Annotated[int, Field(gt=0)]] = Field({}, description="Use the first rows only, by split.")
    licence: str = Field(
        "", description="A licence that keeps it off public hubs; without files its tasks are left out."
    )
