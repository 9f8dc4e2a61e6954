"""Encode operations as HTTP requests and their results as responses, and decode both. Pure.

A request holds an operation's fields in camelCase, in the query of a GET or in the JSON body of a POST. The routes of
version 0.4 keep its requests and responses; all others are a POST whose response has the result in `result`. `warnings`
are lines for the user:

    POST /send {"sessionId": "fizz-top", "message": "run the tests"}
    {"ok": true, "receipt": {"state": "submitted"}}
    {"ok": false, "error": "Session not found: fizz-top", "output": {"stderr": "Session not found: …", "exitCode": 1}}

The error of a turn also has its `reason`, `resetsAt` and `continuesAt`, if they are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args

from dev_sessions.agent_options import require_allowed
from dev_sessions.errors import WAITING_FOR_INPUT_EXIT_CODE, InvalidRequest, Relayed, WaitTimedOut
from dev_sessions.json_validation import Malformed, from_json, read_rows, read_session, read_state
from dev_sessions.models import (
    Goal,
    JsonObject,
    KillReport,
    Listing,
    LogTurn,
    Session,
    StatusResult,
    WaitResult,
    camel,
    known_reason,
    paragraph,
)
from dev_sessions.operations import (
    Ask,
    ClearGoal,
    Create,
    Fork,
    GetGoal,
    Inspect,
    Interrupt,
    Kill,
    KillMany,
    LastMessage,
    List,
    Logs,
    Operation,
    Recover,
    Respond,
    Send,
    SetGoal,
    Status,
    Wait,
    needs_full_version,
    timeout_message,
)
from dev_sessions.record_json import failure_to_json, to_json
from dev_sessions.system.deadline import duration, seconds_text
from dev_sessions.system.fast_dataclass import fast_dataclass, field_types

R = TypeVar("R")
Method = Literal["GET", "POST"]


class NoSuchRoute(Malformed):
    """Raised when a request's method and path are not a route of this gateway."""


@fast_dataclass(frozen=True)
class Route:
    """The route of a kind of operation; `names` maps fields to their names in requests if these differ.

    `result` is the name of the result in the response, if `_LEGACY_RESULTS` has no other form of it. `is_legacy`:
    version 0.4 has it. `is_streamed`: status 200 is sent at once, then newlines to keep the connection, then the body.
    `discriminator`: a true field that distinguishes the operation from another one on the same path.
    """

    method: Method
    path: str
    kind: type[Operation[Any]]
    names: Mapping[str, str]
    result: str
    is_legacy: bool
    is_streamed: bool
    discriminator: str | None = None


def _legacy(
    method: Method,
    path: str,
    kind: type[Operation[Any]],
    result: str = "",
    *,
    discriminator: str | None = None,
    **names: str,
) -> Route:
    return Route(
        method, path, kind, names, result, is_legacy=True, is_streamed=kind is Wait, discriminator=discriminator
    )


def _new(path: str, kind: type[Operation[Any]]) -> Route:
    return Route("POST", path, kind, {}, "result", is_legacy=False, is_streamed=True)


_DELIVER = _new("/deliver", Send)
ROUTES = (
    _legacy("POST", "/create", Create),
    _legacy("POST", "/send", Send, "receipt"),
    _legacy("POST", "/kill", Kill),
    _legacy("GET", "/list", List, everything="all"),
    _legacy("GET", "/status", Status, sessionId="id"),
    _legacy("GET", "/wait", Wait, sessionId="id"),
    _legacy("GET", "/last-message", LastMessage, "blocks", sessionId="id", count="n"),
    _legacy("GET", "/logs", Logs, sessionId="id"),
    _legacy("GET", "/inspect", Inspect, "session", sessionId="id"),
    _legacy("GET", "/goal", GetGoal, "goal", sessionId="id"),
    _legacy("POST", "/goal", SetGoal, "goal"),
    _legacy("POST", "/goal", ClearGoal, "cleared", discriminator="clear"),
    _DELIVER,
    _new("/ask", Ask),
    _new("/fork", Fork),
    _new("/kill-many", KillMany),
    _new("/recover", Recover),
    _new("/respond", Respond),
    _new("/interrupt", Interrupt),
)
#: Fields that may hold any characters: they are given in files, too.
_TEXTS = ("message", "objective")
_BY_KIND = {route.kind: route for route in ROUTES if route is not _DELIVER}


def route_of(operation: Operation[Any]) -> Route:
    """Return the route of an operation."""
    if isinstance(operation, Send) and needs_full_version(operation):
        # Version 0.4 lacks this route, so it refuses the send instead of ignoring the new fields.
        return _DELIVER
    return _BY_KIND[type(operation)]


def find_route(method: str, path: str, given: Mapping[str, Any]) -> Route:
    """Return the route of a request. Raises NoSuchRoute."""
    found = [route for route in ROUTES if (route.method, route.path) == (method, path)]
    if not found:
        raise NoSuchRoute(f"This gateway has no route {method} {path}")
    return next((route for route in found if route.discriminator and given.get(route.discriminator)), found[0])


def encode_arguments(route: Route, operation: Operation[Any]) -> JsonObject:
    """Return an operation as the arguments of its route: strings for a query, or a JSON body."""
    named = {route.names.get(name, name): value for name, value in to_json(operation).items()}
    if route.discriminator is not None:
        named[route.discriminator] = True
    if route.method == "POST":
        return named
    return {name: _query_text(value) for name, value in named.items()}


def _query_text(value: object) -> str:
    if isinstance(value, float):
        return seconds_text(value)
    return "1" if value is True else str(value)


def decode_operation(route: Route, given: Mapping[str, Any]) -> Operation[Any]:
    """Return the operation of a request. Raises Malformed, which names the field."""
    local = {route.names.get(name, name): name for name in map(camel, field_types(route.kind))}
    unknown = given.keys() - local.keys()
    if unknown and not route.is_legacy:
        raise Malformed(f"{min(unknown)}: unknown field of {route.path}")
    try:
        operation = from_json(route.kind, {local[name]: value for name, value in given.items() if name in local})
    except Malformed as error:
        name, colon, complaint = str(error).partition(":")
        raise Malformed(f"{route.names.get(name, name)}{colon}{complaint}") from error
    assert isinstance(operation, Operation)
    _validate(operation)
    return operation


def _validate(operation: Operation[Any]) -> None:
    """Raise Malformed for what the command line's parser refuses, and for what no command line can hold."""
    for field, value in vars(operation).items():
        words = value if isinstance(value, tuple) else [value]
        for word in words:
            if isinstance(word, str):
                _require_text(camel(field), word, is_text=field in _TEXTS)
    for name in ("timeout", "interval"):
        value = getattr(operation, name, None)
        if value is not None and not 0 < value < float("inf"):
            raise Malformed(f"{name}: {value:g} is not a positive number of seconds")
    match operation:
        case Create(path=None, host=None):
            raise Malformed("path: Field required")
        case Create(cli=cli, args=args):
            try:
                require_allowed(cli, args)
            except InvalidRequest as error:
                raise Malformed(f"args: {error}") from error
        case LastMessage(count=count) if count < 1:
            raise Malformed(f"n: {count} is less than 1")
        case Respond(answers=answers, allow=allow, cancel=cancel) if bool(answers) + (allow is not None) + cancel != 1:
            raise Malformed("answers: give either answers, allow or cancel")
        case Wait(goal=True, next_turn=True):
            raise Malformed("nextTurn: wait for the goal or for the next turn, not for both")
        case SetGoal(objective=None, status=None, token_budget=None):
            raise Malformed("objective: Field required, or status, tokenBudget or clear")
        case KillMany(older_than=str(text)):
            try:
                duration(text)
            except ValueError as error:
                raise Malformed(f"olderThan: {error}") from error


def _require_text(name: str, word: str, *, is_text: bool) -> None:
    try:
        word.encode(errors="strict" if is_text else "surrogateescape")  # a path need not be UTF-8
    except UnicodeEncodeError as error:
        raise Malformed(f"{name}: holds half a surrogate pair") from error
    if not is_text and "\0" in word:
        raise Malformed(f"{name}: holds a NUL")


def encode_result(route: Route, operation: Operation[Any], result: Any) -> JsonObject:
    """Return the body for a result."""
    legacy = _legacy_result(route)
    return {"ok": True, **(legacy.write(operation, result) if legacy else {route.result: to_json(result)})}


def encode_error(operation: Operation[Any] | None, error: BaseException) -> JsonObject:
    """Return the body for an error. A wait's timeout is a success with `timedOut`, as in version 0.4."""
    text = str(error)
    if isinstance(operation, Wait) and isinstance(error, WaitTimedOut):
        waited = {"completed": False, "timedOut": True, "elapsedMs": round(operation.timeout * 1000)}
        return {"ok": True, "waitResult": waited, "error": text}
    output = {"stderr": text, "exitCode": getattr(error, "exit_code", 1)}
    return {"ok": False, "error": text, **failure_to_json(error), "output": output}


def decode_result(route: Route, operation: Operation[R], body: JsonObject) -> R:
    """Return the result in a body. Raises Relayed or WaitTimedOut for an error, Malformed for anything else."""
    output = body.get("output")
    output = output if isinstance(output, dict) else {}
    code = output.get("exitCode")
    legacy = _legacy_result(route)
    if body.get("ok") is not True and not (isinstance(operation, Wait) and code == WAITING_FOR_INPUT_EXIT_CODE):
        text = output.get("stderr") or body.get("error") or "The gateway gave no reason for the failure"
        resets_at, continues_at = body.get("resetsAt"), body.get("continuesAt")
        raise Relayed(
            str(text).strip(),
            code if isinstance(code, int) and code else 1,
            known_reason(body.get("reason")),
            resets_at if isinstance(resets_at, str) else None,
            continues_at if isinstance(continues_at, str) else None,
        )
    value: R = (
        legacy.read(operation, body) if legacy else _read_result(_result_type(route.kind), body.get(route.result))
    )
    return value


def _read_result(kind: Any, value: object) -> Any:
    return read_session(value) if kind is Session else from_json(kind, value)


def _legacy_result(route: Route) -> _LegacyResult | None:
    return _LEGACY_RESULTS.get(route.kind) if route.is_legacy else None


def _result_type(kind: type[Operation[Any]]) -> Any:
    """Return the R of a class that is an Operation[R]."""
    return get_args(kind.__orig_bases__[0])[0]  # type: ignore[attr-defined] # which every child of a generic has


@fast_dataclass(frozen=True)
class _LegacyResult:
    """Version 0.4's form of a result: `write` returns the fields of the body, `read` the result."""

    write: Callable[[Any, Any], JsonObject]
    read: Callable[[Any, JsonObject], Any]


def _write_wait(operation: Wait, waited: WaitResult) -> JsonObject:
    completed = waited.outcome == "completed"
    error: JsonObject = {}
    if not completed:
        text = f"{operation.session_id} is {waited.outcome}"
        error = encode_error(operation, Relayed(text, WAITING_FOR_INPUT_EXIT_CODE))
    goal = {"goal": to_json(waited.goal)} if operation.goal else {}
    return {**error, "waitResult": {"completed": completed, "timedOut": False, "elapsedMs": waited.elapsed_ms}, **goal}


def _read_wait(operation: Wait, body: JsonObject) -> WaitResult:
    waited = from_json(dict[str, Any], body.get("waitResult", {}))
    elapsed = from_json(int, waited.get("elapsedMs", 0))
    if body["ok"] is not True:
        return WaitResult("waiting_for_input", elapsed)
    if waited.get("timedOut") is True:
        raise WaitTimedOut(str(body.get("error") or timeout_message(operation)))
    if waited.get("completed") is not True:
        raise Malformed("waitResult: neither completed nor timedOut")
    return WaitResult("completed", elapsed, from_json(Goal | None, body.get("goal")))


def _write_turns(turns: list[LogTurn]) -> JsonObject:
    return {"logs": "\n\n".join(map(paragraph, turns)), "turns": to_json(turns)}


def _read_turns(body: JsonObject) -> list[LogTurn]:
    """Return the turns; version 0.4 sends only text, where a line `[HUMAN]` of a message is taken for a label."""
    if "turns" in body:
        turns: list[LogTurn] = from_json(list[LogTurn], body["turns"])
        return turns
    parts = re.split(r"(?:\A|\n\n)\[(HUMAN|ASSISTANT)\]\n", from_json(str, body.get("logs")))
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [LogTurn("human" if label == "HUMAN" else "assistant", text.rstrip("\n")) for label, text in pairs]


_LEGACY_RESULTS: dict[type[Operation[Any]], _LegacyResult] = {
    Create: _LegacyResult(
        lambda _, session: {"sessionId": session.id, "session": to_json(session)},
        lambda _, body: read_session(body.get("session")),
    ),
    Kill: _LegacyResult(
        lambda _, report: to_json(report),
        lambda operation, body: from_json(KillReport, {"killed": [operation.session_id], **body}),
    ),
    List: _LegacyResult(
        lambda _, rows: {"sessions": to_json(rows.rows), "lost": rows.lost},
        lambda _, body: Listing(read_rows(body.get("sessions")), from_json(int, body.get("lost", 0))),
    ),
    Status: _LegacyResult(
        lambda _, state: {"status": state.state, "state": to_json(state)},
        lambda _, body: read_state(StatusResult, body.get("state", {"state": body.get("status")})),
    ),
    Wait: _LegacyResult(_write_wait, _read_wait),
    Logs: _LegacyResult(lambda _, turns: _write_turns(list(turns)), lambda _, body: _read_turns(body)),
}
