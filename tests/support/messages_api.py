"""Anthropic's Messages API, as far as Claude Code uses it. Of the shape of `api.Api`."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator

from tests.support.api import Frame, HttpError, Json, new_id, tokens
from tests.support.script import (
    Ask,
    Call,
    Failure,
    FinishGoal,
    Item,
    Plan,
    Question,
    Reply,
    Result,
    Shell,
    Subagent,
    Tool,
    User,
)

#: Seconds by which every message ends after the calls in it, where a script says nothing of that.
_TRAIL = float(os.environ.get("DEV_SESSIONS_TEST_TRAIL", "0"))
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def conversation(body: Json) -> list[Item]:
    """Return the user's texts and the tools' results, in order. Each text part counts as a message: messages that were
    queued, or that follow an interrupted turn, arrive as further parts of one message."""
    return [
        item
        for message in body["messages"]
        if message["role"] == "user"
        for part in _parts(message["content"])
        if (item := _item(part)) is not None
    ]


def whole(body: Json, reply: Reply) -> Json:
    """Return the reply to a request that does not stream."""
    blocks = _blocks(reply)
    return {**_message(body), "content": blocks, "stop_reason": _stop_reason(reply), "usage": _usage(body, reply)}


def stream(body: Json, reply: Reply) -> Iterator[Frame]:
    """Return a reply as a stream of events."""
    pieces = reply.pieces()
    yield _frame("message_start", message={**_message(body), "usage": {**_usage(body, reply), "output_tokens": 1}})
    for index, block in enumerate(_blocks(reply)):
        if block["type"] == "text":
            yield _frame("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for piece in pieces:
                delta = {"type": "text_delta", "text": piece}
                yield _frame("content_block_delta", reply.drip / len(pieces), index=index, delta=delta)
        else:
            yield _frame("content_block_start", index=index, content_block={**block, "input": {}})
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            yield _frame("content_block_delta", index=index, delta=delta)
        yield _frame("content_block_stop", index=index)
    stop = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    trail = reply.trail if reply.trail is not None else _TRAIL if reply.calls else 0.0
    yield _frame("message_delta", trail, delta=stop, usage=_usage(body, reply))
    yield _frame("message_stop")


def error(failure: Failure) -> HttpError:
    """Return the headers and the body of an HTTP error."""
    kind, message, headers = _ERROR_TYPES.get(failure.status, "api_error"), failure.message, {}
    if failure.kind == "context":
        message = "prompt is too long: 210000 tokens > 200000 maximum"
    elif failure.kind == "usage limit":
        limit = "anthropic-ratelimit-unified"
        headers = {
            f"{limit}-status": "rejected",
            f"{limit}-reset": str(int(time.time()) + failure.resets_in),
            f"{limit}-representative-claim": "five_hour",
            f"{limit}-overage-status": "rejected",
            f"{limit}-overage-disabled-reason": "org_level_disabled",
        }
    return headers, {"type": "error", "error": {"type": kind, "message": message}}


def count(body: Json) -> Json:
    """Return the response of `/v1/messages/count_tokens`."""
    return {"input_tokens": tokens(json.dumps(body))}


def _parts(content: str | list[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _item(part: Json) -> Item | None:
    if part["type"] == "tool_result":
        text = "".join(inner.get("text", "") for inner in _parts(part.get("content", "")))
        return Result(_answer(_without_reminders(text)), part["tool_use_id"])
    text = _without_reminders(part.get("text", ""))
    return User(text) if text.strip() else None


def _without_reminders(text: str) -> str:
    """Remove the agent's own remarks. One that contains the user's words (before 2.1.330) stays, and of one that
    reports background work the notification."""
    notification = (
        r"(?s)<system-reminder>(?:(?!</system-reminder>).)*?"
        r"(<task-notification>.*?</task-notification>)\s*</system-reminder>"
    )
    text = re.sub(notification, r"\1", text)
    return re.sub(r"(?s)<system-reminder>\n?(?!The user sent ).*?</system-reminder>\n*", "", text)


def _answer(result: str) -> str:
    """Return the user's answer from AskUserQuestion's result, `... "QUESTION"="ANSWER". ...`; other results as they
    are."""
    match = re.match(r'(?s)[\w ]+ answered[^"]*"[^"]*"="(.*?)"(?:[., ]|$)', result)
    return match[1] if match else result


def _blocks(reply: Reply) -> list[Json]:
    text = [{"type": "text", "text": reply.text}] if reply.text or not reply.calls else []
    return text + [_tool_use(call) for call in reply.calls]


def _tool_use(call: Call) -> Json:
    match call:
        case Shell(command, background):
            arguments: Json = {"command": command, "description": "Runs the scripted command"}
            if background:
                arguments["run_in_background"] = True
            return _use("Bash", arguments)
        case Ask(questions):
            return _use("AskUserQuestion", {"questions": [_question(question) for question in questions]})
        case Subagent(script):
            return _use("Agent", {"description": "scripted", "prompt": script, "subagent_type": "general-purpose"})
        case Plan(text):
            return _use("ExitPlanMode", {"plan": text})
        case Tool(name, text):
            return _use(name, json.loads(text))
        case FinishGoal():
            raise ValueError("Claude has no goals")


def _question(question: Question) -> Json:
    choices = [{"label": option, "description": f"The option {option}"} for option in question.options]
    return {"question": question.text, "header": "Scripted", "options": choices, "multiSelect": question.multiple}


def _use(name: str, arguments: Json) -> Json:
    return {"type": "tool_use", "id": new_id("toolu"), "name": name, "input": arguments}


def _message(body: Json) -> Json:
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop_reason(reply: Reply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _usage(body: Json, reply: Reply) -> Json:
    return {
        "input_tokens": tokens(json.dumps(body["messages"])),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": tokens(reply.text),
    }


def _frame(kind: str, pause: float = 0.0, **fields: object) -> Frame:
    return Frame(kind, {"type": kind, **fields}, pause)
