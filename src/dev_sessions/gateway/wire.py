"""The HTTP form of every operation, both ways. Pure.

A request is an operation's fields in camelCase, in the query of a GET or the JSON body of a POST. The routes that
version 0.4 had keep its forms (it does not send, and ignores, what came later). All others are a POST.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from dev_sessions.dataclass import dataclass
from dev_sessions.deadline import duration, seconds_text
from dev_sessions.models import JsonObject, camel
from dev_sessions.operations import (
    Ask,
    ClearGoal,
    Create,
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
)
from dev_sessions.parsing import Malformed, from_json
from dev_sessions.records import to_json

Method = Literal["GET", "POST"]


class NoSuchRoute(Malformed):
    """Nothing is answered there."""


@dataclass(frozen=True)
class Route:
    """Where operations of a kind go, and what their fields are called there when not by their own names.

    `is_kept`: version 0.4 has it. `is_streamed`: the 200 comes at once, then a newline now and then, then the body.
    `mark`: a field that is true, and tells the operation from another one of the same path.
    """

    method: Method
    path: str
    kind: type[Operation[Any]]
    names: Mapping[str, str]
    is_kept: bool
    is_streamed: bool
    mark: str | None = None


def _kept(method: Method, path: str, kind: type[Operation[Any]], *, mark: str | None = None, **names: str) -> Route:
    return Route(method, path, kind, names, is_kept=True, is_streamed=kind is Wait, mark=mark)


def _new(path: str, kind: type[Operation[Any]]) -> Route:
    return Route("POST", path, kind, {}, is_kept=False, is_streamed=True)


_DELIVER = _new("/deliver", Send)
ROUTES = (
    _kept("POST", "/create", Create),
    _kept("POST", "/send", Send),
    _kept("POST", "/kill", Kill),
    _kept("GET", "/list", List, everything="all"),
    _kept("GET", "/status", Status, sessionId="id"),
    _kept("GET", "/wait", Wait, sessionId="id"),
    _kept("GET", "/last-message", LastMessage, sessionId="id", count="n"),
    _kept("GET", "/logs", Logs, sessionId="id"),
    _kept("GET", "/inspect", Inspect, sessionId="id"),
    _kept("GET", "/goal", GetGoal, sessionId="id"),
    _kept("POST", "/goal", SetGoal),
    _kept("POST", "/goal", ClearGoal, mark="clear"),
    _DELIVER,
    _new("/ask", Ask),
    _new("/kill-many", KillMany),
    _new("/recover", Recover),
    _new("/respond", Respond),
    _new("/interrupt", Interrupt),
)
_BY_KIND = {route.kind: route for route in ROUTES if route is not _DELIVER}


def route_of(operation: Operation[Any]) -> Route:
    """Where an operation goes."""
    if isinstance(operation, Send) and operation.is_new:
        # An older gateway does not have this route, and so does not send without what was asked for.
        return _DELIVER
    return _BY_KIND[type(operation)]


def find_route(method: str, path: str, given: Mapping[str, Any]) -> Route:
    """The route of a request. NoSuchRoute."""
    found = [route for route in ROUTES if (route.method, route.path) == (method, path)]
    if not found:
        raise NoSuchRoute(f"{method} {path} is no route of this gateway")
    return next((route for route in found if route.mark and given.get(route.mark)), found[0])


def to_arguments(route: Route, operation: Operation[Any]) -> JsonObject:
    """An operation as what its route takes: texts for a query, or a JSON body."""
    named = {route.names.get(name, name): value for name, value in to_json(operation).items()}
    if route.mark is not None:
        named[route.mark] = True
    if route.method == "POST":
        return named
    return {name: _query_text(value) for name, value in named.items()}


def _query_text(value: object) -> str:
    if isinstance(value, float):
        return seconds_text(value)
    return "1" if value is True else str(value)


def to_operation(route: Route, given: Mapping[str, Any]) -> Operation[Any]:
    """What a request asks for. Malformed names the field."""
    names = [camel(item.name) for item in fields(route.kind)]  # type: ignore[arg-type] # each is a dataclass
    ours = {route.names.get(name, name): name for name in names}
    unknown = given.keys() - ours.keys()
    if unknown and not route.is_kept:
        raise Malformed(f"{min(unknown)}: no field of {route.path}")
    try:
        operation = from_json(route.kind, {ours[name]: value for name, value in given.items() if name in ours})
    except Malformed as error:
        name, colon, complaint = str(error).partition(":")
        raise Malformed(f"{route.names.get(name, name)}{colon}{complaint}") from error
    assert isinstance(operation, Operation)
    _require_sense(operation)
    return operation


def _require_sense(operation: Operation[Any]) -> None:
    """Refuse what the command line's parser refuses."""
    for name in ("timeout", "interval"):
        value = getattr(operation, name, None)
        if value is not None and not 0 < value < float("inf"):
            raise Malformed(f"{name}: {value:g} is not a number of seconds above 0")
    match operation:
        case Create(path=None, host=None):
            raise Malformed("path: Field required")
        case LastMessage(count=count) if count < 1:
            raise Malformed(f"n: {count} is less than 1")
        case Respond(answers=answers, allow=allow) if (allow is None) == (not answers):
            raise Malformed("answers: give either answers or allow")
        case Wait(goal=True, next_turn=True):
            raise Malformed("nextTurn: wait for the goal or for the next turn, not for both")
        case SetGoal(objective=None, status=None, token_budget=None):
            raise Malformed("objective: Field required, or status, tokenBudget or clear")
        case KillMany(older_than=str(text)):
            try:
                duration(text)
            except ValueError as error:
                raise Malformed(f"olderThan: {error}") from error
