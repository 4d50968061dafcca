"""Writes config/config.yaml (the documented default) and config/schema.json (for editors) from the schema.

Run `python -m xstilts.config_files` after a change of the schema; a test fails until it was done.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from xstilts.config import Study, xtreme_languages

_HEADER = """\
# yaml-language-server: $schema=schema.json
# The full zero-shot X-STILTs study, with every knob at its default and explained where it stands.
# Generated from src/xstilts/config.py by `python -m xstilts.config_files`. To change something, copy this file, keep
# only the keys that you change, and run `snakemake --configfile YOURS.yaml`; what is left out keeps its default.
# Single values can be changed on the command line: --config 'data={root: DIR}'.
"""
_WIDTH = 118


def default_yaml() -> str:
    """The documented default config."""
    return _HEADER + "\n" + "\n".join(_emit(Study(), 0)) + "\n"


def schema_json() -> str:
    """The JSON schema by which editors complete and check a config."""
    return json.dumps(Study.model_json_schema(), indent=1, sort_keys=True) + "\n"


def _emit(model: BaseModel, indent: int) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if field.description:
            yield from _comment(field.description, indent)
        yield from _entry(name, value, indent)
        if indent == 0:
            yield ""


def _entry(name: str, value: Any, indent: int) -> Iterator[str]:
    pad = "  " * indent
    if isinstance(value, BaseModel):
        yield f"{pad}{name}:"
        yield from _emit(value, indent + 1)
    elif isinstance(value, dict) and value:
        yield f"{pad}{name}:"
        for key, entry in value.items():
            yield f"{pad}  {key}: {_flow(entry)}{_languages(name, key)}"
    else:
        yield f"{pad}{name}: {_flow(value)}"


def _comment(text: str, indent: int) -> Iterator[str]:
    pad = "  " * indent
    yield from (f"{pad}# {line}" for line in textwrap.wrap(text, _WIDTH - len(pad)))


def _flow(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=type(value).__name__ != "Resources")
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip().removesuffix("\n...")


def _languages(section: str, key: str) -> str:
    codes = xtreme_languages().get(key, ()) if section == "targets" else ()
    return f"  # {len(codes)} languages: {' '.join(codes)}" if codes else ""


def main() -> None:
    """Write both files into config/."""
    folder = Path("config")
    (folder / "config.yaml").write_text(default_yaml(), encoding="utf-8")
    (folder / "schema.json").write_text(schema_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
