"""The questions and approvals that the app-server requests from its clients, and the results it accepts. Pure.

A question is `item/tool/requestUserInput`, an approval `item/commandExecution/requestApproval`,
`item/fileChange/requestApproval` or `item/permissions/requestApproval` (0.150 to 0.171). `elicitation` has what an MCP
server asks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dev_sessions.answers import chosen, require_fit
from dev_sessions.codex import elicitation
from dev_sessions.codex.jsonrpc import Event, Notification, ServerRequest
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import JsonObject, Pending, Question
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.json_object import objects

_QUESTION = "item/tool/requestUserInput"
_COMMAND = "item/commandExecution/requestApproval"
_FILES = "item/fileChange/requestApproval"
_PERMISSIONS = "item/permissions/requestApproval"
#: Accepted even if they are not among the offered decisions (0.150 to 0.169 never offer `decline`).
_ALLOW, _ALLOW_FOR_SESSION, _DENY = "accept", "acceptForSession", "decline"
_DESCRIPTIONS = {
    "accept": "yes",
    "acceptForSession": "yes, and from now on without asking",
    "decline": "no, and the turn continues",
    "cancel": "no, and the turn ends",
}


@fast_dataclass(frozen=True)
class OpenRequest:
    """An open question of a thread, and the request to respond to, None when the app-server did not repeat it."""

    pending: Pending
    request: ServerRequest | None = None


def is_resolved(event: Event, request: ServerRequest) -> bool:
    """Return whether an event confirms the response to a request; the thread's subscribers get it (0.150 to 0.169)."""
    return (
        isinstance(event, Notification)
        and event.method == "serverRequest/resolved"
        and event.params.get("requestId") == request.id
    )


def pending(request: ServerRequest) -> Pending:
    """Return the request as the user is shown it. One of an unknown method is a dialog that cannot be answered."""
    if request.method == _QUESTION:
        questions = tuple(_question(raw) for raw in _raw_questions(request))
        return Pending("question", "; ".join(question.text for question in questions) or "a question", questions)
    if request.method == elicitation.METHOD:
        return elicitation.pending(request.params)
    if request.method in (_COMMAND, _FILES, _PERMISSIONS):
        what = _permission(request)
        options = tuple(_option(decision) for decision in _decisions(request))
        return Pending("permission", what, (Question(f"Codex asks {what}", options),))
    return Pending("dialog", f"an answer to {request.method}")


def result(request: ServerRequest, session_id: str, answers: Sequence[str], allow: bool | None) -> JsonObject:
    """Return the result with the answers, one to each question, or with the decision.

    Raises InvalidRequest for answers that do not fit the questions.
    """
    if request.method == elicitation.METHOD:
        return elicitation.result(request.params, session_id, answers, allow)
    asked = pending(request)
    require_fit(session_id, asked, answers, allow)
    if asked.kind == "question":
        pairs = zip(_raw_questions(request), answers, strict=True)
        return {"answers": {str(raw.get("id")): {"answers": [_answer_text(raw, text)]} for raw, text in pairs}}
    if not answers:
        return _decided(request, _ALLOW if allow else _DENY)
    numbers = chosen(asked.questions[0], answers[0])
    if numbers is None:
        labels = ", ".join(label for label, _ in asked.questions[0].options)
        raise InvalidRequest(f"{answers[0]!r} is none of the options: {labels}")
    return _decided(request, _decisions(request)[numbers[0] - 1])


def cancel_result(request: ServerRequest) -> JsonObject | None:
    """Return the result that leaves a request without an answer; None if it needs one."""
    return elicitation.CANCELLED if request.method == elicitation.METHOD else None


def _decided(request: ServerRequest, decision: object) -> JsonObject:
    """Return the result with a decision. Permissions are granted by repeating what was asked for."""
    if request.method != _PERMISSIONS:
        return {"decision": decision}
    if decision == _DENY:
        return {"permissions": {}}
    scope = "session" if decision == _ALLOW_FOR_SESSION else "turn"
    return {"permissions": request.params.get("permissions") or {}, "scope": scope}


def text_result(request: ServerRequest, text: str) -> JsonObject | None:
    """Return the result with a text as the answer to the only question; None when the text cannot be its answer."""
    match _raw_questions(request):
        case [raw] if request.method == _QUESTION and _accepts(raw, text):
            return {"answers": {str(raw.get("id")): {"answers": [text]}}}
    return None


def _question(raw: JsonObject) -> Question:
    """Parse `{"id": "q1", "question": "Proceed?", "isOther": true, "options": [{"label": "Yes", …}]}`."""
    options = tuple(
        (str(option.get("label", "")), str(option.get("description") or "")) for option in objects(raw.get("options"))
    )
    return Question(str(raw.get("question", "")), options)


def _answer_text(raw: JsonObject, text: str) -> str:
    """Return an answer as the model gets it: the label of the chosen option, or the text itself."""
    question = _question(raw)
    numbers = chosen(question, text)
    if numbers is not None:
        return question.options[numbers[0] - 1][0]
    if not _accepts(raw, text):
        labels = ", ".join(label for label, _ in question.options)
        raise InvalidRequest(f"{text!r} is none of the options, and no other answer is accepted: {labels}")
    return text


def _accepts(raw: JsonObject, text: str) -> bool:
    """Return whether a text may be the answer: a label, or any text if there are no options or `isOther` is true."""
    labels = [option.get("label") for option in objects(raw.get("options"))]
    return raw.get("isOther") is True or not labels or text in labels


def _permission(request: ServerRequest) -> str:
    command, reason = request.params.get("command"), request.params.get("reason")
    what = "permission to change files" if request.method == _FILES else "permission to run a command"
    if request.method == _PERMISSIONS:
        asked = request.params.get("permissions")
        kinds = {kind: value for kind, value in asked.items() if value} if isinstance(asked, dict) else {}
        what = f"permission for {json.dumps(kinds, ensure_ascii=False)}"
    if isinstance(command, str):
        what = f"permission to run {command}"
    return f"{what} ({reason})" if isinstance(reason, str) and reason else what


def _decisions(request: ServerRequest) -> list[Any]:
    """Return the decisions in the form that the result needs: a name, or an object with a name and its parameters."""
    if request.method == _PERMISSIONS:
        return [_ALLOW, _ALLOW_FOR_SESSION, _DENY]
    offered = request.params.get("availableDecisions")
    return offered if isinstance(offered, list) and offered else [_ALLOW, _DENY]


def _option(decision: object) -> tuple[str, str]:
    match decision:
        case {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": list(words)}}:
            prefix = " ".join(map(str, words))
            return "acceptWithExecpolicyAmendment", f"yes, and from now on for every command that begins with: {prefix}"
        case {**single} if len(single) == 1:
            (name,) = single
            return str(name), ""
    return str(decision), _DESCRIPTIONS.get(str(decision), "")


def _raw_questions(request: ServerRequest) -> list[JsonObject]:
    return objects(request.params.get("questions"))
