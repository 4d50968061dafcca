"""Which files a part of a dataset is read from: pattern expansion only, nothing is opened."""

from __future__ import annotations

from pathlib import Path

from xstilts.schema.data import Dataset, FileGroup, HubSource, Split

ENGLISH = "en"


def group_for(source: Dataset, split: Split, language: str) -> FileGroup | None:
    """The first group of files that serves the split in the language; None if none does."""
    for group in source.files:
        if split in group.files and (group.languages is None or language in group.languages):
            return group
    return None


def origin(source: Dataset, split: Split) -> Split:
    """The published split that a split is read from: train, where dev is cut from it."""
    return "train" if split == "dev" and source.dev is not None else split


def has_part(source: Dataset, split: Split, language: str, *, hub: bool) -> bool:
    """Does the dataset have this split in this language? A training part in another language is a translation."""
    published = origin(source, split)
    if (
        published == "train"
        and language != ENGLISH
        and (split != "train" or not _translated(source, language, hub=hub))
    ):
        return False
    if published == "dev" and language in source.without_dev:
        return False
    if hub:
        return source.hub is not None and published in source.hub.splits and _on_hub(source.hub, language)
    return group_for(source, published, language) is not None


def _on_hub(hub: HubSource, language: str) -> bool:
    """Has the hub's copy the language, as far as the config says?"""
    named = (hub.languages, hub.language_prefix or None, hub.config if isinstance(hub.config, dict) else None)
    return all(language in known for known in named if known is not None)


def _translated(source: Dataset, language: str, *, hub: bool) -> bool:
    """Has it training data in the language: a configuration, ids or files that name it, not those of English?"""
    if hub and source.hub is not None:
        named = "{lang}" in source.hub.config if isinstance(source.hub.config, str) else True
        return named or language in source.hub.language_prefix
    group = group_for(source, "train", language)
    if group is None:
        return False
    given = group.files["train"]
    return language in (group.languages or ()) or any(
        "{lang}" in p for p in ((given,) if isinstance(given, str) else given)
    )


def patterns(source: Dataset, split: Split, language: str) -> list[str]:
    """The path patterns of a part, its language filled in; empty where the dataset has no such part."""
    group = group_for(source, origin(source, split), language)
    if group is None:
        return []
    given = group.files[origin(source, split)]
    code = group.codes.get(language, language)
    return [p.replace("{lang}", code) for p in ([given] if isinstance(given, str) else given)]


def local_files(source: Dataset, root: Path, split: Split, language: str) -> list[Path]:
    """Files of a part under `root`, globs expanded and sorted; a pattern without a match stays as it is (missing)."""
    found: list[Path] = []
    for pattern in patterns(source, split, language):
        matches = sorted(root.glob(pattern)) if "*" in pattern else []
        found.extend(matches or [root / pattern])
    return found


def missing_files(source: Dataset, root: Path, split: Split, language: str) -> list[Path]:
    """Those files of a part that are not there."""
    return [path for path in local_files(source, root, split, language) if not path.is_file()]
