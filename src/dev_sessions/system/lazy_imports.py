"""Defer the import of a module that a library imports but rarely uses.

This saves every command that connects to Codex 14 ms (the import of `importlib.metadata` by websockets). Remove it when
Python 3.15, which can import lazily, is the oldest supported version.

`importlib.util.LazyLoader` does not help: with it, the next `import` statement loads the module (Python 3.11).
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
    """Inside, make imports of a module yield a placeholder, which loads the module when an attribute is read.

    A module that is loaded already stays as it is.
    """
    placeholder = _Placeholder(name)
    sys.modules.setdefault(name, placeholder)
    try:
        yield
    finally:
        placeholder.remove()


class _Placeholder(ModuleType):
    """A module that forwards attribute access to the real module of its name."""

    def remove(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def __getattr__(self, name: str) -> Any:
        self.remove()
        return getattr(importlib.import_module(self.__name__), name)
