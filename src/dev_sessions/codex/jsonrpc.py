"""JSON-RPC as Codex's app-server speaks it: frames are written and parsed. Pure.

Its own frames leave out `"jsonrpc": "2.0"`. The error code of an unknown method is -32600 (invalid request), not
-32601.
"""

from __future__ import annotations

import json
from typing import TypeAlias

from dev_sessions.errors import ProtocolError
from dev_sessions.models import JsonObject
from dev_sessions.system.fast_dataclass import fast_dataclass, field

_EXCERPT = 120


@fast_dataclass(frozen=True)
class RpcError:
    """The error of a response. Its code is not read: most errors have the same one."""

    message: str


@fast_dataclass(frozen=True)
class Response:
    """The response to request `id`: its result, or an error."""

    id: int
    result: JsonObject = field(default_factory=dict)
    error: RpcError | None = None


@fast_dataclass(frozen=True)
class Notification:
    """A notification of the server, such as `turn/started`."""

    method: str
    params: JsonObject


@fast_dataclass(frozen=True)
class ServerRequest:
    """A request of the server to its clients; any of them may respond, with this id."""

    id: int | str
    method: str
    params: JsonObject


#: What the server sends unasked.
Event: TypeAlias = Notification | ServerRequest
Frame: TypeAlias = Response | Event


def request(number: int, method: str, params: JsonObject) -> str:
    """Return the frame of a request."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, ensure_ascii=False)


def response(number: int | str, result: JsonObject) -> str:
    """Return the frame that responds to a request of the server."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}, ensure_ascii=False)


def parse(text: str) -> Frame:
    """Parse a frame, such as `{"id": 1, "result": {"thread": {…}}}`. Raises ProtocolError for anything else."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(text) from error
    match frame:
        case {"method": str(method), "id": int() | str() as number}:
            return ServerRequest(number, method, _object(frame.get("params"), text))
        case {"method": str(method)}:
            return Notification(method, _object(frame.get("params"), text))
        case {"id": int(number), "error": {"code": int(), "message": str(message)}}:
            return Response(number, error=RpcError(message))
        case {"id": int(number), "result": result}:
            return Response(number, _object(result, text))
    raise _invalid(text)


def _object(value: object, text: str) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(text)
    return value


def _invalid(text: str) -> ProtocolError:
    excerpt = text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"
    return ProtocolError(
        f"Codex's app-server sent a frame that is not valid: {excerpt!r}; try another version of Codex"
    )
