"""OpenAI's Responses API, as far as Codex uses it. Of the shape of `api.Api`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

from tests.support.api import Frame, HttpError, Json, new_id, tokens
from tests.support.script import (
    Ask,
    Call,
    Failure,
    FinishGoal,
    Goal,
    Item,
    Plan,
    Reply,
    Result,
    Shell,
    Subagent,
    Tool,
    User,
)

# How texts begin that Codex sends in the user's role without the user having said them.
_NOT_THE_USER = (
    "<environment_context>",
    "<user_instructions>",
    "# AGENTS.md instructions",
    "<turn_aborted>",
    "<skill>",
)
_GOAL = '<codex_internal_context source="goal">'

MODELS: Json = {"object": "list", "data": [{"id": "fake", "object": "model"}]}


def conversation(body: Json) -> list[Item]:
    """Return the texts of the user and the goal, and the tools' results, in order."""
    items: list[Item] = []
    objective = ""
    for raw in body["input"]:
        if raw["type"].endswith("_call_output") and raw.get("name") == "goal_objective":
            objective = raw["output"]
        elif raw["type"].endswith("_call_output"):
            items.append(Result(_result(raw["output"]), raw["call_id"]))
        elif raw["type"] == "message" and raw["role"] == "user":
            text = "".join(part.get("text", "") for part in raw["content"])
            if text.startswith(_GOAL):
                items.append(Goal(_objective(text) or objective))
            elif not text.startswith(_NOT_THE_USER):
                items.append(User(text))
    return items


def whole(body: Json, reply: Reply) -> Json:
    """Return the reply to a request that does not stream."""
    return {**_response(), "output": _output(reply), "usage": _usage(body, reply), "status": "completed"}


def stream(body: Json, reply: Reply) -> Iterator[Frame]:
    """Return a reply as a stream of events."""
    pieces = reply.pieces()
    response = _response()
    output = _output(reply)
    yield _frame("response.created", response={**response, "status": "in_progress", "output": []})
    for index, item in enumerate(output):
        started = {**item, "status": "in_progress"} | ({"content": []} if item["type"] == "message" else {})
        yield _frame("response.output_item.added", output_index=index, item=started)
        if item["type"] == "message":
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            for piece in pieces:
                yield _frame("response.output_text.delta", reply.drip / len(pieces), **place, delta=piece)
        yield _frame("response.output_item.done", output_index=index, item=item)
    done = {**response, "status": "completed", "output": output, "usage": _usage(body, reply)}
    yield _frame("response.completed", response=done)


def error(failure: Failure) -> HttpError:
    """Return the headers and the body of an HTTP error. 429 is that of a used-up plan."""
    kinds = {429: "usage_limit_reached"}
    kind = kinds.get(failure.status, "invalid_request_error" if failure.status < 500 else "server_error")
    body: Json = {"type": kind, "message": failure.message}
    headers: dict[str, str] = {}
    if failure.kind == "context":
        body["code"] = "context_length_exceeded"
    elif failure.kind == "usage limit":
        resets_at = int(time.time()) + failure.resets_in
        body |= {"plan_type": "plus", "resets_at": resets_at}
        headers = {
            "x-codex-primary-used-percent": "100.0",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-at": str(resets_at),
        }
    return headers, {"error": body}


def _objective(text: str) -> str:
    """Return the objective in a goal's continuation. 0.169 sends it in a separate item before it."""
    match = re.search(r"(?s)<((?:untrusted_)?objective)>\s*(.*?)\s*</\1>", text)
    return match[2] if match else ""


def _result(output: str | list[Json]) -> str:
    """Return a tool's output or the user's answer. Codex puts a head before the first (a JSON object around it in
    versions with the `shell` tool), and a JSON object around the second."""
    text = output if isinstance(output, str) else "".join(part.get("text", "") for part in output)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict) and isinstance(value.get("answers"), dict):
        return ", ".join(answer for given in value["answers"].values() for answer in given["answers"])
    if isinstance(value, dict) and isinstance(value.get("output"), str):
        text = value["output"]
    head, found, printed = text.partition("Output:\n")
    if running := re.search(r"Process running with session ID (\d+)", head):
        return f"session {running[1]} {printed}".strip()
    text = (printed if found else head).strip()
    if text.startswith('[{"type":"text",'):
        # The result of an MCP server's tool (0.150).
        return "".join(part["text"] for part in json.loads(text))
    return text


def _output(reply: Reply) -> list[Json]:
    calls = [_function_call(call) for call in reply.calls]
    if calls and not reply.text:
        return calls
    content = [{"type": "output_text", "text": reply.text, "annotations": []}]
    message = {"type": "message", "role": "assistant", "id": new_id("msg"), "status": "completed", "content": content}
    return [message, *calls]


def _function_call(call: Call) -> Json:
    match call:
        case Shell(command):
            return _call("exec_command", {"cmd": command, "yield_time_ms": 30000})
        case Ask(questions):
            asked = [
                {
                    "id": f"q{number}",
                    "header": "Scripted",
                    "question": question.text,
                    "options": [
                        {"label": option, "description": f"The option {option}"} for option in question.options
                    ],
                }
                for number, question in enumerate(questions, 1)
            ]
            return _call("request_user_input", {"questions": asked})
        case Tool(name, arguments):
            # A tool of an MCP server is named `SERVER__TOOL`.
            server, separator, tool = name.rpartition("__")
            return _call(tool, json.loads(arguments)) | ({"namespace": server} if separator else {})
        case Subagent() | Plan():
            raise ValueError("only Claude has these")
        case FinishGoal(status):
            return _call("update_goal", {"status": status})


def _call(name: str, arguments: Json) -> Json:
    return {
        "type": "function_call",
        "id": new_id("fc"),
        "call_id": new_id("call"),
        "name": name,
        "arguments": json.dumps(arguments),
        "status": "completed",
    }


def _response() -> Json:
    return {"id": new_id("resp"), "object": "response", "model": "fake"}


def _usage(body: Json, reply: Reply) -> Json:
    read, written = tokens(json.dumps(body["input"])), tokens(reply.text)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def _frame(kind: str, pause: float = 0.0, **fields: object) -> Frame:
    return Frame(kind, {"type": kind, **fields}, pause)
