"""Validate JSON from outside with pydantic, and read it as results and records: the reverse of `to_json`."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dev_sessions.models import Listed, Session, SessionState, camel, known_reason
from dev_sessions.record_json import session_from_json
from dev_sessions.system.fast_dataclass import field_types

S = TypeVar("S", bound=SessionState)


class Malformed(ValueError):
    """Raised for JSON of the wrong form; the message names the field and what is wrong with it."""


def from_json(kind: Any, value: object) -> Any:
    """Read a JSON value as an object of the type `kind`. Raises Malformed."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise Malformed("; ".join(_message(details) for details in error.errors())) from error


def read_session(record: object) -> Session:
    """Read a session's record. Raises Malformed."""
    try:
        return session_from_json(from_json(dict[str, Any], record))
    except (TypeError, ValueError) as error:
        raise Malformed(f"session: {error}") from error


def read_rows(records: object) -> tuple[Listed, ...]:
    """Read the output of `list --json`, of this version or of 0.4, whose rows have no state. Raises Malformed."""
    return tuple(_read_row(record) for record in from_json(list[dict[str, Any]], records))


def read_state(kind: type[S], state: object) -> S:
    """Read a state. A reason that only a later version knows becomes `unknown`. Raises Malformed."""
    fields_of_state = from_json(dict[str, Any], state)
    if "reason" in fields_of_state:
        fields_of_state["reason"] = known_reason(fields_of_state["reason"])
    found: S = from_json(kind, fields_of_state)
    return found


def _read_row(row: dict[str, Any]) -> Listed:
    names = {camel(name) for name in field_types(SessionState)}
    state = {name: value for name, value in row.items() if name in names}
    session = read_session({name: value for name, value in row.items() if name not in names})
    return Listed(session, read_state(SessionState, state) if "state" in state else None)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _message(details: Any) -> str:
    location = ".".join(map(str, details["loc"]))
    return f"{location}: {details['msg']}" if location else str(details["msg"])
