"""A Python syntax tree as plain JSON: the same for one source under every Python that can read it.

`ast.dump` is not: Python 3.12 gave definitions a field for type parameters, 3.13 leaves empty fields out of the text.
"""

from __future__ import annotations

import ast
from typing import Any


def plain(node: Any) -> Any:
    """A node as its kind and those of its fields that hold something; positions are left out.

    A field that newer Pythons add is empty in source that does not use it. Constants stand as type and ASCII text,
    since what else is printable depends on the Python's Unicode.

    Args:
        node: a node, or what a field of one holds.
    """
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, ascii(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["JoinedStr", _pieces(node.values)]
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return [type(node).__name__, {name: plain(value) for name, value in fields}]
    return [plain(entry) for entry in node] if isinstance(node, list) else node


def _pieces(values: list[ast.expr]) -> list[Any]:
    """Text and expressions of an f-string; where its text is cut, and whether none is a piece, differs."""
    found: list[Any] = []
    for value in values:
        if not isinstance(value, ast.Constant):
            found.append(plain(value))
        elif found and isinstance(found[-1], str):
            found[-1] += str(value.value)
        elif value.value:
            found.append(str(value.value))
    return found
