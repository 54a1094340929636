"""Names that a plug-in of an earlier release may use: they work, and a DeprecationWarning says what to write now."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

UNTIL = "0.3"
"""The release that takes the old names away."""


def warn(old: str, new: str, depth: int = 1) -> None:
    """Says that ``old`` is called ``new`` now, at the line of the caller ``depth`` calls above."""
    message = f"{old} is now {new}; write the new name, the old one works until kdengine {UNTIL}"
    warnings.warn(message, DeprecationWarning, stacklevel=depth + 2)


def old_names(module: str, renamed: Mapping[str, tuple[str, Callable[[], Any]]]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that knows old names.

    Args:
        module: its dotted name.
        renamed: old name -> (what to write now, function that gives the object).
    """

    def lookup(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, give = renamed[name]
        warn(f"{module}.{name}", new)
        return give()

    return lookup


def keep_module(old: str, names: dict[str, Any]) -> None:
    """Leaves a module that is gone importable; each name of it warns that it is found in `kdengine.methods`."""
    module = ModuleType(old, f"Old place of what kdengine.methods has: {', '.join(names)}.")
    renamed = {name: (f"kdengine.methods.{name}", partial(names.__getitem__, name)) for name in names}
    module.__dict__["__getattr__"] = old_names(old, renamed)
    sys.modules[old] = module


def take_old_hook(cls: type, old: str, new: str) -> None:
    """Lets a class that overrides a method under its old name override the new one with it."""
    if old not in cls.__dict__ or new in cls.__dict__:
        return
    warn(f"{cls.__module__}.{cls.__qualname__}.{old}", f"called {new}", depth=2)

    def renamed(self: Any, *given: Any) -> Any:
        return cls.__dict__[old](self, *given)

    renamed.old_hook = True  # type: ignore[attr-defined]
    setattr(cls, new, renamed)


def call_new_hook(self: Any, new: str, *given: Any) -> Any:
    """What a call under the old name reaches: the nearest override under the new name.

    Those that stand for an old name are passed over: it is they who call here, by ``super()``.
    """
    for cls in type(self).__mro__:
        found = cls.__dict__.get(new)
        if found is not None and not hasattr(found, "old_hook"):
            return found(self, *given)
    raise AttributeError(new)
