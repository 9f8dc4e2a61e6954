"""JSON-RPC as Codex's app-server speaks it: a request to a frame's text, a frame's text to what it means. Pure.

Its own frames leave out `"jsonrpc": "2.0"`. An unknown method comes back as -32600 (invalid request), not -32601.
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import TypeAlias

from dev_sessions.errors import ProtocolError
from dev_sessions.models import JsonObject
from dev_sessions.system.fast_dataclass import fast_dataclass

_EXCERPT = 120


@fast_dataclass(frozen=True)
class RpcError:
    """Why a request was refused; `data` is empty when nothing came with it."""

    code: int
    message: str
    data: JsonObject = field(default_factory=dict)


@fast_dataclass(frozen=True)
class Response:
    """The answer to request `id`: its result, or an error."""

    id: int
    result: JsonObject = field(default_factory=dict)
    error: RpcError | None = None


@fast_dataclass(frozen=True)
class Notification:
    """Something that happened."""

    method: str
    params: JsonObject


@fast_dataclass(frozen=True)
class ServerRequest:
    """Something that the server asks its clients; any of them may answer, by this id."""

    id: int | str
    method: str
    params: JsonObject


#: What comes without having been asked for.
Event: TypeAlias = Notification | ServerRequest
Frame: TypeAlias = Response | Event


def request(number: int, method: str, params: JsonObject) -> str:
    """The text of a request's frame."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, ensure_ascii=False)


def response(number: int | str, result: JsonObject) -> str:
    """The text of the frame that answers a server's request."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}, ensure_ascii=False)


def parse(text: str) -> Frame:
    """What a frame means. ProtocolError, with how the frame begins, when it means nothing."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _garbage(text) from error
    match frame:
        case {"method": str(method), "id": int() | str() as number}:
            return ServerRequest(number, method, _object(frame.get("params"), text))
        case {"method": str(method)}:
            return Notification(method, _object(frame.get("params"), text))
        case {"id": int(number), "error": {"code": int(code), "message": str(message), **rest}}:
            data = rest.get("data")
            return Response(number, error=RpcError(code, message, data if isinstance(data, dict) else {}))
        case {"id": int(number), "result": result}:
            return Response(number, _object(result, text))
    raise _garbage(text)


def _object(value: object, text: str) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _garbage(text)
    return value


def _garbage(text: str) -> ProtocolError:
    begin = text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"
    return ProtocolError(f"Codex's app-server sent a frame that can't be understood: {begin!r}; try another Codex")
