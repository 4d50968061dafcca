"""Pickled weights become safetensors; anything that is more than weights is refused, and never run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.unit import tiny

from xstilts.errors import UserError
from xstilts.models import checkpoint
from xstilts.models.convert import convert, main
from xstilts.models.fetch import fetch


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A tiny model as it lay on the hub in 2020: pytorch_model.bin only."""
    directory = tiny.backbone(tmp_path / "source")
    state = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    torch.save(state, directory / "pytorch_model.bin")
    return directory


def state_of(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(directory / "pytorch_model.bin", weights_only=True)
    return found


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def fetched(path: Path, output: Path) -> None:
    job: dict[str, Any] = {"name": "backbone/x", "digest": "0", "plan": {}, "hub": None, "revision": "unpinned"}
    fetch({**job, "path": str(path), "output": str(output)})


def test_a_converted_model_is_a_backbone_with_the_same_weights(pickled: Path, tmp_path: Path) -> None:
    convert(str(pickled), tmp_path / "out")
    assert same(load_file(tmp_path / "out" / "model.safetensors"), state_of(pickled))
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {p.name for p in pickled.iterdir()} - {"pytorch_model.bin"} | {"model.safetensors", "record.json"}
    fetched(tmp_path / "out", tmp_path / "backbone")
    assert same(checkpoint.load_encoder(tmp_path / "backbone").state_dict(), state_of(pickled))


def test_the_record_holds_the_hash_of_every_file(pickled: Path, tmp_path: Path) -> None:
    record = convert(str(pickled), tmp_path / "out")
    assert record == json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    for folder, part in ((pickled, "read"), (tmp_path / "out", "written")):
        found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
        assert record[part] == {name: value for name, value in found.items() if name != "record.json"}
    assert (record["source"], record["revision"], record["commit"]) == (str(pickled), "unpinned", None)


def test_two_conversions_are_equal(pickled: Path, tmp_path: Path) -> None:
    assert convert(str(pickled), tmp_path / "a") == convert(str(pickled), tmp_path / "b")


def test_tied_and_partly_shared_tensors_are_written_under_each_name(pickled: Path, tmp_path: Path) -> None:
    state = state_of(pickled)
    table = state["embeddings.word_embeddings.weight"]
    tied = {**state, "lm_head.decoder.weight": table, "first.rows": table[:2], "turned": table.T}
    torch.save(tied, pickled / "pytorch_model.bin")
    assert (pickled / "pytorch_model.bin").stat().st_size < 2 * table.nbytes + sum(t.nbytes for t in state.values())
    convert(str(pickled), tmp_path / "out")
    assert same(load_file(tmp_path / "out" / "model.safetensors"), tied)


def test_weights_in_several_files(pickled: Path, tmp_path: Path) -> None:
    state = state_of(pickled)
    whole, names = dict(state), sorted(state)
    (pickled / "pytorch_model.bin").unlink()
    halves = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, half in halves.items():
        torch.save({name: state[name] for name in half}, pickled / file)
    index = {"metadata": {}, "weight_map": {name: file for file, half in halves.items() for name in half}}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    record = convert(str(pickled), tmp_path / "out")
    assert same(load_file(tmp_path / "out" / "model.safetensors"), whole)
    assert {*halves, "pytorch_model.bin.index.json"} <= set(record["read"])
    assert not (tmp_path / "out" / "pytorch_model.bin.index.json").exists()
    (pickled / "pytorch_model-2.bin").unlink()
    with pytest.raises(UserError, match=r"pytorch_model-2\.bin is missing"):
        convert(str(pickled), tmp_path / "again")


class Evil:
    """Unpickled the usual way, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return exec, (f"open({str(self.mark)!r}, 'w')",)


def test_a_malicious_pickle_is_refused_and_not_run(
    pickled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**state_of(pickled), "evil": Evil(tmp_path / "ran")}, pickled / "pytorch_model.bin")
    with pytest.raises(SystemExit) as stopped:
        main([str(pickled), str(tmp_path / "out")])
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "pytorch_model.bin: refused, it is more than weights: it would call exec; take another" in told
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()
    torch.load(pickled / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "ran").exists()  # so it would have been run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": {"b": torch.ones(1)}}, "refused, it holds more than tensors by name"),
        ({"a": torch.ones(1), "epoch": 3}, "refused, it holds more than tensors by name"),
        ([torch.ones(1)], "refused, it holds more than tensors by name"),
        ({"a": torch.ones(1)}, r"cannot be a backbone, nothing is kept: the weights lack \d+ parameters"),
    ],
)
def test_what_is_no_model_is_refused(pickled: Path, tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match=message):
        convert(str(pickled), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_file_and_a_taken_place_are_named(pickled: Path, tmp_path: Path) -> None:
    (pickled / "pytorch_model.bin").write_bytes(b"\x00not a pickle")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: refused, it is not a file of weights"):
        convert(str(pickled), tmp_path / "out")
    with pytest.raises(UserError, match="is there already; name a new directory"):
        convert(str(pickled), pickled)
    (pickled / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"no pytorch_model\.bin \(found: config\.json, .*nothing to convert"):
        convert(str(pickled), tmp_path / "out")


def test_fetch_names_the_command(pickled: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no safetensors weights.*python -m xstilts\.models\.convert .*source DIRECTORY"
    ):
        fetched(pickled, tmp_path / "backbone")
