"""Dataclasses that are cheap to define, for a program that is started for every command.

`dataclasses.dataclass` generates and compiles seven methods for each frozen class: 0.4 ms per class, 18 to 22 ms for
the fifty classes of a command, which is more than all its other imports. The classes made here share their methods, and
load `dataclasses` only when its functions or pydantic are used on them (2 ms less). Assigning to a field of a frozen
one is an error of mypy, but not at run time. The functions of `dataclasses` accept them.

Remove this when a command no longer loads so many classes, as with the lazy imports of Python 3.15.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, overload

if TYPE_CHECKING:
    from dataclasses import field, replace
else:

    def field(*, default_factory):
        """Return a field whose default is the result of a call, as `dataclasses.field` does."""
        return _Factory(default_factory)

    def replace(value, /, **changes):
        """Return an object with new values for some of its fields, as `dataclasses.replace` does."""
        return type(value)(**{**{name: getattr(value, name) for name in field_types(type(value))}, **changes})


__all__ = ["defaults", "fast_dataclass", "field", "field_types", "replace"]

T = TypeVar("T")
#: One thread at a time completes a class.
_completing = threading.RLock()


class _Factory:
    """What `field` returns: the call that makes a field's default."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call


@overload
def fast_dataclass(cls: type[T], /) -> type[T]: ...
@overload
def fast_dataclass(*, frozen: bool = False, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(field,))
def fast_dataclass(cls: Any = None, /, *, frozen: bool = False, kw_only: bool = False) -> Any:
    """Turn a class into a dataclass, with the same options as `dataclasses.dataclass`.

    Its annotations have to be texts, as `from __future__ import annotations` makes them.
    """

    def decorate(cls: Any) -> Any:
        own = {name: kind for name, kind in cls.__annotations__.items() if not kind.startswith("ClassVar")}
        given = {name: vars(cls)[name] for name in own if name in vars(cls)}
        made = {name: value.call for name, value in given.items() if isinstance(value, _Factory)}
        for name in made:
            delattr(cls, name)
        base = cls.__base__
        cls._field_types = {**getattr(base, "_field_types", {}), **own}
        inherited = {name: value for name, value in getattr(base, "_defaults", {}).items() if name not in made}
        cls._defaults = {**inherited, **{name: value for name, value in given.items() if name not in made}}
        cls._factories = {**getattr(base, "_factories", {}), **made}
        positional = getattr(base, "__match_args__", ())
        own_positional = () if kw_only else (name for name in own if name not in positional)
        cls.__match_args__ = (*positional, *own_positional)  # type: ignore[misc] # mypy knows none of its own class
        cls.__dataclass_fields__ = _Completed(cls, made, kw_only=kw_only)
        cls.__init__, cls.__repr__, cls.__eq__ = _init, _repr, _eq
        cls.__hash__ = _hash if frozen else None
        return cls

    return decorate if cls is None else decorate(cls)


def field_types(kind: type) -> Mapping[str, str]:
    """Return the fields of such a class with the texts of their annotations: `{"path": "str | None"}`."""
    found: dict[str, str] = vars(kind)["_field_types"]
    return found


def defaults(kind: type) -> Mapping[str, object]:
    """Return the defaults of those fields of such a class that have one, but for those that are made by a call."""
    found: dict[str, object] = vars(kind)["_defaults"]
    return found


class _Completed:
    """The attribute `__dataclass_fields__` of a class, until it is asked for: then `dataclasses` makes it."""

    def __init__(self, cls: Any, factories: Mapping[str, Callable[[], object]], *, kw_only: bool) -> None:
        self._cls, self._factories, self._kw_only = cls, factories, kw_only

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        import dataclasses

        with _completing:
            if vars(self._cls)["__dataclass_fields__"] is self:
                for name, factory in self._factories.items():
                    setattr(self._cls, name, dataclasses.field(default_factory=factory))
                dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=self._kw_only)(self._cls)
        return vars(self._cls)["__dataclass_fields__"]


def _init(self: Any, /, *values: object, **named: object) -> None:
    given = {**self._defaults, **dict(zip(self.__match_args__, values, strict=False)), **named}
    for name, factory in self._factories.items():
        if name not in given:
            given[name] = factory()
    fields = self._field_types
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
