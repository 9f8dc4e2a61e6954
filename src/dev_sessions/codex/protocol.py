"""The app-server's requests and answers, as far as they are used here. Pure.

Parameters go out; every shape of status, turn and item comes in, from Codex 0.150 to 0.171 (recorded examples lie in
the tests' data). Unknown fields and values are tolerated. The texts of errors are matched here and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from dev_sessions.codex.jsonrpc import RpcError
from dev_sessions.errors import ProtocolError
from dev_sessions.models import DROPPED_MODELS, JsonObject
from dev_sessions.system.fast_dataclass import fast_dataclass

StatusKind: TypeAlias = Literal["idle", "active", "systemError", "notLoaded", "unknown"]
TurnState: TypeAlias = Literal["inProgress", "completed", "failed", "interrupted"]
#: How much of a turn's items is wanted.
ItemsView: TypeAlias = Literal["notLoaded", "full"]

#: Characters (code points) of one message, over all of its items. Measured on 0.150 and 0.169.
MAX_INPUT = 1 << 20

#: Flags of an active thread; another that begins with waitingOn stands for itself.
_WAITING = {"waitingOnUserInput": "input needed", "waitingOnApproval": "permission prompt"}
_KINDS: tuple[StatusKind, ...] = ("idle", "active", "systemError", "notLoaded")
#: No session of ours ever asks for approvals or is confined. A thread that is loaded again needs to be told so again:
#: left out, 0.150 falls back to a stricter sandbox.
_POLICY: JsonObject = {"approvalPolicy": "never", "sandbox": "danger-full-access"}
#: By which threads of ours can be told from those that somebody else made.
_SOURCE = "dev-sessions"
#: The phases of a text that is not the last of an answer, and the items that are no work towards one.
_UNFINISHED = ("commentary", "partial_answer")
_NO_WORK = ("contextCompaction", "enteredReviewMode", "exitedReviewMode")
_NO_TURN = "00000000-0000-0000-0000-000000000000"


@fast_dataclass(frozen=True)
class ThreadStatus:
    """What a thread does. `waiting_for`: it is active, but waits for an answer (in the words of `SessionState`).

    `updated_at`: when something was last written to its history, in seconds since the epoch. `rollout`: the file that
    holds it, once something does.
    """

    kind: StatusKind
    waiting_for: str | None = None
    updated_at: float | None = None
    rollout: str | None = None


@fast_dataclass(frozen=True)
class Item:
    """One part of a turn. Only what was said has a text.

    `client_id` is the id that a message's sender gave it. `goes_on`: the agent has more to say or do after this part,
    as far as it can be told.
    """

    kind: Literal["user", "agent", "other"]
    text: str = ""
    client_id: str | None = None
    goes_on: bool = False


@fast_dataclass(frozen=True)
class Turn:
    """One turn: in progress as long as no end was written of it. `items` are there only when they were asked for."""

    id: str
    state: TurnState
    error: str | None = None
    items: tuple[Item, ...] = ()


@fast_dataclass(frozen=True)
class Page:
    """Some turns, newest first, and the cursor of those before them."""

    turns: tuple[Turn, ...]
    next_cursor: str | None


@fast_dataclass(frozen=True)
class Probe:
    """Whether the app-server has a thread loaded, and which turn runs in it."""

    loaded: bool
    turn_id: str | None = None


def initialize(version: str) -> JsonObject:
    """Parameters of `initialize`. Without `experimentalApi` some of the methods that are used here are refused."""
    return {
        "clientInfo": {"name": "dev-sessions", "title": "dev-sessions", "version": version},
        "capabilities": {"experimentalApi": True},
    }


def thread_start(cwd: str, model: str | None, variables: Mapping[str, str] | None = None) -> JsonObject:
    """Parameters of `thread/start`. `variables` go to the thread's commands."""
    chosen = {"model": model} if model and model not in DROPPED_MODELS else {}
    return {"cwd": cwd, **_POLICY, **chosen, "threadSource": _SOURCE, **_environment(variables)}


def thread_resume(thread_id: str, cwd: str, variables: Mapping[str, str] | None = None) -> JsonObject:
    """Parameters of `thread/resume`, without the history."""
    return {"threadId": thread_id, "cwd": cwd, **_POLICY, "excludeTurns": True, **_environment(variables)}


def _environment(variables: Mapping[str, str] | None) -> JsonObject:
    """Codex merges them with those of the user's configuration, and forgets them with the thread (0.150 to 0.171)."""
    return {"config": {"shell_environment_policy.set": dict(variables)}} if variables else {}


def loaded_threads(result: JsonObject) -> list[str]:
    """The answer to `thread/loaded/list`: the threads that the app-server has in memory."""
    data = result.get("data")
    return [thread for thread in data if isinstance(thread, str)] if isinstance(data, list) else []


def is_ours_and_empty(result: JsonObject) -> bool:
    """Whether the answer to `thread/read` is of an idle thread that we made, in which nothing was said."""
    thread = _thread(result)
    rests = thread_status(thread.get("status")).kind == "idle"
    return rests and thread.get("preview") == "" and thread.get("threadSource") == _SOURCE


def turn_start(thread_id: str, text: str, client_id: str | None = None) -> JsonObject:
    """Parameters of `turn/start`. Codex keeps the `client_id` with the message, also where it steers a turn."""
    params: JsonObject = {"threadId": thread_id, "input": [{"type": "text", "text": text}]}
    return params if client_id is None else {**params, "clientUserMessageId": client_id}


def turn_interrupt(thread_id: str, turn_id: str) -> JsonObject:
    """Parameters of `turn/interrupt`, which is refused when another turn runs."""
    return {"threadId": thread_id, "turnId": turn_id}


def steer_probe(thread_id: str) -> JsonObject:
    """Parameters of a `turn/steer` that can only be refused, by naming the turn that runs. Nothing of it is kept."""
    return {"threadId": thread_id, "expectedTurnId": _NO_TURN, "input": [{"type": "text", "text": "probe"}]}


def turns_list(thread_id: str, limit: int, view: ItemsView, cursor: str | None) -> JsonObject:
    """Parameters of `thread/turns/list`, which is newest first."""
    onward = {"cursor": cursor} if cursor is not None else {}
    return {"threadId": thread_id, "limit": limit, "itemsView": view, **onward}


def server_version(result: JsonObject) -> tuple[int, int, int] | None:
    """The app-server's version from the answer to `initialize` (`userAgent`: `<client>/<version> …`)."""
    return version_in(str(result.get("userAgent", "")).partition("/")[2])


def version_in(text: str) -> tuple[int, int, int] | None:
    """The first version number in a text."""
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def thread_id(result: JsonObject) -> str:
    """The id in the answer to `thread/start`."""
    return _string(_thread(result), "id")


def read_status(result: JsonObject) -> ThreadStatus:
    """The status in the answer to `thread/read`."""
    thread = _thread(result)
    updated, rollout = thread.get("updatedAt"), thread.get("path")
    return replace(
        thread_status(thread.get("status")),
        updated_at=updated if isinstance(updated, int | float) else None,
        rollout=rollout if isinstance(rollout, str) else None,
    )


def thread_status(raw: object) -> ThreadStatus:
    """Any shape of a status: `{"type": "active", "activeFlags": […]}`, a bare `"active"`, or `{"active": {…}}`."""
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
    """The turn's id in the answer to `turn/start`: of the running one where the message went into that."""
    return _string(_object(result.get("turn")), "id")


def turn(raw: object) -> Turn:
    """One turn. A state of a later version, whatever it means, is not a success.

    Of a turn that no end was written of, Codex says `interrupted` with `"completedAt": null` when nothing runs it; one
    that was interrupted has a time there.
    """
    fields = _object(raw)
    state, error = fields.get("status"), error_text(fields.get("error"))
    if state == "interrupted" and fields.get("completedAt", ...) is None:
        state = "inProgress"
    items = fields.get("items")
    found = tuple(_item(part) for part in items) if isinstance(items, list) else ()
    match state:
        case "inProgress" | "completed" | "failed" | "interrupted":
            return Turn(_string(fields, "id"), state, error, found)
    return Turn(_string(fields, "id"), "failed", error or f"the turn ended as {state!r}", found)


def turns_page(result: JsonObject) -> Page:
    """The answer to `thread/turns/list`."""
    data, cursor = result.get("data"), result.get("nextCursor")
    if not isinstance(data, list):
        raise _unusable("a list of turns")
    return Page(tuple(turn(raw) for raw in data), cursor if isinstance(cursor, str) else None)


def error_text(raw: object) -> str | None:
    """The one-line message of a turn's error. A model's raw JSON body is reduced to the message in it."""
    message = raw.get("message") if isinstance(raw, dict) else None
    if not isinstance(message, str) or not message.strip():
        return None
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):
        body = None
    match body:
        case {"error": {"message": str(inner)}} if inner.strip():
            message = inner
    return " ".join(message.split())


def probe(error: RpcError) -> Probe | None:
    """What the refusal of a `steer_probe` says; None when it says something else."""
    if match := re.search(r"but found `([^`]+)`", error.message):
        return Probe(loaded=True, turn_id=match[1])
    if "no active turn" in error.message:
        return Probe(loaded=True)
    return Probe(loaded=False) if is_unknown_thread(error) else None


def is_unknown_thread(error: RpcError) -> bool:
    """Whether a thread is not loaded and, for a read or a resume, has left no history either."""
    texts = ("thread not found", "thread not loaded", "no rollout found", "invalid thread id", "resolve rollout path")
    return any(text in error.message for text in texts)


def has_nothing_to_archive(error: RpcError) -> bool:
    """Whether a thread is archived already, or never had a history."""
    return is_unknown_thread(error) or is_unmaterialised(error) or "is archived" in error.message


def is_unmaterialised(error: RpcError) -> bool:
    """Whether a thread has no turns to list yet. 0.150, then 0.152 and newer."""
    return any(text in error.message for text in ("not materialized yet", "list_turns is not supported yet"))


def is_overloaded(error: RpcError) -> bool:
    """Whether the server has more to do than it takes, and did nothing (0.169, with 200 connections that wait)."""
    return "Server overloaded; retry later" in error.message


def _item(raw: object) -> Item:
    """`{"type": "userMessage", "id": "01a2…", "clientId": "4d0f…", "content": [{"type": "text", "text": "say hi"}]}`,
    `{"type": "agentMessage", "id": "msg_1", "text": "hi", "phase": null}`, `{"type": "commandExecution", …}`.

    0.150 leaves commands out.
    """
    match raw:
        case {"type": "agentMessage", "text": str(text), **rest}:
            return Item("agent", text, goes_on=rest.get("phase") in _UNFINISHED)
        case {"type": "userMessage", "content": list(content), **rest}:
            client_id = rest.get("clientId")
            text = "".join(part["text"] for part in content if _is_text(part))
            return Item("user", text, client_id if isinstance(client_id, str) else None)
        case {"type": str(kind)}:
            return Item("other", goes_on=kind not in _NO_WORK)
    return Item("other")


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _thread(result: JsonObject) -> JsonObject:
    return _object(result.get("thread"))


def _object(raw: object) -> JsonObject:
    if not isinstance(raw, dict):
        raise _unusable("a thread or a turn")
    return raw


def _string(raw: JsonObject, name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str):
        raise _unusable(f"a field {name}")
    return value


def _unusable(missing: str) -> ProtocolError:
    return ProtocolError(f"Codex's app-server gave an answer without {missing}; try another version of Codex")
