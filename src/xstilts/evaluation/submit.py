"""`python -m xstilts.evaluation.submit`: the XTREME submission files of one checkpoint of a finished study.

    python -m xstilts.evaluation.submit --configfile config/mini.yaml --intermediate mnli --output DIR [--labels DIR]

DIR then holds `<task>/test-<language>.{tsv,json}` for every XTREME target of the study, and with `--labels` the gold
in the same layout, for `python -m xstilts.evaluation`. Reads prediction tables and prepared data; runs no model.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xstilts import command
from xstilts.errors import UserError
from xstilts.evaluation.export import write_labels, write_predictions


def main() -> None:
    """The command."""
    parser = command.parser("evaluation.submit", "Write the XTREME submission files of one checkpoint of a study.")
    parser.add_argument("--intermediate", required=True, help="row of the matrix")
    parser.add_argument("--backbone", help="needed where the study has several")
    parser.add_argument("--seeds", help="as in the result paths, such as seed-1; needed where the study has several")
    parser.add_argument("--output", type=Path, required=True, help="folder for the predictions")
    parser.add_argument("--labels", type=Path, help="folder for the gold labels")
    _submit(parser.parse_args())


def _submit(options: argparse.Namespace) -> None:
    known = command.plan_of(options.configfile, options.config).submissions()
    backbone = _chosen("backbone", options.backbone, (key[0] for key in known))
    intermediate = _chosen("intermediate", options.intermediate, (key[1] for key in known if key[0] == backbone))
    seeds = _chosen("seeds", options.seeds, (key[2] for key in known if key[:2] == (backbone, intermediate)))
    step = known[backbone, intermediate, seeds]
    parts = step.payload["parts"]
    _require_predictions(parts, step.name)
    write_predictions(parts, step.slice["layer"], options.output)
    if options.labels:
        write_labels(parts, options.labels)
    print(f"{step.name}: {len(parts)} files in {options.output}")


def _chosen(what: str, given: str | None, known: Iterable[str]) -> str:
    """The one that was named, or the only one there is."""
    names = list(dict.fromkeys(known))
    if given is None and len(names) == 1:
        return names[0]
    if given not in names:
        problem = f"the study has no {given!r}" if given else "the study has several"
        raise UserError(f"--{what}: {problem}; name one of {', '.join(names)}")
    return given


def _require_predictions(parts: list[dict[str, Any]], name: str) -> None:
    if not parts:
        raise UserError(f"{name}: the study has no XTREME target; add one under `targets`")
    missing = [part["predictions"] for part in parts if not Path(part["predictions"]).is_file()]
    if missing:
        problem = f"{len(missing)} of {len(parts)} prediction tables are missing, first {missing[0]}"
        raise UserError(f"{name}: {problem}; run the study with this config first: snakemake all_matrix")


if __name__ == "__main__":
    command.run(main)
