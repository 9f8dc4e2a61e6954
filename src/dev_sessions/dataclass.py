"""`dataclass`, for a program that starts anew for every command.

The one of `dataclasses` writes and compiles seven methods for each frozen class: 0.4 ms apiece, and for the fifty
classes of a command more than all else that it loads. Here all classes share theirs. Who assigns to a field of a frozen
one is told by mypy, which takes this for the original, and not when it runs.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - others take it from here
else:

    def dataclass(cls=None, /, *, frozen=False, kw_only=False):
        """As the original; only these options."""

        def made(cls: type) -> type:
            cls = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
            fields = dataclasses.fields(cls)
            missing = dataclasses.MISSING
            cls._defaults = {each.name: each.default for each in fields if each.default is not missing}
            cls._factories = {each.name: each.default_factory for each in fields if each.default_factory is not missing}
            cls.__init__, cls.__repr__, cls.__eq__ = _init, _repr, _eq
            cls.__hash__ = _hash if frozen else None
            return cls

        return made if cls is None else made(cls)


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
