"""What the app-server asks its clients in the name of a thread, and the answers that it takes. Pure.

A question is `item/tool/requestUserInput`, an approval `item/commandExecution/requestApproval` or
`item/fileChange/requestApproval`: the same in 0.150 to 0.169.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dev_sessions.answers import chosen, require_fit
from dev_sessions.codex.jsonrpc import Event, Notification, ServerRequest
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import JsonObject, Pending, Question
from dev_sessions.system.fast_dataclass import fast_dataclass

_QUESTION = "item/tool/requestUserInput"
_COMMAND = "item/commandExecution/requestApproval"
_FILES = "item/fileChange/requestApproval"
#: Both are taken also where they are not among the offered decisions (measured: 0.150 to 0.169 offer no `decline`).
_ALLOW, _DENY = "accept", "decline"
_MEANINGS = {
    "accept": "yes",
    "acceptForSession": "yes, and from now on without asking",
    "decline": "no, and the turn goes on",
    "cancel": "no, and the turn ends",
}


@fast_dataclass(frozen=True)
class Asked:
    """What a thread asks, and the request that an answer answers: None when the app-server does not tell."""

    pending: Pending
    request: ServerRequest | None = None


def is_resolved(event: Event, request: ServerRequest) -> bool:
    """Whether an answer to the request was taken; the subscribers of its thread are told (measured: 0.150 to 0.169)."""
    return (
        isinstance(event, Notification)
        and event.method == "serverRequest/resolved"
        and event.params.get("requestId") == request.id
    )


def pending(request: ServerRequest) -> Pending:
    """The request as somebody is shown it. Of a kind that is not known here, it is a dialog that has no answer."""
    if request.method == _QUESTION:
        questions = tuple(_question(raw) for raw in _raw_questions(request))
        return Pending("question", "; ".join(question.text for question in questions) or "a question", questions)
    if request.method in (_COMMAND, _FILES):
        what = _permission(request)
        options = tuple(_option(decision) for decision in _decisions(request))
        return Pending("permission", what, (Question(f"Codex asks {what}", options),))
    return Pending("dialog", f"an answer to {request.method}")


def result(request: ServerRequest, session_id: str, answers: Sequence[str], allow: bool | None) -> JsonObject:
    """The result that carries the answers, one to each question, or the decision. InvalidRequest if they don't fit."""
    asked = pending(request)
    require_fit(session_id, asked, answers, allow)
    if asked.kind == "question":
        pairs = zip(_raw_questions(request), answers, strict=True)
        return {"answers": {str(raw.get("id")): {"answers": [_words(raw, text)]} for raw, text in pairs}}
    if not answers:
        return {"decision": _ALLOW if allow else _DENY}
    numbers = chosen(asked.questions[0], answers[0])
    if numbers is None:
        labels = ", ".join(label for label, _ in asked.questions[0].options)
        raise InvalidRequest(f"{answers[0]!r} is none of the options: {labels}")
    return {"decision": _decisions(request)[numbers[0] - 1]}


def spoken(request: ServerRequest, text: str) -> JsonObject | None:
    """The result that gives a text as it is to the one question of a request; None when there is no such question."""
    match _raw_questions(request):
        case [raw] if request.method == _QUESTION and _takes(raw, text):
            return {"answers": {str(raw.get("id")): {"answers": [text]}}}
    return None


def _question(raw: JsonObject) -> Question:
    options = tuple(
        (str(option.get("label", "")), str(option.get("description") or "")) for option in _objects(raw.get("options"))
    )
    return Question(str(raw.get("question", "")), options)


def _words(raw: JsonObject, text: str) -> str:
    """An answer as the model gets it: the label of the option that it names, or the text itself."""
    question = _question(raw)
    numbers = chosen(question, text)
    if numbers is not None:
        return question.options[numbers[0] - 1][0]
    if not _takes(raw, text):
        labels = ", ".join(label for label, _ in question.options)
        raise InvalidRequest(f"{text!r} is none of the options, and no other answer is taken: {labels}")
    return text


def _takes(raw: JsonObject, text: str) -> bool:
    """Whether a text may be the answer: a label, or any, where none is given or others are taken besides."""
    labels = [option.get("label") for option in _objects(raw.get("options"))]
    return raw.get("isOther") is True or not labels or text in labels


def _permission(request: ServerRequest) -> str:
    command, reason = request.params.get("command"), request.params.get("reason")
    what = "permission to change files" if request.method == _FILES else "permission to run a command"
    if isinstance(command, str):
        what = f"permission to run {command}"
    return f"{what} ({reason})" if isinstance(reason, str) and reason else what


def _decisions(request: ServerRequest) -> list[Any]:
    """The decisions as they go back: a name, or an object with a name and what belongs to it."""
    offered = request.params.get("availableDecisions")
    return offered if isinstance(offered, list) and offered else [_ALLOW, _DENY]


def _option(decision: object) -> tuple[str, str]:
    match decision:
        case {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": list(words)}}:
            begin = " ".join(map(str, words))
            return "acceptWithExecpolicyAmendment", f"yes, and from now on for every command that begins with: {begin}"
        case {**single} if len(single) == 1:
            (name,) = single
            return str(name), ""
    return str(decision), _MEANINGS.get(str(decision), "")


def _raw_questions(request: ServerRequest) -> list[JsonObject]:
    return _objects(request.params.get("questions"))


def _objects(raw: object) -> list[JsonObject]:
    return [item for item in raw if isinstance(item, dict)] if isinstance(raw, list) else []
