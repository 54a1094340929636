"""Keeps torchvision from importing the compiler, ``torch._dynamo``: 0.8 s before a run's first step (AMD EPYC).

Its RoIAlign, a part of detectors, asks there whether a device can be compiled for. No classifier calls it, and who does
gets the compiler's result all the same, by importing it then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

ASKS, COMPILER = "torchvision.ops.roi_align", "torch._dynamo.utils"


def leave_out() -> None:
    """To be called before the first ``import torchvision``; without effect where the compiler is there already."""
    sys.meta_path.insert(0, _Finder)


class _Finder:
    """Finds one module, as Python does, and gives it another loader."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == ASKS else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Has the module find, while it is executed, a compiler that is imported when it is asked."""

    def exec_module(self, module: ModuleType) -> None:
        if COMPILER in sys.modules:
            super().exec_module(module)
            return
        later = _Later(COMPILER)
        sys.modules[COMPILER] = later
        try:
            super().exec_module(module)
        finally:
            if sys.modules.get(COMPILER) is later:
                del sys.modules[COMPILER]


class _Later(ModuleType):
    def is_compile_supported(self, device: Any) -> bool:
        return bool(import_module(COMPILER).is_compile_supported(device))

    def __getattr__(self, name: str) -> Any:
        # Another version of torchvision may want something else of it.
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules[COMPILER]
        return getattr(import_module(COMPILER), name)
