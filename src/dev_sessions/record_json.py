"""The JSON form of what `models` holds: of sessions, which is their record in `sessions.json`, of goals and of results.

Names are camelCase, and what is None, or at its default, is absent. Fields of a record that this version does not know
are kept in `extra`, and written back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from dev_sessions.models import (
    ClaudeSession,
    CodexSession,
    Goal,
    JsonObject,
    Listed,
    Portable,
    Session,
    camel,
    parse_timestamp,
)


def to_json(value: object) -> Any:
    """A result in its JSON form."""
    if isinstance(value, Session):
        return session_to_json(value)
    if isinstance(value, Listed):
        return _listed(value)
    if isinstance(value, Goal):
        return goal_to_json(value)  # all of it, as the app-server gives it
    if isinstance(value, Portable) and is_dataclass(value):
        pairs = [(item, getattr(value, item.name)) for item in fields(value)]
        return {
            camel(item.name): to_json(content)
            for item, content in pairs
            if item.default is MISSING or content != item.default
        }
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def _listed(row: Listed) -> JsonObject:
    """The record, and beside the kept `status` the `state`."""
    record = session_to_json(row.session)
    if row.state is None:
        return record
    return {**record, "status": "inactive" if row.state.state == "lost" else "active", **to_json(row.state)}


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "bool | None": (bool, type(None)),
    "Cli": (str,),
    "Mode": (str,),
    "StoredStatus": (str,),
    "TurnStatus | None": (str, type(None)),
}


def json_name(name: str) -> str:
    """The name of a session's field in its record: `championId` for the id, else camelCase."""
    return "championId" if name == "id" else camel(name)


def goal_to_json(goal: Goal) -> JsonObject:
    """A goal as Codex's app-server gives it."""
    return {json_name(item.name): getattr(goal, item.name) for item in fields(goal)}


def goal_from_json(raw: Mapping[str, Any]) -> Goal:
    """The reverse of `goal_to_json`; unknown fields are left out. ValueError, naming the field that does not fit."""
    found: dict[str, Any] = {}
    for item in fields(Goal):
        value = raw.get(json_name(item.name), None if item.default is MISSING else item.default)
        if type(value) not in _TYPES[str(item.type)]:
            raise ValueError(f"{json_name(item.name)}: {type(value).__name__} is not what belongs there")
        found[item.name] = value
    return Goal(**found)


def _table(kind: type[Session]) -> dict[str, tuple[str, tuple[type, ...]]]:
    return {json_name(item.name): (item.name, _TYPES[str(item.type)]) for item in fields(kind) if item.name != "extra"}


_TABLES: dict[type[Session], dict[str, tuple[str, tuple[type, ...]]]] = {
    ClaudeSession: _table(ClaudeSession),
    CodexSession: _table(CodexSession),
}
_KINDS: dict[str, type[Session]] = {"claude": ClaudeSession, "codex": CodexSession}


def session_to_json(session: Session) -> JsonObject:
    """A session as its record."""
    record = {
        name: value
        for name, (attribute, _) in _TABLES[type(session)].items()
        if (value := getattr(session, attribute)) is not None
    }
    return {**session.extra, **record}


def session_arguments(record: Mapping[str, Any]) -> tuple[type[Session], dict[str, Any]]:
    """The class of a record and the arguments to build it from, types unchecked. ValueError: neither agent's."""
    cli = record.get("cli")
    kind = _KINDS.get(cli) if isinstance(cli, str) else None
    if kind is None:
        raise ValueError("cli: neither claude nor codex")
    table = _TABLES[kind]
    known = {table[name][0]: value for name, value in record.items() if name in table}
    extra = {name: value for name, value in record.items() if name not in table}
    return kind, {**known, "extra": extra}


def session_from_json(record: Mapping[str, Any]) -> Session:
    """A record as a session. ValueError, naming the field, when it is not of this form."""
    kind, arguments = session_arguments(record)
    for name, (attribute, types) in _TABLES[kind].items():
        if attribute in arguments and not isinstance(arguments[attribute], types):
            raise ValueError(f"{name}: {type(arguments[attribute]).__name__} is not what belongs there")
    try:
        session = kind(**arguments)
    except TypeError as error:
        raise ValueError(str(error)) from error
    parse_timestamp(session.last_used)
    return session
