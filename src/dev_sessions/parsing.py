"""Reading what comes from outside as our own types, with pydantic. The reverse of `models.to_json`."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError


class Malformed(ValueError):
    """Not of the form that belongs there; the text names the field and what is wrong with it."""


def from_json(kind: Any, value: object) -> Any:
    """`value`, made of what JSON has, as a `kind`. Malformed."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise Malformed("; ".join(_complaint(problem) for problem in error.errors())) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _complaint(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
