"""The app-server's methods: parameters of requests, and parsers of their results. Pure.

The parsers take every shape that Codex 0.150 to 0.171 sends (recorded in tests/data/codex), and ignore unknown fields
and values. The texts of Codex's errors are matched here, in `failure` and in `goal_protocol`, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from dev_sessions.codex import failure
from dev_sessions.codex.jsonrpc import RpcError
from dev_sessions.errors import ProtocolError
from dev_sessions.models import DROPPED_MODELS, JsonObject, Reason
from dev_sessions.system.fast_dataclass import fast_dataclass, replace
from dev_sessions.system.json_object import parse_object
from dev_sessions.system.version import parse_version

StatusKind: TypeAlias = Literal["idle", "active", "systemError", "notLoaded", "unknown"]
TurnState: TypeAlias = Literal["inProgress", "completed", "failed", "interrupted"]
#: Whether turns are listed without their items, or with all of them.
ItemsView: TypeAlias = Literal["notLoaded", "full"]

#: Characters (code points) of one message, over all of its items (0.150 and 0.169).
MAX_INPUT = 1 << 20

#: The first version whose `thread/list` takes ids, and how many it takes.
FIRST_LISTING_BY_ID, MAX_LISTED = (0, 171, 0), 100

#: Flags of an active thread, and what `SessionState` calls them. An unknown `waitingOn…` flag keeps its name.
_WAITING = {"waitingOnUserInput": "input needed", "waitingOnApproval": "permission prompt"}
_KINDS: tuple[StatusKind, ...] = ("idle", "active", "systemError", "notLoaded")
#: Sessions never ask for approvals, and have full access. A resume has to repeat it: without, 0.150 uses a stricter
#: sandbox.
_POLICY: JsonObject = {"approvalPolicy": "never", "sandbox": "danger-full-access"}
#: Marks the threads that dev-sessions started.
_SOURCE = "dev-sessions"
#: Phases of a text after which the agent says more, and types of items that are not followed by more.
_UNFINISHED_PHASES = ("commentary", "partial_answer")
_FINAL_TYPES = ("contextCompaction", "enteredReviewMode", "exitedReviewMode")
_NO_TURN = "00000000-0000-0000-0000-000000000000"


@fast_dataclass(frozen=True)
class ThreadStatus:
    """The status of a thread. `waiting_for`: it is active, but waits for an answer (in the words of `SessionState`).

    `updated_at`: when its history was last written, in seconds since the epoch; None before that. `rollout`: the file
    of its history, which may not be written yet. `has_message`: somebody has sent a message, as far as it is known.
    `archived`: it cannot be loaded before it is unarchived.
    """

    kind: StatusKind
    waiting_for: str | None = None
    updated_at: float | None = None
    rollout: str | None = None
    has_message: bool = True
    archived: bool = False


@fast_dataclass(frozen=True)
class Item:
    """One item of a turn. Only messages have a text.

    `client_id` is the id that the sender gave to a message. `more_follows`: the agent is expected to say or do more
    after this item.
    """

    kind: Literal["user", "agent", "other"]
    text: str = ""
    client_id: str | None = None
    more_follows: bool = False


@fast_dataclass(frozen=True)
class Turn:
    """One turn, in progress as long as its end is not in the history. `items` is empty unless listed in full.

    `error` and `reason` say why it failed, in Codex's words and in one of ours.
    """

    id: str
    state: TurnState
    error: str | None = None
    items: tuple[Item, ...] = ()
    reason: Reason | None = None


@fast_dataclass(frozen=True)
class Page:
    """A page of turns, newest first, and the cursor of the page before it in time."""

    turns: tuple[Turn, ...]
    next_cursor: str | None


@fast_dataclass(frozen=True)
class Probe:
    """The result of a probe: whether the app-server has the thread loaded, and which turn runs in it."""

    loaded: bool
    turn_id: str | None = None


def initialize(version: str) -> JsonObject:
    """Return the parameters of `initialize`. Some of the methods used here need `experimentalApi`."""
    return {
        "clientInfo": {"name": "dev-sessions", "title": "dev-sessions", "version": version},
        "capabilities": {"experimentalApi": True},
    }


def thread_start(cwd: str, model: str | None, config: JsonObject | None = None) -> JsonObject:
    """Return the parameters of `thread/start`. `config` overrides the user's configuration: `thread_environment`."""
    model_field = {"model": model} if model and model not in DROPPED_MODELS else {}
    return {"cwd": cwd, **_POLICY, **model_field, "threadSource": _SOURCE, **_config(config)}


def thread_resume(thread_id: str, cwd: str, config: JsonObject | None = None) -> JsonObject:
    """Return the parameters of `thread/resume`, whose result then leaves out the history."""
    return {"threadId": thread_id, "cwd": cwd, **_POLICY, "excludeTurns": True, **_config(config)}


def thread_fork(
    thread_id: str, last_turn_id: str, session_id: str, cwd: str, model: str | None, config: JsonObject | None = None
) -> JsonObject:
    """Return the parameters of `thread/fork` for a session, up to the end of a turn.

    Without that, the fork has a running turn, as interrupted. A goal stays with the forked thread (0.150, 0.171).
    """
    start = {**thread_start(cwd, model, config), "threadSource": source_of_fork(session_id)}
    return {"threadId": thread_id, "lastTurnId": last_turn_id, "excludeTurns": True, **start}


def source_of_fork(session_id: str) -> str:
    """Return the source of a session's thread, if that is a fork."""
    return f"{_SOURCE}/{session_id}"


def _config(config: JsonObject | None) -> JsonObject:
    return {"config": config} if config else {}


def thread_environment(variables: Mapping[str, str]) -> JsonObject:
    """Return the configuration of a thread whose commands get these variables and none of the app-server's.

    Codex adds those that the user's configuration sets, and keeps all until it unloads the thread (0.150 to 0.171). A
    login shell would set PATH anew from the system's files, and in 0.150 the app-server's variables, too.
    """
    policy = {"inherit": "none", "set": dict(variables)}
    return {"shell_environment_policy": policy, "allow_login_shell": False}


def environment_policy(result: JsonObject) -> JsonObject:
    """Return the user's policy in the result of `config/read`::

    {"config": {"shell_environment_policy": {"inherit": null, "exclude": ["AWS_*"], "set": {"A": "b"}, …}, …}, …}
    """
    config = result.get("config")
    policy = config.get("shell_environment_policy") if isinstance(config, dict) else None
    return policy if isinstance(policy, dict) else {}


def loaded_threads(result: JsonObject) -> list[str]:
    """Return the ids in the result of `thread/loaded/list`: `{"data": ["01a2…"]}`."""
    data = result.get("data")
    return [thread for thread in data if isinstance(thread, str)] if isinstance(data, list) else []


def is_own_empty_thread(result: JsonObject) -> bool:
    """Return whether the result of `thread/read` is of an idle thread without messages that dev-sessions started."""
    thread = _thread(result)
    is_idle = thread_status(thread.get("status")).kind == "idle"
    return is_idle and thread.get("preview") == "" and thread.get("threadSource") == _SOURCE


def newest_thread_list() -> JsonObject:
    """Return the parameters of `thread/list` for the newest threads, by whatever provider."""
    return {"limit": MAX_LISTED, "modelProviders": [], "sortKey": "created_at"}


def turn_start(thread_id: str, text: str, client_id: str | None = None) -> JsonObject:
    """Return the parameters of `turn/start`. Codex stores the `client_id` with the message, also in a steered turn."""
    params: JsonObject = {"threadId": thread_id, "input": [{"type": "text", "text": text}]}
    return params if client_id is None else {**params, "clientUserMessageId": client_id}


def turn_interrupt(thread_id: str, turn_id: str) -> JsonObject:
    """Return the parameters of `turn/interrupt`, which is refused when another turn runs."""
    return {"threadId": thread_id, "turnId": turn_id}


def steer_probe(thread_id: str) -> JsonObject:
    """Return the parameters of a `turn/steer` that is always refused, with an error that names the running turn."""
    return {"threadId": thread_id, "expectedTurnId": _NO_TURN, "input": [{"type": "text", "text": "probe"}]}


def turns_list(thread_id: str, limit: int, view: ItemsView, cursor: str | None) -> JsonObject:
    """Return the parameters of `thread/turns/list`, whose result is newest first."""
    cursor_field = {"cursor": cursor} if cursor is not None else {}
    return {"threadId": thread_id, "limit": limit, "itemsView": view, **cursor_field}


def server_version(result: JsonObject) -> tuple[int, ...]:
    """Return the app-server's version from the response to `initialize`; () when it names none.

    It is in `"userAgent": "dev-sessions/0.169.0 (Debian 12.0.0; x86_64) …"`, behind the client's name.
    """
    return parse_version(str(result.get("userAgent", "")).partition("/")[2])


def thread_id(result: JsonObject) -> str:
    """Return the id in the result of `thread/start`: `{"thread": {"id": "01a2…", …}, …}`."""
    return _string(_thread(result), "id")


def read_status(result: JsonObject) -> ThreadStatus:
    """Return the status in the result of `thread/read`: `{"thread": {"status": {"type": "idle"}, …}}`."""
    return _status_of(_thread(result))


def thread_list(thread_ids: Sequence[str]) -> JsonObject:
    """Return the parameters of `thread/list` for at most MAX_LISTED threads, by whatever provider."""
    return {"includedThreadIds": list(thread_ids), "limit": len(thread_ids), "modelProviders": []}


def listed_statuses(result: JsonObject) -> dict[str, ThreadStatus]:
    """Return the statuses in the result of `thread/list`, by the threads' ids; those without a message are not in it.

    `{"data": [{"id": "01a2…", "status": {"type": "idle"}, "path": "/…", "updatedAt": 1795966707, …}], …}`
    """
    data = result.get("data")
    threads = [thread for thread in data if isinstance(thread, dict)] if isinstance(data, list) else []
    return {_string(thread, "id"): _status_of(thread) for thread in threads}


def _status_of(thread: JsonObject) -> ThreadStatus:
    updated, rollout = thread.get("updatedAt"), thread.get("path")
    has_message = thread.get("preview") != ""
    # A thread without a turn is reported as created and updated at the moment of the request (0.171).
    is_written = has_message or updated != thread.get("createdAt")
    return replace(
        thread_status(thread.get("status")),
        updated_at=updated if isinstance(updated, int | float) and is_written else None,
        rollout=rollout if isinstance(rollout, str) else None,
        has_message=has_message,
        # Nothing but the folder says so (0.150 to 0.171).
        archived=isinstance(rollout, str) and "archived_sessions" in rollout.split("/"),
    )


def thread_status(raw: object) -> ThreadStatus:
    """Parse a status: `{"type": "active", "activeFlags": […]}`, a bare `"active"`, or `{"active": {…}}`."""
    name: object = raw
    flags: object = None
    match raw:
        case {"type": name, **rest}:
            flags = rest.get("activeFlags")
        case {**single} if len(single) == 1:
            name, details = next(iter(single.items()))
            flags = details.get("activeFlags") if isinstance(details, dict) else None
    kind: StatusKind = next((known for known in _KINDS if known == name), "unknown")
    names = [str(flag) for flag in flags] if kind == "active" and isinstance(flags, list) else []
    return ThreadStatus(kind, next((_WAITING.get(name, name) for name in names if name.startswith("waitingOn")), None))


def started_turn(result: JsonObject) -> str:
    """Return the turn's id in the result of `turn/start`; the running turn's if the message steered that one.

    `{"turn": {"id": "01a2…", "items": [], "status": "inProgress", …}}`
    """
    return _string(_object(result.get("turn")), "id")


def turn(raw: object) -> Turn:
    """Parse a turn: `{"id": "01a2…", "status": "completed", "completedAt": 1795380016, "error": null, "items": […]}`.

    An unknown status of a later version counts as failed. A turn whose end was never written, because the app-server
    ended, is `interrupted` with `"completedAt": null`; a turn that was interrupted has a time there.
    """
    fields = _object(raw)
    state, error = fields.get("status"), error_text(fields.get("error"))
    reason = failure.reason_of(fields["error"]) if fields.get("error") is not None else None
    if state == "interrupted" and fields.get("completedAt", ...) is None:
        state = "inProgress"
    raw_items = fields.get("items")
    items = tuple(_item(part) for part in raw_items) if isinstance(raw_items, list) else ()
    match state:
        case "inProgress" | "completed" | "failed" | "interrupted":
            return Turn(_string(fields, "id"), state, error, items, reason)
    return Turn(_string(fields, "id"), "failed", error or f"the turn ended as {state!r}", items, reason)


def turns_page(result: JsonObject) -> Page:
    """Parse the result of `thread/turns/list`: `{"data": [{"id": "01a2…", …}], "nextCursor": null, …}`."""
    data, cursor = result.get("data"), result.get("nextCursor")
    if not isinstance(data, list):
        raise _invalid("a list of turns")
    return Page(tuple(turn(raw) for raw in data), cursor if isinstance(cursor, str) else None)


def error_text(raw: object) -> str | None:
    """Return the message of a turn's error in one line; None without one.

    The message may be the JSON body of the model's response, of which only the message is returned:
    `{"message": "{\\"error\\": {\\"message\\": \\"rate limited\\"}}", …}`
    """
    message = raw.get("message") if isinstance(raw, dict) else None
    if not isinstance(message, str) or not message.strip():
        return None
    match parse_object(message):
        case {"error": {"message": str(inner)}} if inner.strip():
            message = inner
    return " ".join(message.split())


def probe(error: RpcError) -> Probe | None:
    """Return what the error of a `steer_probe` says; None for any other error.

    The messages are "expected active turn id `0000…` but found `01a2…`" and "no active turn to steer".
    """
    if match := re.search(r"but found `([^`]+)`", error.message):
        return Probe(loaded=True, turn_id=match[1])
    if "no active turn" in error.message:
        return Probe(loaded=True)
    return Probe(loaded=False) if is_unknown_thread(error) else None


def is_unknown_thread(error: RpcError) -> bool:
    """Return whether a thread is not loaded, which a read or a resume reports only if it has no history either."""
    texts = ("thread not found", "thread not loaded", "no rollout found", "invalid thread id", "resolve rollout path")
    return any(text in error.message for text in texts)


def has_nothing_to_archive(error: RpcError) -> bool:
    """Return whether a thread is archived already, or never had a history."""
    return is_unknown_thread(error) or is_unmaterialised(error) or is_archived(error)


def is_archived(error: RpcError) -> bool:
    """Return whether a thread cannot be loaded because it is archived."""
    return "is archived" in error.message


def is_unmaterialised(error: RpcError) -> bool:
    """Return whether a thread has no history yet."""
    # The texts of 0.150, and of 0.152 and newer.
    return any(text in error.message for text in ("not materialized yet", "list_turns is not supported yet"))


def has_other_writer(error: RpcError) -> bool:
    """Return whether a thread is open in another process of Codex, such as a `codex resume` (0.150 to 0.171)."""
    return "already has an active writer" in error.message


def is_overloaded(error: RpcError) -> bool:
    """Return whether the server refused a request because it is overloaded (0.169, with 200 waiting connections)."""
    return "Server overloaded; retry later" in error.message


def _item(raw: object) -> Item:
    """Parse an item of a turn. 0.150 leaves out commands::

    {"type": "userMessage", "id": "01a2…", "clientId": "4d0f…", "content": [{"type": "text", "text": "say hi"}]}
    {"type": "agentMessage", "id": "msg_1", "text": "hi", "phase": null}
    {"type": "commandExecution", …}
    """
    match raw:
        case {"type": "agentMessage", "text": str(text), **rest}:
            return Item("agent", text, more_follows=rest.get("phase") in _UNFINISHED_PHASES)
        case {"type": "userMessage", "content": list(content), **rest}:
            client_id = rest.get("clientId")
            text = "".join(part["text"] for part in content if _is_text(part))
            return Item("user", text, client_id if isinstance(client_id, str) else None)
        case {"type": str(kind)}:
            return Item("other", more_follows=kind not in _FINAL_TYPES)
    return Item("other")


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _thread(result: JsonObject) -> JsonObject:
    return _object(result.get("thread"))


def _object(raw: object) -> JsonObject:
    if not isinstance(raw, dict):
        raise _invalid("a thread or a turn")
    return raw


def _string(raw: JsonObject, name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str):
        raise _invalid(f"a field {name}")
    return value


def _invalid(missing: str) -> ProtocolError:
    return ProtocolError(f"Codex's app-server sent a response without {missing}; try another version of Codex")
