"""Encoders, heads, checkpoints.

transformers looks through the five hundred folders of its models twice while it is imported, a third of a second each
time. Here the second look is given what the first one found.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import transformers
from transformers.utils import import_utils

_MODELS = "transformers.models"


def seen() -> dict[Any, dict[str, Any]]:
    """What transformers found in the folders of its models: requirements: module: names."""
    folder, prefix = Path(transformers.__file__).parent / "models", "models."
    # Asked as transformers itself asked, so the answer is at hand; it has put other modules among these since.
    found = import_utils.define_import_structure(folder, prefix="models")
    return {
        needs: {name.removeprefix(prefix): names for name, names in modules.items() if name.startswith(prefix)}
        for needs, modules in found.items()
    }


def _import_models() -> None:
    look, found = import_utils.define_import_structure, seen()
    import_utils.define_import_structure = cache(lambda *_, **__: found)  # cached, as the one that it stands in for
    try:
        import_module(_MODELS)
    finally:
        import_utils.define_import_structure = look


if _MODELS not in sys.modules:
    _import_models()
