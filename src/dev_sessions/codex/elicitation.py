"""The forms and confirmations that an MCP server requests through Codex (`mcpServer/elicitation/request`). Pure.

Codex asks its clients only if the thread's approval policy lets it. With the policy of our sessions (`never`) it
answers by itself: a confirmation is accepted, and a form declined (0.150 to 0.171). With a policy that asks
(`granular`) it also asks before each tool of an MCP server that is not marked as harmless, where `never` runs them; so
our sessions keep that, and ask only if another client has changed it.
The parameters, shortened::

    {"serverName": "made", "mode": "form", "message": "Who are you?", "requestedSchema": {"type": "object",
     "properties": {"name": {"type": "string", "title": "Your name"}}, "required": ["name"]}}
    {"serverName": "made", "mode": "form", "message": "Allow the made MCP server to run tool \"x\"?",
     "requestedSchema": {"type": "object", "properties": {}}, "_meta": {"persist": ["session", "always"], …}}
    {"serverName": "made", "mode": "url", "message": "Please authorise", "url": "https://…", …}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dev_sessions.answers import chosen, require_fit
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import JsonObject, Pending, Question
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.json_object import objects

METHOD = "mcpServer/elicitation/request"
CANCELLED: JsonObject = {"action": "cancel"}
_DECLINED: JsonObject = {"action": "decline"}
_FORM_MODES = ("form", "openai/form", "openaiForm")
#: What may be remembered, and the option for it.
_PERSISTENT = {
    "session": ("acceptForSession", "yes, and from now on without asking"),
    "always": ("acceptAlways", "yes, in every session from now on"),
}


def pending(params: JsonObject) -> Pending:
    """Return what the user is shown: the fields of a form as questions, or what is to be confirmed."""
    mode, message = params.get("mode"), " ".join(str(params.get("message", "")).split())
    what = f"{message} ({params.get('serverName')})"
    if mode not in (*_FORM_MODES, "url"):
        return Pending("dialog", f"an answer to {METHOD}{f' in the mode {mode}' if mode else ''}")
    if fields := _fields(params):
        required = _strings(_schema(params).get("required"))
        first, *more = (_question(name, field, is_required=name in required) for name, field in fields.items())
        # What the server says stands above its fields.
        return Pending("question", what, (replace(first, text=f"{what}\n\n{first.text}"), *more))
    if mode == "url":
        what = f"{what}: {params.get('url')}"
    options = [("accept", "yes"), *(_PERSISTENT[scope] for scope in _scopes(params)), ("decline", "no")]
    return Pending("permission", what, (Question(what, tuple(options)),))


def result(params: JsonObject, session_id: str, answers: Sequence[str], allow: bool | None) -> JsonObject:
    """Return the result with an answer for each field ("" leaves an optional one out), or with the decision.

    Raises InvalidRequest for answers that do not fit.
    """
    asked = pending(params)
    if allow is False:
        return _DECLINED
    require_fit(session_id, asked, answers, allow)
    if asked.kind == "question":
        required = _strings(_schema(params).get("required"))
        given = zip(_fields(params).items(), asked.questions, answers, strict=True)
        values = {
            name: _value(field, question, answer)
            for (name, field), question, answer in given
            if answer or name in required
        }
        return {"action": "accept", "content": values}
    accepted: JsonObject = {"action": "accept", "content": {}}
    if allow:
        return accepted
    (question,) = asked.questions
    if (numbers := chosen(question, answers[0])) is None:
        raise _no_option(question, answers[0])
    label = question.options[numbers[0] - 1][0]
    scope = next((scope for scope, (name, _) in _PERSISTENT.items() if name == label), None)
    if scope is not None:
        return {**accepted, "_meta": {"persist": scope}}
    return accepted if label == "accept" else _DECLINED


def _question(name: str, field: JsonObject, *, is_required: bool) -> Question:
    text = str(field.get("title") or name)
    if field.get("description"):
        text = f"{text} ({field['description']})"
    return Question(
        text if is_required else f"{text} (optional)",
        tuple((label, "") for label, _ in _choices(field)),
        multiple=field.get("type") == "array",
    )


def _choices(field: JsonObject) -> list[tuple[str, Any]]:
    """Return the label and the value of each option of a field; none if it takes a text or a number."""
    if field.get("type") == "boolean":
        return [("yes", True), ("no", False)]
    source = field.get("items") if field.get("type") == "array" else field
    if not isinstance(source, dict):
        return []
    titled = [*objects(source.get("oneOf")), *objects(source.get("anyOf"))]
    if titled:
        return [(str(option.get("title", option.get("const"))), option.get("const")) for option in titled]
    values = _strings(source.get("enum"))
    names = _strings(source.get("enumNames"))
    return list(zip(names if len(names) == len(values) else values, values, strict=True))


def _value(field: JsonObject, question: Question, answer: str) -> Any:
    """Return an answer as the value of its field. Raises InvalidRequest when it is none."""
    if choices := _choices(field):
        if (numbers := chosen(question, answer)) is None:
            raise _no_option(question, answer)
        values = [choices[number - 1][1] for number in numbers]
        return values if question.multiple else values[0]
    kind = field.get("type")
    if kind not in ("integer", "number"):
        return answer
    try:
        return int(answer) if kind == "integer" else float(answer)
    except ValueError:
        raise InvalidRequest(
            f"{answer!r} is not a number, which {field.get('title') or 'this field'} takes; give one"
        ) from None


def _no_option(question: Question, answer: str) -> InvalidRequest:
    labels = ", ".join(label for label, _ in question.options)
    return InvalidRequest(f"{answer!r} is none of the options: {labels}")


def _scopes(params: JsonObject) -> list[str]:
    meta = params.get("_meta")
    return [scope for scope in _strings(meta.get("persist")) if scope in _PERSISTENT] if isinstance(meta, dict) else []


def _schema(params: JsonObject) -> JsonObject:
    schema = params.get("requestedSchema")
    return schema if isinstance(schema, dict) else {}


def _fields(params: JsonObject) -> dict[str, JsonObject]:
    properties = _schema(params).get("properties")
    if not isinstance(properties, dict):
        return {}
    return {str(name): field for name, field in properties.items() if isinstance(field, dict)}


def _strings(raw: object) -> list[str]:
    return [item for item in raw if isinstance(item, str)] if isinstance(raw, list) else []
