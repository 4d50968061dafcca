"""The whole of `verify_published` and `verify_baseline` on a random model over a directory in the real layout."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml
from tests.unit import tiny
from tests.workspace import ROOT, Workspace

from xstilts import config

CODES = {"de": "deu", "fr": "fra"}


def sentences(seed: str, count: int) -> list[str]:
    """Different sentences of the tiny tokenizer's words."""
    words = " ".join(tiny.TEXT).split()
    made = random.Random(seed)
    return [f"{' '.join(made.sample(words, 6))} {number}" for number in range(count)]


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_layout(root: Path) -> None:
    """BUCC's sample and Tatoeba in two languages, in upstream's files, a few sentences each."""
    for code, long in CODES.items():
        for side in (long, "eng"):
            write_lines(root / f"tatoeba/v1/tatoeba.{long}-eng.{side}", sentences(side + code, 12))
        for side in (code, "en"):
            numbered = [f"{side}-{k}\t{text}" for k, text in enumerate(sentences(side + code, 12))]
            write_lines(root / f"bucc2018/{code}-en/{code}-en.sample.{side}", numbered)
        write_lines(root / f"bucc2018/{code}-en/{code}-en.sample.gold", [f"{code}-{k}\ten-{k + 3}" for k in range(6)])


@pytest.mark.slow
def test_a_random_model_is_reported_not_to_match(tmp_path: Path) -> None:
    write_layout(tmp_path / "data")
    model = tiny.backbone(tmp_path / "model", num_hidden_layers=2, max_position_embeddings=300)
    languages = {"languages": list(CODES)}
    changes = {
        "data": {"source": "files"},
        "backbones": {"xlm-roberta-large": {"hub": None, "path": str(model), "retrieval_layer": 1}},
        "targets": {"bucc2018": languages, "tatoeba": languages},
        "compute": {"device": "cpu", "threads": 1},
    }
    given = yaml.safe_load((ROOT / "config" / "verify.yaml").read_text(encoding="utf-8"))
    study = Workspace(tmp_path, config.deep_merge(given, changes))
    told = study.run("verify_published", "verify_baseline").stdout
    for name, numbers in (("published", 40), ("baseline", 10)):
        place = study.results / "verify" / name
        verdict = json.loads((place / "verdict.json").read_text(encoding="utf-8"))["backbones"]["xlm-roberta-large"]
        assert verdict["verdict"] == "does not match"
        assert verdict["compared"] == numbers
        assert f"verify_{name}: xlm-roberta-large: does not match: of {numbers} published numbers" in told
        assert (place / "comparison.svg").is_file()
    assert verdict["counts"] == {"missing": 9, "other languages": 1}
    assert "Nothing to be done" in study.run("verify_published", "verify_baseline").stdout
    assert not (study.results / "tables").exists()
