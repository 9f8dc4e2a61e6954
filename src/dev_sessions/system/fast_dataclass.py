"""Dataclasses that are cheap to define, for a program that is started for every command.

`dataclasses.dataclass` generates and compiles seven methods for each frozen class: 0.4 ms per class, 18 to 22 ms for
the fifty classes of a command, which is more than all its other imports. The classes made here share their methods.
Assigning to a field of a frozen one is an error of mypy, but not at run time. The functions of `dataclasses` accept
them.

Remove this when a command no longer loads so many classes, as with the lazy imports of Python 3.15.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def fast_dataclass(cls: type[T], /) -> type[T]: ...
@overload
def fast_dataclass(*, frozen: bool = False, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(dataclasses.field,))
def fast_dataclass(cls: Any = None, /, *, frozen: bool = False, kw_only: bool = False) -> Any:
    """Turn a class into a dataclass, with the same options as `dataclasses.dataclass`."""

    def decorate(cls: Any) -> Any:
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        fields = dataclasses.fields(cls)
        missing = dataclasses.MISSING
        cls._defaults = {item.name: item.default for item in fields if item.default is not missing}
        cls._factories = {item.name: item.default_factory for item in fields if item.default_factory is not missing}
        cls.__init__, cls.__repr__, cls.__eq__ = _init, _repr, _eq
        cls.__hash__ = _hash if frozen else None
        return cls

    return decorate if cls is None else decorate(cls)


def _init(self: Any, /, *values: object, **named: object) -> None:
    given = {**self._defaults, **dict(zip(self.__match_args__, values, strict=False)), **named}
    for name, factory in self._factories.items():
        if name not in given:
            given[name] = factory()
    fields = self.__dataclass_fields__
    if given.keys() != fields.keys() or len(values) > len(self.__match_args__):
        raise TypeError(f"{type(self).__qualname__} has the fields {', '.join(fields)}; given: {', '.join(given)}")
    vars(self).update({name: given[name] for name in fields})


def _repr(self: object) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
    return f"{type(self).__qualname__}({fields})"


def _eq(self: object, other: object) -> Any:
    return vars(self) == vars(other) if type(other) is type(self) else NotImplemented


def _hash(self: object) -> int:
    return hash(tuple(vars(self).values()))
