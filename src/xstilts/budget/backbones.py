"""The architecture of each of a study's backbones: of its files where they are at hand, else as shipped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from xstilts.budget.architecture import Architecture, shipped
from xstilts.budget.missing import Missing
from xstilts.study import Plan

_UNUSED_POSITIONS = 2  # of a backbone that the study trains (training.pretrain)


def architecture(plan: Plan, backbone: str) -> Architecture:
    """What a backbone's passes cost.

    Raises:
        Missing: nothing says what it is.
    """
    given = plan.study.backbones[backbone]
    for place in [*_places(plan, backbone), *(_cached(given.hub) if given.hub else [])]:
        if (config := _config(place)) is not None:
            return Architecture.of_config(config, backbone)
    if given.train is not None:
        return Architecture.of_training(given.train, _UNUSED_POSITIONS)
    if given.hub in shipped():
        return Architecture.of_config(shipped()[given.hub], backbone)
    where = given.hub or given.path
    raise Missing(f"backbone {backbone}: the architecture of {where} is not known yet; run `snakemake all_data` first")


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
