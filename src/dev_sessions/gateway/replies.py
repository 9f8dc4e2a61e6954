"""What a gateway answers, both ways: a result as the body of a response, and back. Pure.

A success is `{"ok": true, …}`, with what version 0.4 gave where it had the route, and `result` elsewhere. A failure is
`{"ok": false, "error": TEXT, "output": {"stderr": TEXT, "exitCode": N}}`. `warnings` are lines for the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from dev_sessions.dataclass import dataclass
from dev_sessions.errors import Relayed, WaitTimedOut
from dev_sessions.gateway.wire import Route
from dev_sessions.models import (
    Goal,
    JsonObject,
    KillReport,
    Listing,
    LogTurn,
    Receipt,
    SessionStatus,
    WaitResult,
    paragraph,
)
from dev_sessions.operations import (
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
from dev_sessions.parsing import Malformed, from_json, read_rows, read_session
from dev_sessions.records import to_json

R = TypeVar("R")

#: The exit code of a wait for a session that asks something.
_ASKS = 3


def success(route: Route, operation: Operation[Any], result: Any) -> JsonObject:
    """The body for a result."""
    kept = _KEPT.get(route.kind) if route.is_kept else None
    return {"ok": True, **(kept.write(operation, result) if kept else {"result": to_json(result)})}


def failure(operation: Operation[Any] | None, error: BaseException) -> JsonObject:
    """The body for an error. A wait that timed out is an answer, as it was in 0.4, with the line beside it."""
    text = str(error)
    if isinstance(operation, Wait) and isinstance(error, WaitTimedOut):
        waited = {"completed": False, "timedOut": True, "elapsedMs": round(operation.timeout * 1000)}
        return {"ok": True, "waitResult": waited, "error": text}
    return {"ok": False, "error": text, "output": {"stderr": text, "exitCode": getattr(error, "exit_code", 1)}}


def result(route: Route, operation: Operation[R], body: JsonObject) -> R:
    """The result in a body. Raises what went wrong there as it would be raised here; Malformed when it is neither."""
    output = body.get("output")
    output = output if isinstance(output, dict) else {}
    code = output.get("exitCode")
    kept = _KEPT.get(route.kind) if route.is_kept else None
    if body.get("ok") is not True and not (isinstance(operation, Wait) and code == _ASKS):
        text = output.get("stderr") or body.get("error") or "The gateway does not say what went wrong"
        raise Relayed(str(text).strip(), code if isinstance(code, int) and code else 1)
    value: R = kept.read(operation, body) if kept else from_json(_result_type(route.kind), body.get("result"))
    return value


def _result_type(kind: type[Operation[Any]]) -> Any:
    """The R of a class that is an Operation[R]."""
    return get_args(kind.__orig_bases__[0])[0]  # type: ignore[attr-defined] # which every child of a generic has


@dataclass(frozen=True)
class _Form:
    """How 0.4 gives a result: `write` makes the fields of the body, `read` the result."""

    write: Callable[[Any, Any], JsonObject]
    read: Callable[[Any, JsonObject], Any]


def _write_wait(operation: Wait, waited: WaitResult) -> JsonObject:
    completed = waited.outcome == "completed"
    asks = {} if completed else failure(operation, Relayed(f"{operation.session_id} is {waited.outcome}", _ASKS))
    goal = {"goal": to_json(waited.goal)} if operation.goal else {}
    return {
        **asks,
        "waitResult": {"completed": completed, "timedOut": False, "elapsedMs": waited.elapsed_ms},
        **goal,
    }


def _read_wait(operation: Wait, body: JsonObject) -> WaitResult:
    waited = from_json(dict[str, Any], body.get("waitResult", {}))
    elapsed = from_json(int, waited.get("elapsedMs", 0))
    if body["ok"] is not True:
        return WaitResult("waiting_for_input", elapsed)
    if waited.get("timedOut") is True:
        raise WaitTimedOut(str(body.get("error") or operation.timed_out))
    if waited.get("completed") is not True:
        raise Malformed("waitResult: neither completed nor timedOut")
    return WaitResult("completed", elapsed, from_json(Goal | None, body.get("goal")))


def _write_turns(turns: list[LogTurn]) -> JsonObject:
    return {"logs": "\n\n".join(map(paragraph, turns)), "turns": to_json(turns)}


def _read_turns(body: JsonObject) -> list[LogTurn]:
    """The turns; of 0.4 only the text is known, in which a text that looks like a label is one."""
    if "turns" in body:
        turns: list[LogTurn] = from_json(list[LogTurn], body["turns"])
        return turns
    parts = re.split(r"(?:\A|\n\n)\[(HUMAN|ASSISTANT)\]\n", from_json(str, body.get("logs")))
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [LogTurn("human" if label == "HUMAN" else "assistant", text.rstrip("\n")) for label, text in pairs]


_KEPT: dict[type[Operation[Any]], _Form] = {
    Create: _Form(
        lambda _, session: {"sessionId": session.id, "session": to_json(session)},
        lambda _, body: read_session(body.get("session")),
    ),
    Send: _Form(
        lambda _, receipt: {"receipt": to_json(receipt)},
        lambda _, body: from_json(Receipt | None, body.get("receipt")),
    ),
    Kill: _Form(
        lambda _, report: to_json(report),
        lambda operation, body: from_json(KillReport, {"killed": [operation.session_id], **body}),
    ),
    List: _Form(
        lambda _, rows: {"sessions": to_json(rows.rows), "lost": rows.lost},
        lambda _, body: Listing(read_rows(body.get("sessions")), from_json(int, body.get("lost", 0))),
    ),
    Status: _Form(
        lambda _, standing: {"status": standing.state, "standing": to_json(standing)},
        lambda _, body: from_json(SessionStatus, body.get("standing", {"state": body.get("status")})),
    ),
    Wait: _Form(_write_wait, _read_wait),
    LastMessage: _Form(
        lambda _, blocks: {"blocks": blocks},
        lambda _, body: from_json(list[str], body.get("blocks")),
    ),
    Logs: _Form(
        lambda _, turns: _write_turns(list(turns)),
        lambda _, body: _read_turns(body),
    ),
    GetGoal: _Form(
        lambda _, goal: {"goal": to_json(goal)},
        lambda _, body: from_json(Goal | None, body.get("goal")),
    ),
    SetGoal: _Form(
        lambda _, goal: {"goal": to_json(goal)},
        lambda _, body: from_json(Goal, body.get("goal")),
    ),
    ClearGoal: _Form(
        lambda _, cleared: {"cleared": cleared},
        lambda _, body: from_json(bool, body.get("cleared")),
    ),
    Inspect: _Form(
        lambda _, record: {"session": record},
        lambda _, body: from_json(dict[str, Any], body.get("session")),
    ),
}
