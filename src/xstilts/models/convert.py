"""Pickled weights to safetensors, once and by hand: `python -m xstilts.models.convert SOURCE OUTPUT`.

The workflow itself never reads a pickle. What is written is an ordinary directory that a backbone names as `path:`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts import files
from xstilts.errors import UserError
from xstilts.files import RECORD
from xstilts.schema.data import UNPINNED

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

_WEIGHTS, _INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_BESIDE = ("*.json", "*.txt", "*.model")
_REMEDY = "take another copy of the model"


def convert(source: str, output: Path, revision: str = UNPINNED) -> dict[str, Any]:
    """Write a model's safetensors, config and tokenizer files, and return the record that stands beside them.

    Weights are unpickled with `weights_only`, which builds tensors and runs nothing. The record holds the SHA-256 of
    every file read and written and nothing of time or place, so that two conversions are equal.

    Args:
        source: a directory in the Hugging Face layout, or a hub id.
        revision: of a hub id; the record also says the commit that was found.

    Raises:
        UserError: no pickled weights, weights that hold more than tensors, a result that is no encoder with a
            tokenizer, or an output that is there already.
    """
    if output.exists():
        raise UserError(f"{output}: is there already; name a new directory")
    directory, commit = (Path(source), None) if Path(source).is_dir() else _download(source, revision)
    beside = [p for p in _beside(directory) if p.name != _INDEX]
    read = [*beside, *_index(directory), *(shards := _shards(directory))]
    state = _separate({name: tensor for path in shards for name, tensor in _load(path).items()})
    with files.staged(output) as staging:
        _write(staging, state, beside)
        _check(staging)
        written = {p.name: _sha256(p) for p in sorted(staging.iterdir())}
        record = {"source": source, "revision": revision, "commit": commit, "read": {p.name: _sha256(p) for p in read},
                  "written": written, "tensors": len(state), "versions": _versions()}  # fmt: skip
        files.write_json(staging / RECORD, record)
    return record


def _download(hub: str, revision: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    wanted = None if revision == UNPINNED else revision
    try:
        folder = Path(snapshot_download(hub, revision=wanted, allow_patterns=[*_BESIDE, "pytorch_model*.bin"]))
    except (OSError, ValueError) as error:  # ValueError: neither a directory nor an id that the hub can have
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{hub}: no such directory, and not fetched from the hub: {reason}; check it") from None
    return folder, folder.name  # a snapshot's folder is named by its commit


def _beside(directory: Path) -> list[Path]:
    """Config and tokenizer files of the top folder; never code."""
    return sorted({p for pattern in _BESIDE for p in directory.glob(pattern) if p.is_file() and p.name != RECORD})


def _index(directory: Path) -> list[Path]:
    return [directory / _INDEX] if (directory / _INDEX).is_file() else []


def _shards(directory: Path) -> list[Path]:
    """The pickled files that hold the weights."""
    if (directory / _WEIGHTS).is_file():
        return [directory / _WEIGHTS]
    if not _index(directory):
        present = ", ".join(sorted(p.name for p in directory.iterdir()))
        raise UserError(f"{directory}: no {_WEIGHTS} (found: {present}); nothing to convert")
    try:
        named = json.loads((directory / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        found = [directory / Path(name).name for name in sorted(set(named))]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{directory / _INDEX}: not an index of weights ({error!r}); {_REMEDY}") from None
    if missing := [path.name for path in found if not path.is_file()]:
        raise UserError(f"{directory}: {missing[0]} is missing; fetch it")
    return found


def _load(path: Path) -> State:
    """The tensors of one pickled file, by name."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path}: refused, {_reason(error)}; {_REMEDY}") from None
    plain = isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())
    if not plain:
        raise UserError(f"{path}: refused, it holds more than tensors by name; {_REMEDY}")
    return dict(state)


def _reason(error: Exception) -> str:
    """One line of what torch says in many: the name that the pickle wants to call, where it says so."""
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted:
        return f"it is more than weights: it would call {wanted[1]}"
    return f"it is not a file of weights ({str(error).strip().partition(chr(10))[0][:200]})"


def _separate(state: State) -> State:
    """Every tensor contiguous, with storage of its own.

    Tied weights are written under each of their names: whichever a reader looks for is there, and a model ties them
    again when it is loaded.
    """
    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        storage = tensor.untyped_storage()
        whole = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        separate[name] = tensor if whole else tensor.contiguous().clone()
    return separate


def _write(directory: Path, state: State, beside: list[Path]) -> None:
    from safetensors.torch import save_file

    for path in beside:
        shutil.copyfile(path, directory / path.name)
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})


def _check(directory: Path) -> None:
    """Open the result as a backbone would be."""
    from xstilts.models.encoder import load_encoder, load_tokenizer

    try:
        load_encoder(directory)
        load_tokenizer(directory)
    except UserError as error:
        told = str(error).replace(f"{directory}: ", "")
        raise UserError(f"what was converted cannot be a backbone, nothing is kept: {told}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "safetensors", "transformers")}


def _lines(record: dict[str, Any], output: Path) -> Iterator[str]:
    yield f"{output}: {record['tensors']} tensors from {record['source']} (revision {record['revision']})"
    yield from (f"  {digest}  {name}" for name, digest in record["read"].items())
    yield f"name it in a config as `path: {output}`"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m xstilts.models.convert", description=__doc__)
    parser.add_argument("source", help="directory with pytorch_model.bin, or hub id")
    parser.add_argument("output", type=Path, help="new directory")
    parser.add_argument("--revision", default=UNPINNED, help="commit of a hub id")
    given = parser.parse_args(arguments)
    try:
        record = convert(given.source, given.output, given.revision)
    except UserError as error:
        print(f"xstilts: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(*_lines(record, given.output), sep="\n")


if __name__ == "__main__":
    main()
