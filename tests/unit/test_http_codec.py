"""Encoding operations and results as HTTP, also in the forms of version 0.4."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev_sessions.errors import Relayed, SessionNotFound, TurnFailed, WaitTimedOut
from dev_sessions.gateway import http_codec
from dev_sessions.json_validation import Malformed
from dev_sessions.models import (
    ClaudeSession,
    CodexSession,
    Goal,
    KillReport,
    Listed,
    Listing,
    LogTurn,
    Receipt,
    Reply,
    SessionState,
    StatusResult,
    WaitResult,
)
from dev_sessions.operations import (
    Ask,
    ClearGoal,
    Create,
    GetGoal,
    Inspect,
    Kill,
    LastMessage,
    List,
    Logs,
    Operation,
    Send,
    SetGoal,
    Status,
    Wait,
)
from tests.support.operations import OPERATIONS, RESULTS

CODEX = CodexSession(
    id="fizz-top",
    internal_id="t",
    path="/w",
    created_at="2026-01-01T00:00:00.000Z",
    last_used="2026-01-01T00:00:00.000Z",
    codex_turn_in_progress=False,
    extra={"futureField": {"a": [1]}},
)
CLAUDE = ClaudeSession(
    id="zed-mid", internal_id="u", path="/w", status="inactive", created_at="2026-01-01", last_used="2026-01-01"
)

#: What the client of 0.4 sends, and what is asked for by that.
KEPT_REQUESTS: list[tuple[str, str, dict[str, Any], Operation[Any]]] = [
    (
        "POST",
        "/create",
        {"path": "/w", "cli": "codex", "mode": "native", "description": "d"},
        Create(path="/w", cli="codex", description="d"),
    ),
    ("POST", "/create", {"host": "box", "cli": "claude"}, Create(host="box")),
    ("POST", "/send", {"sessionId": "a", "message": "m"}, Send(session_id="a", message="m")),
    ("POST", "/kill", {"sessionId": "a"}, Kill(session_id="a")),
    ("GET", "/list", {}, List()),
    ("GET", "/status", {"id": "a"}, Status(session_id="a")),
    ("GET", "/wait", {"id": "a", "timeout": "5", "interval": "2"}, Wait(session_id="a", timeout=5, interval=2)),
    ("GET", "/wait", {"id": "a"}, Wait(session_id="a")),
    ("GET", "/last-message", {"id": "a", "n": "3"}, LastMessage(session_id="a", count=3)),
    ("GET", "/logs", {"id": "a"}, Logs(session_id="a")),
    ("GET", "/inspect", {"id": "a"}, Inspect(session_id="a")),
    ("GET", "/wait", {"id": "a", "goal": "1"}, Wait(session_id="a", goal=True)),
    ("GET", "/wait", {"id": "a", "nextTurn": "1"}, Wait(session_id="a", next_turn=True)),
    ("GET", "/goal", {"id": "a"}, GetGoal(session_id="a")),
    (
        "POST",
        "/goal",
        {"sessionId": "a", "objective": "o", "tokenBudget": 5},
        SetGoal(session_id="a", objective="o", token_budget=5),
    ),
    ("POST", "/goal", {"sessionId": "a", "status": "paused"}, SetGoal(session_id="a", status="paused")),
    ("POST", "/goal", {"sessionId": "a", "clear": True}, ClearGoal(session_id="a")),
]
RECORD = {
    "championId": "fizz-top",
    "internalId": "t",
    "cli": "codex",
    "mode": "native",
    "path": "/w",
    "status": "active",
    "createdAt": "2026-01-01T00:00:00.000Z",
    "lastUsed": "2026-01-01T00:00:00.000Z",
    "codexTurnInProgress": False,
    "futureField": {"a": [1]},
}
GOAL_JSON = {
    "threadId": "t",
    "objective": "o",
    "status": "active",
    "tokenBudget": None,
    "tokensUsed": 7,
    "timeUsedSeconds": 3,
    "createdAt": 1795382370,
    "updatedAt": 1795382371,
}
GOAL = Goal("t", "o", "active", None, 7, 3, 1795382370, 1795382371)
#: What the server of 0.4 answers, and the result that it stands for.
KEPT_ANSWERS: list[tuple[Operation[Any], dict[str, Any], object]] = [
    (Create(path="/w"), {"sessionId": "fizz-top", "session": RECORD}, CODEX),
    (Send(session_id="a", message="m"), {}, None),
    (Kill(session_id="a"), {}, KillReport(("a",))),
    (List(), {"sessions": [RECORD]}, Listing((Listed(CODEX, None),), 0)),
    (Status(session_id="a"), {"status": "working"}, StatusResult("working")),
    (
        Wait(session_id="a"),
        {"waitResult": {"completed": True, "timedOut": False, "elapsedMs": 12}},
        WaitResult("completed", 12),
    ),
    (LastMessage(session_id="a"), {"blocks": ["x", "y"]}, ["x", "y"]),
    (
        Logs(session_id="a"),
        {"logs": "[HUMAN]\nhi\n\n[ASSISTANT]\nho\n\nho\n"},
        [LogTurn("human", "hi"), LogTurn("assistant", "ho\n\nho")],
    ),
    (Logs(session_id="a"), {"logs": ""}, []),
    (Inspect(session_id="a"), {"session": RECORD}, RECORD),
    (GetGoal(session_id="a"), {"goal": None}, None),
    (GetGoal(session_id="a"), {"goal": GOAL_JSON}, GOAL),
    (SetGoal(session_id="a", status="active"), {"goal": GOAL_JSON}, GOAL),
    (ClearGoal(session_id="a"), {"cleared": True}, True),
    (
        Wait(session_id="a", goal=True),
        {"waitResult": {"completed": True, "timedOut": False, "elapsedMs": 12}, "goal": GOAL_JSON},
        WaitResult("completed", 12, GOAL),
    ),
    (
        Wait(session_id="a", goal=True),
        {"waitResult": {"completed": True, "timedOut": False, "elapsedMs": 12}, "goal": None},
        WaitResult("completed", 12),
    ),
]
#: Results that the samples of the command line's tests do not show.
MORE_RESULTS: list[tuple[Operation[Any], object]] = [
    (List(everything=True), Listing((Listed(CODEX, SessionState("working")), Listed(CLAUDE, SessionState("lost"))), 2)),
    (Status(session_id="a"), StatusResult("waiting_for_input", "a permission", background=True)),
    (Status(session_id="a"), StatusResult("idle", reason="usage_limit", resets_at="2026-11-29T13:50:14.000Z")),
    (List(), Listing((Listed(CODEX, SessionState("idle", reason="auth")),), 0)),
    (Wait(session_id="a"), WaitResult("waiting_for_input", 7)),
    (Ask(session_id="a", message="m"), Reply("", "waiting_for_input")),
    (Send(session_id="a", message="m", receipt=True), Receipt("steered", "turn-1")),
    (Logs(session_id="a"), [LogTurn("human", "[ASSISTANT]\n\n[HUMAN]\n"), LogTurn("assistant", "")]),
]


@pytest.mark.parametrize("kind", list(OPERATIONS), ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_operation_survives_the_way_to_the_host(kind: type[Operation[Any]], data: st.DataObject) -> None:
    """Every operation arrives unchanged on the host."""
    operation = data.draw(OPERATIONS[kind])
    if isinstance(operation, Create) and operation.path is None and operation.host is None:
        return  # which the client never sends: it names the folder
    route = http_codec.route_of(operation)
    arguments = json.loads(json.dumps(http_codec.encode_arguments(route, operation)))
    assert (
        http_codec.decode_operation(http_codec.find_route(route.method, route.path, arguments), arguments) == operation
    )


@pytest.mark.parametrize(("operation", "result"), MORE_RESULTS)
def test_a_result_survives_the_way_back(operation: Operation[Any], result: object) -> None:
    """Every result arrives unchanged in the container."""
    check_way_back(operation, result)


@pytest.mark.parametrize("kind", list(RESULTS), ids=lambda kind: kind.__name__)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_every_result_survives_the_way_back(kind: type[Operation[Any]], data: st.DataObject) -> None:
    """Every operation has a result whose encoding is tested."""
    check_way_back(data.draw(OPERATIONS[kind]), RESULTS[kind])


def check_way_back(operation: Operation[Any], result: object) -> None:
    """Assert that a result survives its encoding as JSON."""
    route = http_codec.route_of(operation)
    body = json.loads(json.dumps(http_codec.encode_result(route, operation, result)))
    assert http_codec.decode_result(route, operation, body) == result


@pytest.mark.parametrize(("method", "path", "given", "operation"), KEPT_REQUESTS)
def test_a_request_of_an_old_client_is_understood(
    method: str, path: str, given: dict[str, Any], operation: Operation[Any]
) -> None:
    """Containers that hold the client of 0.4 keep working."""
    assert http_codec.decode_operation(http_codec.find_route(method, path, given), given) == operation


@pytest.mark.parametrize(("method", "path", "given", "operation"), KEPT_REQUESTS)
def test_what_an_old_gateway_knows_is_asked_in_its_form(
    method: str, path: str, given: dict[str, Any], operation: Operation[Any]
) -> None:
    """A new client works with a gateway of version 0.4."""
    route = http_codec.route_of(operation)
    assert (route.method, route.path) == (method, path)
    sent = http_codec.encode_arguments(route, operation)
    assert sent.items() <= {"cli": "claude", "mode": "native", **given}.items()


@pytest.mark.parametrize(("operation", "body", "result"), KEPT_ANSWERS)
def test_an_answer_of_an_old_gateway_is_understood(
    operation: Operation[Any], body: dict[str, Any], result: object
) -> None:
    """A new client reads what a gateway of 0.4 answers."""
    assert http_codec.decode_result(http_codec.route_of(operation), operation, {"ok": True, **body}) == result


@pytest.mark.parametrize(("operation", "body", "result"), KEPT_ANSWERS)
def test_an_old_client_finds_what_it_reads(operation: Operation[Any], body: dict[str, Any], result: object) -> None:
    """Responses have all fields of version 0.4."""
    encoded = http_codec.encode_result(http_codec.route_of(operation), operation, result)
    assert encoded["ok"] is True
    assert body.keys() <= encoded.keys()
    if "logs" not in body:
        assert {name: encoded[name] for name in body} == body


def test_an_error_keeps_its_text_and_exit_code() -> None:
    """An error has the same text and exit code in the container as on the host."""
    operation = Status(session_id="a")
    body = http_codec.encode_error(operation, SessionNotFound("a"))
    assert body["error"] == "Session not found: a"
    assert body["output"] == {"stderr": "Session not found: a", "exitCode": 1}
    for code in (1, 3, 124, 255):
        relayed = http_codec.encode_error(operation, Relayed("why", code))
        with pytest.raises(Relayed, match=r"^why$") as caught:
            http_codec.decode_result(http_codec.route_of(operation), operation, relayed)
        assert caught.value.exit_code == code


def test_a_failed_turn_keeps_its_reason() -> None:
    """In the container, a failed turn has its reason and the end of the usage limit, as on the host."""
    operation = Wait(session_id="a")
    route = http_codec.route_of(operation)
    reset, continued = "2026-11-29T13:50:14.000Z", "2026-11-29T13:50:15.000Z"
    body = http_codec.encode_error(operation, TurnFailed("why", "usage_limit", reset, continued))
    assert (body["reason"], body["resetsAt"], body["continuesAt"]) == ("usage_limit", reset, continued)
    with pytest.raises(Relayed) as caught:
        http_codec.decode_result(route, operation, body)
    error = caught.value
    assert (error.reason, error.resets_at, error.continues_at) == ("usage_limit", reset, continued)
    assert http_codec.encode_error(operation, caught.value) == body
    with pytest.raises(Relayed) as caught:
        http_codec.decode_result(route, operation, {**body, "reason": "sunspots", "resetsAt": 7})
    assert (caught.value.reason, caught.value.resets_at) == ("unknown", None)


def test_a_reason_of_a_later_version_is_unknown() -> None:
    """A state with a reason that only a later version knows can be read."""
    operation = Status(session_id="a")
    body = {"ok": True, "status": "idle", "state": {"state": "idle", "reason": "sunspots", "also": "new"}}
    assert http_codec.decode_result(http_codec.route_of(operation), operation, body) == StatusResult(
        "idle", reason="unknown"
    )


@pytest.mark.parametrize("body", [{"ok": False, "error": "why"}, {"error": "why", "output": {"exitCode": 0}}])
def test_an_error_of_an_old_gateway_is_an_error(body: dict[str, Any]) -> None:
    """A gateway that gives no exit code does not make a failure look like a success."""
    operation = Status(session_id="a")
    with pytest.raises(Relayed, match=r"^why$") as caught:
        http_codec.decode_result(http_codec.route_of(operation), operation, body)
    assert caught.value.exit_code == 1


def test_a_wait_out_of_time_is_what_it_was() -> None:
    """A timeout has version 0.4's form, and a new client exits 124 with the host's error."""
    operation = Wait(session_id="a", timeout=2)
    body = http_codec.encode_error(operation, WaitTimedOut("Timed out waiting for a"))
    assert body["ok"] is True
    assert body["waitResult"] == {"completed": False, "timedOut": True, "elapsedMs": 2000}
    for answer in (body, {"ok": True, "waitResult": body["waitResult"]}):
        with pytest.raises(WaitTimedOut, match=r"^Timed out waiting for a$"):
            http_codec.decode_result(http_codec.route_of(operation), operation, answer)


def test_a_wait_for_a_session_that_asks_fails_with_3() -> None:
    """For an old client, a session that waits for input is an error with exit code 3."""
    operation = Wait(session_id="a")
    body = http_codec.encode_result(http_codec.route_of(operation), operation, WaitResult("waiting_for_input", 7))
    assert (body["ok"], body["error"], body["output"]["exitCode"]) == (False, "a is waiting_for_input", 3)


@pytest.mark.parametrize(
    ("method", "path", "given", "field"),
    [
        ("POST", "/create", {}, "path"),
        ("POST", "/create", {"path": 5}, "path"),
        ("POST", "/create", {"path": "/w", "cli": "vim"}, "cli"),
        ("POST", "/send", {"sessionId": "a"}, "message"),
        ("POST", "/send", {"message": "a"}, "sessionId"),
        ("POST", "/send", {"sessionId": ["a"], "message": "a"}, "sessionId"),
        ("POST", "/send", {"sessionId": "a", "message": "\ud800"}, "message"),
        ("POST", "/kill", {"sessionId": "\ud800"}, "sessionId"),
        ("POST", "/respond", {"sessionId": "a", "answers": ["\ud800"]}, "answers"),
        ("GET", "/status", {}, "id"),
        ("GET", "/wait", {"id": "a", "timeout": "-1"}, "timeout"),
        ("GET", "/wait", {"id": "a", "timeout": "nan"}, "timeout"),
        ("GET", "/wait", {"id": "a", "interval": "x"}, "interval"),
        ("GET", "/last-message", {"id": "a", "n": "0"}, "n"),
        ("GET", "/last-message", {"id": "a", "n": "x"}, "n"),
        ("POST", "/ask", {"sessionId": "a", "message": "m", "colour": 1}, "colour"),
        ("POST", "/kill-many", {"olderThan": "soon"}, "olderThan"),
        ("POST", "/respond", {"sessionId": "a"}, "answers"),
        ("POST", "/goal", {"sessionId": "a"}, "objective"),
        ("POST", "/goal", {"sessionId": "a", "status": "done"}, "status"),
        ("POST", "/goal", {"objective": "o"}, "sessionId"),
    ],
)
def test_a_bad_request_names_the_field(method: str, path: str, given: dict[str, Any], field: str) -> None:
    """An invalid request is an error that names the field."""
    with pytest.raises(Malformed, match=f"^{field}: "):
        http_codec.decode_operation(http_codec.find_route(method, path, given), given)


def test_an_unknown_route_is_distinguished() -> None:
    """An unknown route is distinguished from a bad request."""
    with pytest.raises(http_codec.NoSuchRoute, match=r"^This gateway has no route POST /teleport$"):
        http_codec.find_route("POST", "/teleport", {})


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_whatever_a_gateway_answers_is_an_error_or_a_result(body: Any) -> None:
    """An invalid response is an error."""
    asked: list[Operation[Any]] = [Status(session_id="a"), Wait(session_id="a"), List(), Inspect(session_id="a")]
    for operation in asked:
        answer = body if isinstance(body, dict) else {"ok": True, "status": body, "waitResult": body, "result": body}
        with pytest.raises((Malformed, Relayed)):
            http_codec.decode_result(http_codec.route_of(operation), operation, answer)
