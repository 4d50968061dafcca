"""Imports that a job does without: most of what a prediction would load before it computes, it never uses."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_WITHOUT_PANDAS = ("xstilts.evaluation.", "xstilts.training.")
_ALONE = ("xstilts.evaluation.predict:",)
"""They neither compile nor share a model with other processes."""

_LOOK = "transformers.utils.import_utils"
_COMPILER = "torch._dynamo"
_MARKS = ("allow_in_graph", "assume_constant_result", "disable")
_APART = (f"{_COMPILER}._trace_wrapped_higher_order_op",)
"""What transformers imports from inside the compiler and what needs nothing else of it."""


def begin(function: str) -> None:
    """Leave out what the job of a function (`module:name`) does without, for the rest of this process."""
    alone = function.startswith(_ALONE)
    sys.meta_path.insert(0, _Look(alone))
    if alone:
        sys.meta_path.insert(0, _Compiler())
    if function.startswith(_WITHOUT_PANDAS):
        sys.meta_path.insert(0, _Pandas())


class _Look(MetaPathFinder):
    """How transformers looks through the five hundred folders of its models, twice, whenever it is imported (0.6 s).

    It keeps what it finds in a folder, but only for the last 128 folders, and goes through every line of all their
    files for the last one that begins with `__all__`.
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone

    def find_spec(self, name: str, path: Any = None, _: Any = None) -> ModuleSpec | None:
        """Where it is, to be changed once it is loaded."""
        spec = PathFinder.find_spec(name, path) if name == _LOOK else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Looking(spec.loader.name, spec.loader.path, self._alone)
        return spec


class _Looking(SourceFileLoader):
    def __init__(self, name: str, path: str, alone: bool) -> None:
        super().__init__(name, path)
        self._alone = alone

    def exec_module(self, module: Any) -> None:
        super().exec_module(module)
        with suppress(AttributeError):  # other versions of transformers may look in other ways
            names, folder = module.fetch__all__, module.create_import_structure_from_path.__wrapped__
            module.fetch__all__ = lambda content: names(content[content.rfind("\n__all__") + 1 :])
            module.create_import_structure_from_path = cache(folder)
            if self._alone:  # as on a PyTorch built without: distributed tensors take as long as the compiler
                module.is_torch_distributed_available = lambda: False


class _Pandas(MetaPathFinder, Loader):
    """Pandas as if it were not installed: pyarrow imports it (0.2 s) only to ask if something is a table of its."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Found here, so that it is found nowhere else."""
        return ModuleSpec(name, self) if name == "pandas" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Never."""
        raise ModuleNotFoundError(f"{spec.name} is hidden from jobs that do without", name=spec.name)


class _Compiler(MetaPathFinder, Loader):
    """PyTorch's compiler, loaded once something wants more of it than to be left alone.

    transformers and torch mark functions that it is not to look into, and nothing else loads it (0.5 s and more) in a
    process that compiles nothing. Here a mark changes nothing. Whoever does compile gets the whole compiler, which
    does not know of the marks until then.
    """

    def find_spec(self, name: str, path: Any = None, _: Any = None) -> ModuleSpec | None:
        """The package itself is a stand-in; who asks for a part of it gets the whole."""
        if name == _COMPILER:
            place = PathFinder.find_spec(name, path)
            spec = ModuleSpec(name, self, is_package=True)
            spec.submodule_search_locations = place.submodule_search_locations if place else None
            return spec
        if not name.startswith(f"{_COMPILER}.") or name in _APART:
            return None
        _whole()
        return ModuleSpec(name, _Loaded(sys.modules[name])) if name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in."""
        return _Marks(spec.name)

    def exec_module(self, _: ModuleType) -> None:
        """Nothing to run."""


class _Marks(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _MARKS and sys.modules.get(_COMPILER) is self:
            return _mark
        return getattr(_whole(), name)


class _Loaded(Loader):
    """A module that was loaded while it was looked for."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, _: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _whole() -> ModuleType:
    """The compiler, in place of its stand-in."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Compiler)]
    if isinstance(sys.modules.get(_COMPILER), _Marks):
        del sys.modules[_COMPILER]
    whole = import_module(_COMPILER)
    for name in _APART:  # what was there before its package is no attribute of it yet
        if name in sys.modules:
            setattr(whole, name.rpartition(".")[2], sys.modules[name])
    return whole


def _mark(function: Any = None, *_: Any, **__: Any) -> Any:
    """A decorator, with or without arguments."""
    return _mark if function is None else function
