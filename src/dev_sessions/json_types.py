"""Reading what comes from outside as our own types, with pydantic. The reverse of `records.to_json`."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dev_sessions.models import Listed, Session, SessionState, camel
from dev_sessions.record_json import session_from_json


class Malformed(ValueError):
    """Not of the form that belongs there; the text names the field and what is wrong with it."""


def from_json(kind: Any, value: object) -> Any:
    """`value`, made of what JSON has, as a `kind`. Malformed."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise Malformed("; ".join(_complaint(problem) for problem in error.errors())) from error


def read_session(record: object) -> Session:
    """A record as a session. Malformed."""
    try:
        return session_from_json(from_json(dict[str, Any], record))
    except (TypeError, ValueError) as error:
        raise Malformed(f"session: {error}") from error


def read_rows(records: object) -> tuple[Listed, ...]:
    """Rows as `list --json` gives them, of this version or of 0.4, which does not tell what a session does."""
    return tuple(_read_row(record) for record in from_json(list[dict[str, Any]], records))


def _read_row(row: dict[str, Any]) -> Listed:
    names = {camel(item.name) for item in fields(SessionState)}
    state = {name: value for name, value in row.items() if name in names}
    session = read_session({name: value for name, value in row.items() if name not in names})
    return Listed(session, from_json(SessionState, state) if "state" in state else None)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _complaint(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
