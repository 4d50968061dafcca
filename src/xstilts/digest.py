"""Digests: of configuration, of file contents, and of the code that a step reaches.

Two steps with one digest have one result, whatever the clock, the working copy or `.snakemake/` say.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from xstilts import syntax

PACKAGE = Path(__file__).parent
REPOSITORY = PACKAGE.parent.parent
LENGTH = 16
_REMEMBERED = 10_000  # entries of a memory, the newest
_PLUMBING = {
    "xstilts",
    "xstilts.errors",
    "xstilts.files",
    "xstilts.provenance",
    "xstilts.digest",
    "xstilts.syntax",
    "xstilts.job",
    "xstilts.warm",
    "xstilts.training.work",
    "xstilts.training.room",
    "xstilts.training.watch",
}


def canonical(value: Any) -> str:
    """The one JSON text of a plain value; keys sorted.

    Raises:
        TypeError: the value holds something that is not plain JSON, which Snakemake too would silently not track.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        place, culprit = next(_not_plain(value, "value"), ("value", value))
        raise TypeError(
            f"{place} = {culprit!r} ({type(culprit).__name__}) is not plain JSON, so a change of it would go unseen; "
            'give numbers, texts, lists and dictionaries: model_dump(mode="json"), str(path), sorted(set)'
        ) from None


def _not_plain(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Everything inside a value that JSON cannot hold, with the way to it."""
    if isinstance(value, Mapping):
        yield from ((place, key) for key in value if not isinstance(key, str))
        for key, entry in value.items():
            yield from _not_plain(entry, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for position, entry in enumerate(value):
            yield from _not_plain(entry, f"{place}[{position}]")
    elif not (value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))):
        yield place, value


def of(value: Any) -> str:
    """Digest of a plain JSON value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:LENGTH]


class Memory:
    """What a dry run need not find out again, in the user's cache directory.

    It is a convenience: without it everything is found out anew, the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.known: dict[str, list[Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}
        self._changed = False

    def learn(self, key: str, value: list[Any]) -> None:
        """Remember a plain value, once saved."""
        self.known.pop(key, None)
        self.known[key] = value
        self._changed = True

    def save(self) -> None:
        """Keep what was learned; a read-only place is no error."""
        if not self._changed:
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            newest = dict(list(self.known.items())[-_REMEMBERED:])
            temporary.write_text(json.dumps(newest), encoding="utf-8")
            temporary.replace(self._path)
            self._changed = False
        except OSError:
            temporary.unlink(missing_ok=True)


class FileDigests(Memory):
    """Content digests of files, remembered by path, size and time so that a dry run need not read gigabytes."""

    def of(self, path: Path) -> str:
        """Digest of the file's content; "absent" where there is no such file (the preflight names it)."""
        try:
            status = path.stat()
        except OSError:
            return "absent"
        mark = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self.known.get(str(path.resolve()))
        if known is None or known[:3] != mark:
            with path.open("rb") as handle:
                known = [*mark, hashlib.file_digest(handle, "sha256").hexdigest()[:LENGTH]]
            self.learn(str(path.resolve()), known)
        return str(known[3])


@cache
def contents(memory: Path) -> FileDigests:
    """The digests that are remembered in this file; one for all plans of a process."""
    return FileDigests(memory)


def memory_path(name: str = "contents") -> Path:
    """Where content digests are remembered: the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "xstilts" / f"{name}.json"


@cache
def modules() -> Memory:
    """Syntax digests of modules, by what their files hold."""
    return Memory(memory_path("modules"))


def code(entries: Iterable[str]) -> dict[str, str]:
    """Digest of every project module (and packaged data file) that the entry modules reach by import.

    Comments, docstrings and formatting do not count. Modules that only move files and word errors are left out:
    they cannot change a result.

    Args:
        entries: dotted module names; a lazily imported module (a task, a reader) must be named itself.
    """
    reached: dict[str, str] = {}
    queue = list(entries)
    while queue:
        name = queue.pop()
        if name in reached or name in _PLUMBING:
            continue
        found = _module(name)
        if found is not None:
            reached[name], imports, data = found
            queue.extend(imports)
            reached.update(data)
    modules().save()
    return dict(sorted(reached.items()))


@cache
def _module(name: str) -> tuple[str, tuple[str, ...], dict[str, str]] | None:
    """Digest of a module's syntax tree, the project modules it imports, digests of the data files it names."""
    path = _source(name)
    if path is None:
        return None
    key = of([name, path.name, _content(path), _reading(), [p.name for p in _packaged()]])
    found = modules().known.get(key)
    if found is None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = sorted(set(_imports(tree, name, path.name == "__init__.py")))
        named = [p.name for p in _data_files(tree)]
        found = [_tree(tree), imports, named]
        modules().learn(key, found)
    data = {f"data/{name}": _content(PACKAGE / "data" / name) for name in found[2]}
    return found[0], tuple(found[1]), data


@cache
def _reading() -> list[str]:
    """What the digest of a given source follows from: the code that makes it."""
    return [_content(Path(file)) for file in (__file__, syntax.__file__)]


def _tree(tree: ast.AST) -> str:
    return of(syntax.plain(_without_docstrings(tree)))


def _source(name: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterable[str]:
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            if base.split(".")[0] == PACKAGE.name:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _executed(tree: ast.AST) -> Iterable[ast.AST]:
    """Every node, except what stands under `if TYPE_CHECKING:`, which never runs."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _executed(child)


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".")[: None if is_package and node.level == 1 else -node.level + is_package]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _data_files(tree: ast.AST) -> list[Path]:
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return [path for path in _packaged() if path.name in texts]


@cache
def _packaged() -> tuple[Path, ...]:
    return tuple(sorted(path for path in (PACKAGE / "data").iterdir() if path.is_file()))


@cache
def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:LENGTH]


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _docstring(
            node.body
        ):
            del node.body[0]
    return tree


def _docstring(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


@cache
def script(path: str) -> str:
    """Digest of a workflow script's syntax tree (its imports are followed by `code`)."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return _tree(tree)


@cache
def shell(rule_file: str, script: str) -> str:
    """Digest of the shell text of the rules in a file that run a script: what is quoted under their `shell:` keys."""
    text = (REPOSITORY / rule_file).read_text(encoding="utf-8")
    blocks = re.findall(r'^\s+shell:\s*\n?((?:\s*(?:"[^"\n]*"|\'[^\'\n]*\')\s*\n)+)', text, flags=re.M)
    return of([re.findall(r'"([^"\n]*)"|\'([^\'\n]*)\'', block) for block in blocks if script in block])
