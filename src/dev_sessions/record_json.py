"""The JSON forms of sessions, which are their records in `sessions.json`, of goals and of results.

Names are camelCase, and fields that are None or have their default are left out. Unknown fields of a record are kept in
`extra`, and written back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dev_sessions.errors import DevSessionsError
from dev_sessions.models import (
    SESSION_TYPES,
    Goal,
    JsonObject,
    Listed,
    Serializable,
    Session,
    camel,
    parse_timestamp,
)
from dev_sessions.system.fast_dataclass import defaults, field_types


def to_json(value: object) -> Any:
    """Return the JSON form of a result."""
    if isinstance(value, Session):
        return session_to_json(value)
    if isinstance(value, Listed):
        return _listed(value)
    if isinstance(value, Goal):
        return goal_to_json(value)  # with all fields, as from the app-server
    if isinstance(value, Serializable):
        default = defaults(type(value))
        return {
            camel(name): to_json(content)
            for name, content in vars(value).items()
            if name not in default or content != default[name]
        }
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def failure_to_json(error: BaseException) -> JsonObject:
    """Return why a turn did not end well, and the times of its usage limit; nothing for any other error."""
    if not isinstance(error, DevSessionsError):
        return {}
    pairs = (("reason", error.reason), ("resetsAt", error.resets_at), ("continuesAt", error.continues_at))
    return {name: value for name, value in pairs if value is not None}


def _listed(row: Listed) -> JsonObject:
    """Return the session's record with its state, and with the `status` of version 0.4."""
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
    "tuple[str, ...] | None": (tuple, type(None)),
}


def json_name(name: str) -> str:
    """Return the name of a field in a record: `championId` for the id, else camelCase."""
    return "championId" if name == "id" else camel(name)


def goal_to_json(goal: Goal) -> JsonObject:
    """Return a goal in the form of Codex's app-server: `{"threadId": "01a2…", "objective": "work", …}`."""
    return {camel(name): value for name, value in vars(goal).items()}


def goal_from_json(raw: Mapping[str, Any]) -> Goal:
    """Return a goal from its JSON form; unknown fields are ignored. Raises ValueError, which names the field."""
    arguments: dict[str, Any] = {}
    for name, kind in field_types(Goal).items():
        value = raw.get(json_name(name), defaults(Goal).get(name))
        if type(value) not in _TYPES[kind]:
            raise _wrong_type(json_name(name), value)
        arguments[name] = value
    return Goal(**arguments)


def _wrong_type(name: str, value: object) -> ValueError:
    return ValueError(f"{name}: unexpected type {type(value).__name__}")


def _schema(kind: type[Session]) -> dict[str, tuple[str, tuple[type, ...]]]:
    """Return the attribute and the types of each JSON name."""
    return {json_name(name): (name, _TYPES[types]) for name, types in field_types(kind).items() if name != "extra"}


_KINDS: dict[str, type[Session]] = {str(cli): kind for cli, kind in SESSION_TYPES.items()}
_SCHEMAS = {kind: _schema(kind) for kind in _KINDS.values()}


def session_to_json(session: Session) -> JsonObject:
    """Return the record of a session."""
    record = {
        name: list(value) if isinstance(value, tuple) else value
        for name, (attribute, _) in _SCHEMAS[type(session)].items()
        if (value := getattr(session, attribute)) is not None
    }
    return {**session.extra, **record}


def session_arguments(record: Mapping[str, Any]) -> tuple[type[Session], dict[str, Any]]:
    """Return the class for a record and its arguments, with types unchecked. Raises ValueError for an unknown agent."""
    cli = record.get("cli")
    kind = _KINDS.get(cli) if isinstance(cli, str) else None
    if kind is None:
        raise ValueError("cli: neither claude nor codex")
    schema = _SCHEMAS[kind]
    known = {
        schema[name][0]: tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
        if name in schema
    }
    extra = {name: value for name, value in record.items() if name not in schema}
    return kind, {**known, "extra": extra}


def session_from_json(record: Mapping[str, Any]) -> Session:
    """Return the session of a record. Raises ValueError, which names the field, for an invalid record."""
    kind, arguments = session_arguments(record)
    for name, (attribute, types) in _SCHEMAS[kind].items():
        if attribute in arguments and not isinstance(arguments[attribute], types):
            raise _wrong_type(name, arguments[attribute])
    try:
        session = kind(**arguments)
    except TypeError as error:
        raise ValueError(str(error)) from error
    require_valid(session)
    return session


#: Fields that hold times, and fields that are passed to the system, as paths or as arguments.
_TIMES = ("created_at", "last_used", "claude_send_time", "codex_last_completed_at")
_WORDS = (
    *("internal_id", "path", "host", "remote_bin", "claimed_by", "worktree", "worktree_branch", "worktree_base"),
    *("tmux_socket", "tmux_pane", "claude_config_dir", "claude_proc_start", "claude_send_transcript"),
)
_PIDS = ("claude_pid", "app_server_pid")


def require_valid(session: Session) -> None:
    """Raise ValueError, which names the field, for a value that no session can have although it has the right type."""
    if not session.id.isprintable() or not session.id or "/" in session.id:
        raise ValueError("championId: not a valid id")
    values = vars(session)
    for name in _TIMES:
        if (time := values.get(name)) is not None:
            try:
                parse_timestamp(time)
            except ValueError as error:
                raise ValueError(f"{json_name(name)}: {error}") from error
    for name in _WORDS:
        word = values.get(name)
        if word and ("\0" in word or not (word.isascii() or _is_encodable(word))):
            raise ValueError(f"{json_name(name)}: not valid text")
    args: tuple[object, ...] = session.agent_args or ()
    if not all(isinstance(word, str) and "\0" not in word and _is_encodable(word) for word in args):
        raise ValueError("agentArgs: not valid texts")
    for name in _PIDS:
        pid = values.get(name)
        if pid is not None and not 0 < pid < 2**31:
            raise ValueError(f"{json_name(name)}: not a valid pid")


def _is_encodable(word: str) -> bool:
    try:
        os.fsencode(word)  # a path need not be UTF-8
    except UnicodeEncodeError:
        return False
    return True
