"""One small typed registry, used for data sets, models and methods.

A built-in entry registers itself when its home package is imported, which happens on the first look-up; third parties
add theirs through an entry point whose module registers on import (`kdengine.plugins`).
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from kdengine import plugins

T = TypeVar("T")
# One for all: while one registry loads, what it imports may look into another.
_LOADING = threading.RLock()


class UnknownName(LookupError, ValueError):
    """A name that nobody registered; the message lists the nearest ones."""


class Registry(Generic[T]):
    """Named entries of one kind.

    Args:
        kind: what an entry is called in messages, in the singular ("method").
        home: package whose import registers the built-in entries.
        group: entry-point group through which other packages add entries.
    """

    def __init__(self, kind: str, home: str, group: str) -> None:
        self.kind = kind
        self._home = home
        self._group = group
        self._entries: dict[str, T] = {}
        self._families: dict[str, Callable[[str], T]] = {}
        self._failures: list[plugins.Failure] = []
        self._loading = self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an entry under ``name``; raises ValueError when the name is taken."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"the {self.kind} {name!r} is registered already, by {self._entries[name]!r}")
            self._entries[name] = entry
            return entry

        return add

    def register_family(self, prefix: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
        """Decorator for a function that makes the entry ``<prefix><rest>`` on demand, given ``rest``."""

        def add(make: Callable[[str], T]) -> Callable[[str], T]:
            if prefix in self._families:
                raise ValueError(f"the family {prefix!r} of {self.kind}s is registered already")
            self._families[prefix] = make
            return make

        return add

    def get(self, name: str) -> T:
        """The entry of that name; raises UnknownName with near matches."""
        self._load()
        if not isinstance(name, str):
            raise UnknownName(f"the name of a {self.kind} is a word, found {name!r}")
        if name in self._entries:
            return self._entries[name]
        for prefix, make in self._families.items():
            if name.startswith(prefix):
                return make(name.removeprefix(prefix))
        raise UnknownName(self._unknown(name))

    def names(self, pattern: str = "*") -> list[str]:
        """Names of all entries that match a shell pattern, in order of registration (families are not listed)."""
        self._load()
        return [name for name in self._entries if fnmatch.fnmatch(name, pattern)]

    def families(self) -> list[str]:
        """Prefixes under which entries are made on demand."""
        self._load()
        return list(self._families)

    def failures(self) -> list[plugins.Failure]:
        """The plug-ins that could not be loaded; none of what they registered is here."""
        self._load()
        return list(self._failures)

    def __contains__(self, name: str) -> bool:
        try:
            self.get(name)
        except UnknownName:
            return False
        return True

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(self._entries)}"
        off = [f"plug-ins are switched off by {plugins.VARIABLE}"] if plugins.switched_off() else []
        return "; ".join([f"there is no {self.kind} {name!r}", hint, *off, *map(str, self._failures)])

    def _load(self) -> None:
        if self._loaded:
            return
        with _LOADING:
            if self._loaded or self._loading:  # by another thread meanwhile; or by this one, and something looks in
                return
            self._loading = True
            try:
                importlib.import_module(self._home)
                self._failures = [found for found in self._load_plugins() if isinstance(found, plugins.Failure)]
                self._loaded = True
            finally:
                self._loading = False

    def _load_plugins(self) -> list[Any]:
        return [plugins.load(point, self._back_to_now()) for point in plugins.points(self._group)]

    def _back_to_now(self) -> Callable[[], None]:
        """Takes back what is registered from now on."""
        entries, families = dict(self._entries), dict(self._families)

        def undo() -> None:
            self._entries, self._families = entries, families

        return undo


DATASETS: Registry[Any] = Registry("data set", "kdengine.data", "kdengine.datasets")
MODELS: Registry[Any] = Registry("model", "kdengine.models", "kdengine.models")
METHODS: Registry[Any] = Registry("method", "kdengine.methods", "kdengine.methods")
