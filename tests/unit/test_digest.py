"""Digests: what changes them and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xstilts import digest

ROOT = Path(__file__).parents[2]


def test_key_order_does_not_count_and_values_do() -> None:
    assert digest.of({"a": 1, "b": [2]}) == digest.of({"b": [2], "a": 1})
    assert digest.of({"a": 1}) != digest.of({"a": 2})


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, object(), float("nan")])
def test_what_is_not_plain_json_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        digest.of({"value": value})


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"hyper": {"rate": Path("x")}}, r"value\.hyper\.rate = PosixPath\('x'\) \(PosixPath\)"),
        ({"langs": [{"a"}]}, r"value\.langs\[0\] = \{'a'\} \(set\)"),
        ({"rate": float("inf")}, r"value\.rate = inf \(float\)"),
        ({("a", "b"): 1}, r"value = \('a', 'b'\) \(tuple\)"),
    ],
)
def test_the_refusal_names_the_place_and_the_remedy(value: object, place: str) -> None:
    with pytest.raises(TypeError, match=place + r" is not plain JSON, .*; give numbers, texts.*sorted\(set\)"):
        digest.of(value)


def test_file_digests_follow_content_not_time(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one", encoding="utf-8")
    first = digest.FileDigests(tmp_path / "memory.json")
    before = first.of(file)
    first.save()
    os.utime(file, (1, 1))
    assert digest.FileDigests(tmp_path / "memory.json").of(file) == before
    file.write_text("two", encoding="utf-8")
    assert digest.FileDigests(tmp_path / "memory.json").of(file) != before
    assert first.of(tmp_path / "nowhere") == "absent"


def _tree(tmp_path: Path, source: str) -> Path:
    package = tmp_path / "xstilts"
    package.mkdir(exist_ok=True)
    (package / "data").mkdir(exist_ok=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "entry.py").write_text(source, encoding="utf-8")
    (package / "used.py").write_text("X = 1\n", encoding="utf-8")
    (package / "unused.py").write_text("Y = 1\n", encoding="utf-8")
    return package


def _code(package: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(digest, "PACKAGE", package)
    for cached in (digest._module, digest._content, digest._packaged):
        cached.cache_clear()
    try:
        return digest.code(["xstilts.entry"])
    finally:
        for cached in (digest._module, digest._content, digest._packaged):
            cached.cache_clear()


def test_comments_docstrings_and_layout_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = "from xstilts import used\ndef f(x):\n    return x + used.X\n"
    body = 'def f(x):\n    """Doc."""\n    return (x\n        + used.X)\n'
    dressed = f'"""Doc."""\n# why\nfrom xstilts import used\n\n\n{body}'
    assert _code(_tree(tmp_path, plain), monkeypatch) == _code(_tree(tmp_path, dressed), monkeypatch)


def test_imports_are_followed_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = _tree(tmp_path, "def f():\n    from xstilts.used import X\n    return X\n")
    before = _code(package, monkeypatch)
    assert "xstilts.used" in before
    (package / "unused.py").write_text("Y = 2\n", encoding="utf-8")
    assert _code(package, monkeypatch) == before
    (package / "used.py").write_text("X = 2\n", encoding="utf-8")
    assert _code(package, monkeypatch) != before


def test_a_packaged_data_file_that_is_named_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = _tree(tmp_path, "TABLE = 'table.csv'\n")
    (package / "data" / "table.csv").write_text("1", encoding="utf-8")
    (package / "data" / "other.csv").write_text("1", encoding="utf-8")
    before = _code(package, monkeypatch)
    (package / "data" / "other.csv").write_text("2", encoding="utf-8")
    assert _code(package, monkeypatch) == before
    (package / "data" / "table.csv").write_text("2", encoding="utf-8")
    assert _code(package, monkeypatch) != before


def test_digests_do_not_depend_on_the_hash_seed() -> None:
    program = (
        "import yaml; from xstilts.config import load; from xstilts.study import Plan;"
        "print([s.digest for s in Plan(load(yaml.safe_load(open('config/mini.yaml')))).steps()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1
