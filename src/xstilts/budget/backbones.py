"""The architecture of each backbone and translation model: of its files where they are at hand, else as shipped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from xstilts.budget.architecture import Architecture, shipped
from xstilts.budget.missing import Missing
from xstilts.study import Plan

_UNUSED_POSITIONS = 2  # of a backbone that the study trains (training.pretrain)


def architecture(plan: Plan, backbone: str) -> Architecture:
    """What a backbone's passes cost.

    Raises:
        Missing: nothing says what it is.
    """
    given, name = plan.study.backbones[backbone], f"backbone {backbone}"
    found = _known(name, _places(plan, backbone), given.hub)
    if found is None and given.train is not None:
        return Architecture.of_training(given.train, _UNUSED_POSITIONS)
    return found or _unknown(name, given.hub or given.path)


def translator(plan: Plan, dataset: str) -> Architecture:
    """What the model costs by which a dataset is translated.

    Raises:
        Missing: nothing says what it is.
    """
    given, name = plan.study.data.translations[dataset], f"translation {dataset}"
    found = _known(name, [Path(given.path)] if given.path else [], given.hub)
    return found or _unknown(name, given.hub or given.path)


def _known(name: str, places: Iterable[Path], hub: str | None) -> Architecture | None:
    """By the first config.json that is at hand, else as shipped."""
    for place in [*places, *(_cached(hub) if hub else [])]:
        if (config := _config(place)) is not None:
            return Architecture.of_config(config, name)
    return Architecture.of_config(shipped()[hub], name) if hub in shipped() else None


def _unknown(name: str, where: str | None) -> NoReturn:
    raise Missing(f"{name}: the architecture of {where} is not known yet; run `snakemake all_data` first")


def tokenizer(plan: Plan, backbone: str) -> Path | None:
    """Directory of a backbone's tokenizer, if it is at hand."""
    return next((place for place in _places(plan, backbone) if (place / "tokenizer.json").is_file()), None)


def _places(plan: Plan, backbone: str) -> list[Path]:
    """Where the backbone may be at hand: today's folder, earlier ones, and the directory that the config names."""
    today, given = plan.backbone(backbone).directory, plan.study.backbones[backbone]
    return [today, *sorted(today.parent.glob("*")), *([Path(given.path)] if given.path else [])]


def _config(directory: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _cached(hub: str) -> list[Path]:
    """Snapshots of a model in the hub's cache on this machine."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return sorted(cache.glob(f"models--{hub.replace('/', '--')}/snapshots/*"))
