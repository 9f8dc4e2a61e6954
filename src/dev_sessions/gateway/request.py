"""Serve one request of the gateway: read its body, execute its operation and respond."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dev_sessions import __version__
from dev_sessions.errors import DevSessionsError
from dev_sessions.gateway import http_codec, log
from dev_sessions.gateway.access import MAX_BODY, AccessPolicy
from dev_sessions.gateway.request_head import Refused, RequestHead, parse_head
from dev_sessions.json_validation import Malformed
from dev_sessions.models import JsonObject
from dev_sessions.operations import Operation, Transport
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.foreign_files import read_regular
from dev_sessions.system.threads import background

#: Creates the transport for a request; the argument receives its warnings.
TransportFactory = Callable[[Callable[[str], None]], Transport]

#: Seconds between two checks whether a waiting client has disconnected.
_DISCONNECT_POLL_INTERVAL = 1.0
#: Seconds for a client to accept what is written.
_WRITE_TIMEOUT = 60.0
#: For the socket of a body that is late: a timeout of 0 would mean not to wait.
_MIN_TIMEOUT = 0.001
#: Seconds for a body of which some arrives all the time.
_MAX_BODY_TIME = 300.0
_READ_SIZE = _WRITE_SIZE = 65536
#: Milliseconds for a client's system to refuse what it can't deliver to anyone.
_REFUSAL_TIME = 50


@fast_dataclass(frozen=True)
class RequestContext:
    """Settings that all requests of a gateway share.

    A waiting client is sent a newline every `heartbeat` seconds; a body must arrive within `read_timeout` seconds.
    """

    transports: TransportFactory
    policy: AccessPolicy
    heartbeat: float
    read_timeout: float


class Request:
    """A request on a connection, of which `rest` has been read after the head."""

    def __init__(self, context: RequestContext, connection: socket.socket, rest: bytes) -> None:
        self._context = context
        self._connection = connection
        self._rest = rest
        self._began, self._line, self._subject = time.monotonic(), "-", ""

    def refuse(self, error: Refused) -> None:
        """Respond that it is not executed. Raises OSError when the client has gone, or the connection takes no more."""
        self._reply(error.status, http_codec.encode_error(None, error))

    def serve(self, data: bytes) -> None:
        """Execute it and send the response. Raises OSError when the client has gone."""
        self._connection.settimeout(_WRITE_TIMEOUT)
        try:
            head = parse_head(data)
            self._line = f"{head.method} {head.path[:80]}"
            length = self._context.policy.admit(head)
            if length and head.headers.get("expect", "").lower() == "100-continue":
                self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            given = self._arguments(head, length)
            if (head.method, head.path) == ("GET", "/health"):
                self._reply(200, {"ok": True, "status": "healthy", "version": __version__})
                return
            route = http_codec.find_route(head.method, head.path, given)
            operation = http_codec.decode_operation(route, given)
            self._subject = getattr(operation, "session_id", None) or ""
        except Refused as error:
            self.refuse(error)
        except http_codec.NoSuchRoute as error:
            self._reply(404, http_codec.encode_error(None, error))
        except (Malformed, DevSessionsError) as error:
            self._reply(400, http_codec.encode_error(None, error))
        else:
            if route.is_streamed:
                self._stream(route, operation)
            else:
                body = self._execute(route, operation)
                self._reply(200 if body["ok"] else 500, body)

    def _arguments(self, head: RequestHead, length: int) -> Mapping[str, Any]:
        if head.method == "GET":
            try:
                return _without_duplicates(parse_qsl(head.query, keep_blank_values=True, errors="strict"))
            except UnicodeDecodeError as error:
                raise Malformed(f"The query is not UTF-8: {error}") from error
        data = self._read_body(length)
        try:
            body = json.loads(data.decode(), object_pairs_hook=_without_duplicates)
        except Malformed:
            raise
        except (ValueError, RecursionError) as error:
            raise Malformed(f"The body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Malformed("The body is not a JSON object")
        return _with_message(body) if head.path == "/send" else body

    def _read_body(self, length: int) -> bytes:
        data = bytearray(self._rest[:length])
        deadline = Deadline(_MAX_BODY_TIME)
        while len(data) < length:
            self._connection.settimeout(max(min(self._context.read_timeout, deadline.remaining()), _MIN_TIMEOUT))
            try:
                part = self._connection.recv(min(length - len(data), _READ_SIZE))
            except TimeoutError as error:
                text = f"{len(data)} of the {length} bytes of the body have arrived, and no more in time"
                raise Refused(408, f"{text}; nothing was executed") from error
            if not part:
                raise Refused(400, "The body ended early")
            data += part
        self._rest = self._rest[length:]
        self._connection.settimeout(_WRITE_TIMEOUT)
        return bytes(data)

    def _execute(self, route: http_codec.Route, operation: Operation[Any]) -> JsonObject:
        """Execute an operation and return the body of its response, whatever happens."""
        warnings: list[str] = []
        try:
            body = http_codec.encode_result(
                route, operation, self._context.transports(warnings.append).execute(operation)
            )
        except (DevSessionsError, OSError) as error:
            body = http_codec.encode_error(operation, error)
        except Exception as error:  # a bug must be reported to the client, too
            traceback.print_exc()
            text = "; ".join([f"The gateway failed: {type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
            body = http_codec.encode_error(operation, DevSessionsError(text))
        return {**body, **({"warnings": warnings} if warnings else {})}

    def _stream(self, route: http_codec.Route, operation: Operation[Any]) -> None:
        """Send status 200 at once, then newlines, then the body. A client that disconnects cancels its operation."""
        done = threading.Event()
        body: JsonObject = {}

        def work() -> None:
            body.update(self._execute(route, operation))
            done.set()

        with background([work], over=threading.Event(), timeout=0):
            try:
                self._connection.sendall(_head(200, None))
                heartbeat = time.monotonic() + self._context.heartbeat
                while not done.wait(min(_DISCONNECT_POLL_INTERVAL, self._context.heartbeat)):
                    if self._is_disconnected():
                        raise ConnectionResetError
                    if time.monotonic() >= heartbeat:
                        heartbeat += self._context.heartbeat
                        self._connection.sendall(b"\n")
                self._send(_bytes(body))
                self._log(200 if body["ok"] else "200 failed")
            except OSError:
                self._log("gone")

    def _is_disconnected(self) -> bool:
        """Return whether the client has gone. One that has only ended its own side still gets the response."""
        poller = select.poll()  # select.select accepts no descriptor above 1023
        poller.register(self._connection, select.POLLIN)
        while poller.poll(0):
            if self._connection.recv(_READ_SIZE):
                continue  # what follows a request is discarded
            # Only a client that has gone refuses what is sent.
            self._connection.sendall(b"\n")
            poller.register(self._connection, select.POLLHUP)
            return bool(poller.poll(_REFUSAL_TIME))
        return False

    def _reply(self, status: int, body: JsonObject) -> None:
        data = _bytes(body)
        self._log(status)
        try:
            self._send(_head(status, len(data)) + data)
        except OSError:
            self._log("gone")
            raise

    def _send(self, data: bytes) -> None:
        """Send data to a client that reads some of it in each `_WRITE_TIMEOUT`. Raises OSError."""
        for start in range(0, len(data), _WRITE_SIZE):
            self._connection.sendall(data[start : start + _WRITE_SIZE])

    def _log(self, status: int | str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S")
        elapsed = (time.monotonic() - self._began) * 1000
        log.write(f"{moment} {self._line} {self._subject[:80]} {status} {elapsed:.0f}ms")


def _head(status: int, length: int | None) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Server: dev-sessions/{__version__}",
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        *([] if length is None else [f"Content-Length: {length}"]),
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def _with_message(body: JsonObject) -> JsonObject:
    """Return the body of a `send` with its message, which version 0.4 may send as a path on this host.

    Raises Malformed.
    """
    file = body.get("file")
    if file is None:
        return body
    if body.get("message") is not None:
        raise Malformed("file: Provide either <message> or --file, not both")
    try:
        message = read_regular(Path(str(file)), MAX_BODY).decode()
        return {"sessionId": body.get("sessionId"), "message": message}
    except (OSError, ValueError) as error:
        raise Malformed(f"file: Cannot read {file}: {error}") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    """Return pairs of names and values as an object. Raises Malformed when a name occurs twice."""
    found: JsonObject = {}
    for name, value in pairs:
        if name in found:
            raise Malformed(f"{name[:80]}: given twice")
        found[name] = value
    return found


def _bytes(body: JsonObject) -> bytes:
    # A lone surrogate, which a transcript may hold, is valid in JSON but not in UTF-8.
    return json.dumps(body).encode()
