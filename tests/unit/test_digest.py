"""Digests: what changes them and what does not."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from xstilts import digest, syntax

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


def test_a_memory_keeps_its_newest_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_REMEMBERED", 2)
    memory = digest.Memory(tmp_path / "memory.json")
    for key in ("a", "b", "a", "c"):
        memory.learn(key, [key])
    memory.save()
    assert digest.Memory(tmp_path / "memory.json").known == {"a": ["a"], "c": ["c"]}


def test_every_module_that_was_read_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for function in (digest.modules, digest._module):
        monkeypatch.setattr(digest, function.__name__, cache(function.__wrapped__))
    found = digest.code(["xstilts.analysis.report"])
    known = digest.Memory(digest.memory_path("modules")).known
    assert {value[0] for value in known.values()} == {v for name, v in found.items() if not name.startswith("data/")}


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


SOURCE = """
def f(x: int = -1, *, y=0.5 + 1j, **more):
    return lambda: f"{x!r:>{y}} {{z}} é {more}" f"{x=}", {**more, "a": None}, b"\\x00", ...
class C(dict):
    async def g(self):
        return [a async for a in self if 1_0 > a is not True]
"""


def test_fields_that_newer_pythons_add_do_not_count() -> None:
    older, newer = ast.parse(SOURCE), ast.parse(SOURCE)
    # Types take a node's fields for given; this plays a Python that has others.
    for node in ast.walk(newer):
        node._fields = (*node._fields, "type_params", "added")  # type: ignore[misc]
        node.type_params, node.added = [], None  # type: ignore[attr-defined]
    for node in ast.walk(older):
        node._fields = tuple(name for name in node._fields if name != "type_params")  # type: ignore[misc]
    assert syntax.plain(newer) == syntax.plain(older)
    assert syntax.plain(ast.parse("x = None")) != syntax.plain(ast.parse("x = 0")) != syntax.plain(ast.parse("x = 0.0"))
    assert syntax.plain(ast.parse("f'{a}b'")) != syntax.plain(ast.parse("f'{a}' 'c'"))


def test_other_pythons_of_this_machine_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text(SOURCE, encoding="utf-8")
    sources = [tmp_path / "source.py", *sorted(digest.PACKAGE.glob("[ds]*.py"))]
    program = (
        "import ast, hashlib, runpy, sys; plain = runpy.run_path(sys.argv[1])['plain'];"
        "texts = [ascii(plain(ast.parse(open(p, encoding='utf-8').read()))) for p in sys.argv[2:]];"
        "print(hashlib.sha256(''.join(texts).encode()).hexdigest())"
    )
    found = {
        subprocess.run([python, "-c", program, syntax.__file__, *sources], capture_output=True, text=True).stdout
        for python in pythons()
    }
    assert len(found) == 1 and "" not in found


def pythons() -> set[Path | str]:
    """This Python, and others from 3.11 on that are installed here."""
    minors = re.compile(r"3\.1[1-9]\.\d+")
    managed = Path.home().joinpath(".pyenv", "versions").glob("*")
    found: set[Path | str] = {place / "bin/python" for place in managed if minors.fullmatch(place.name)}
    on_path = (shutil.which(f"python3.{minor}", path="/usr/bin:/usr/local/bin") for minor in range(11, 20))
    return found | {sys.executable} | set(filter(None, on_path))


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
