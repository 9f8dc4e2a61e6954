"""A module that a library imports and does not use, loaded only when something of it is asked for.

`importlib.util.LazyLoader` is no help: with it, the next `import` of the module loads it (3.11).
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def unloaded(name: str) -> Iterator[None]:
    """While this lasts, importing that module loads nothing, unless it is loaded already."""
    stand_in = _Unloaded(name)
    sys.modules.setdefault(name, stand_in)
    try:
        yield
    finally:
        stand_in.leave()


class _Unloaded(ModuleType):
    """Stands for a module of its name, also for whoever has got hold of it."""

    def leave(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def __getattr__(self, name: str) -> Any:
        self.leave()
        return getattr(importlib.import_module(self.__name__), name)
