"""Rows and lengths of the parts that steps read: of the prepared data where it is there, else shipped ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path

from xstilts import config, digest
from xstilts.budget import lengths
from xstilts.budget.lengths import Part
from xstilts.budget.missing import Missing
from xstilts.mini.sizes import Sizes
from xstilts.study import Plan


class Statistics:
    """What is known of the data of a study.

    Attributes:
        used: dataset: where its lengths came from, of every part that was asked for.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.used: dict[str, set[str]] = {}
        self._known: dict[tuple[str, str], Part] = {}

    def parts(self, paths: Iterable[str], tokenizer: Path | None) -> list[Part]:
        """Parts by the paths at which they stand once prepared (`…/<dataset>/<digest>/<split>.<language>.parquet`).

        Args:
            tokenizer: directory of the checkpoint whose tokenizer counts, if it is at hand.

        Raises:
            Missing: nothing is known of one of them.
        """
        return [self._part(Path(path), tokenizer) for path in paths]

    def _part(self, path: Path, tokenizer: Path | None) -> Part:
        key = (str(path), str(tokenizer))
        if key not in self._known:
            self._known[key] = self._at_hand(path, tokenizer) or self._shipped(path)
        self.used.setdefault(path.parent.parent.name, set()).add(self._known[key].origin)
        return self._known[key]

    # --- at hand

    def _at_hand(self, wanted: Path, tokenizer: Path | None) -> Part | None:
        """Measured once per content and tokenizer, and remembered in the user's cache; None if it cannot be read."""
        path = _prepared(wanted)
        if path is None:
            return None
        file = tokenizer / "tokenizer.json" if tokenizer else None
        counted = file if file is not None and file.exists() else None
        key = digest.of([path.parent.name, path.name, tokenizer.name if tokenizer and counted else None])
        if key not in self._memory.known:
            language = path.stem.split(".", 1)[1]
            try:
                count = lengths.by_tokenizer(counted) if counted else lengths.by_characters(language)
                self._memory.learn(key, list(lengths.measured(path, count)))
            except Exception:  # damaged, which tokenizers tell by nothing narrower; the job that reads it will say so
                return None
        rows, roles = self._memory.known[key]
        return Part(rows, roles, "measured")

    @cached_property
    def _memory(self) -> digest.Memory:
        return digest.Memory(digest.memory_path("lengths"))

    def save(self) -> None:
        """Keep what was measured, if anything was."""
        self._memory.save()

    # --- not at hand

    def _shipped(self, path: Path) -> Part:
        translation = self._plan.study.data.translations.get(path.parents[2].name)  # has a folder for each language
        dataset = translation.of if translation else path.parent.parent.name
        split, language = path.stem.split(".", 1)
        alike = str(lengths.shipped()["translations"].get(dataset, dataset))
        known = lengths.shipped_part(alike, language, world=self._plan.study.data.world is not None)
        rows = self._rows(alike, split, language)
        if known is None or rows is None:
            what = "lengths" if known is None else f"rows of {split}.{language}"
            raise Missing(f"no statistics of dataset {dataset!r} ({what}); run `snakemake all_data` first")
        roles, origin = known
        return Part(rows, roles, origin)

    def _rows(self, dataset: str, split: str, language: str) -> float | None:
        """Rows of a part, cuts and limits of the config included."""
        source = self._plan.source(dataset)
        cut = source.dev is not None and split in ("train", "dev")
        rows = self._published_rows(dataset, "train" if cut else split, language)
        if rows is None:
            return None
        if cut and source.dev is not None:
            rows *= source.dev.share if split == "dev" else 1 - source.dev.share
        limits: Mapping[str, int] = {str(name): limit for name, limit in source.limit.items()}
        return min(rows, limits.get(split, rows))

    def _users_own(self, dataset: str) -> bool:
        """Does the config name other files or another repository than xstilts does?"""
        given, known = self._plan.study.data.datasets.get(dataset), config.known_datasets().get(dataset)
        return given is not None and (known is None or (given.files, given.hub) != (known.files, known.hub))

    def _published_rows(self, dataset: str, split: str, language: str) -> float | None:
        world = self._plan.study.data.world
        if world is not None:
            return world_rows(dataset, split, world.sizes)
        if self._users_own(dataset):
            return None  # nothing is known of them before they are read
        hub = self._plan.source(dataset).hub
        known: Mapping[str, float] = dict(hub.rows) if hub else {}
        more: Mapping[str, float] = lengths.shipped()["datasets"].get(dataset, {}).get("rows", {})
        for rows in (known, more):
            for name in (f"{split}.{language}", split):
                if name in rows:
                    return float(rows[name])
        return None


def _prepared(path: Path) -> Path | None:
    """The prepared part, or, if only an earlier code or config made one, the newest of those: its lengths are alike."""
    if path.exists():
        return path
    earlier = sorted(path.parent.parent.glob(f"*/{path.name}"), key=lambda p: p.stat().st_mtime)
    return earlier[-1] if earlier else None


def world_rows(dataset: str, split: str, changes: Mapping[str, int]) -> float | None:
    """Rows of a part of the mini world; a retrieval set's are both sides."""
    sizes = Sizes.of(changes)
    if dataset == "bucc2018":
        return 2.0 * (sizes.bucc_pairs + sizes.bucc_distractors)
    if dataset == "tatoeba":
        return 2.0 * sizes.tatoeba
    if split in ("dev", "test"):
        return float(getattr(sizes, split))
    name = "anli" if dataset.startswith("anli_") else dataset
    return float(getattr(sizes, name)) if name in {f.name for f in fields(Sizes)} else None
