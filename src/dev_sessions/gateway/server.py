"""The gateway's HTTP server, on loopback or a unix socket, with a thread for each request.

Whoever can use it can run code as its user; `access` says who can.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import socket
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dev_sessions import __version__
from dev_sessions.errors import DevSessionsError, StartFailed
from dev_sessions.gateway import http_codec
from dev_sessions.gateway.access import AccessPolicy, Refused
from dev_sessions.json_types import Malformed
from dev_sessions.models import JsonObject
from dev_sessions.operations import Operation, Transport
from dev_sessions.system.threads import background

#: Creates the transport for a request; the argument receives its warnings.
TransportFactory = Callable[[Callable[[str], None]], Transport]

#: Seconds between two newlines that keep the connection of a waiting client open.
_HEARTBEAT = 30.0
#: Seconds between two checks whether a waiting client has disconnected.
_DISCONNECT_POLL_INTERVAL = 1.0
#: Seconds for a complete request to arrive, and for a client to accept what is written.
_READ_TIMEOUT, _WRITE_TIMEOUT = 20.0, 60.0
_MAX_CONNECTIONS = 2000


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The HTTP server, listening from its creation on at a port of 127.0.0.1 (0: any free one) or a unix socket's path.

    A waiting client is sent a newline every `heartbeat` seconds; a request must arrive within `read_timeout` seconds.
    Raises StartFailed when the address is in use.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(
        self,
        address: int | Path,
        transports: TransportFactory,
        policy: AccessPolicy,
        *,
        heartbeat: float = _HEARTBEAT,
        read_timeout: float = _READ_TIMEOUT,
    ) -> None:
        self.transports = transports
        self.policy = policy
        self.heartbeat = heartbeat
        self.read_timeout = read_timeout
        #: Connections whose request is not complete, with their deadlines.
        self.arriving: dict[socket.socket, float] = {}
        self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._path = address if isinstance(address, Path) else None
        self._is_bound = False
        self.address_family = socket.AF_INET if self._path is None else socket.AF_UNIX
        _allow_many_files()
        if self._path is not None:
            _remove_stale_socket(self._path)
        try:
            super().__init__(("127.0.0.1", address) if isinstance(address, int) else str(address), _Handler)  # type: ignore[arg-type] # a unix socket's address is its path
        except OSError as error:
            raise StartFailed(_bind_error(address, error)) from error

    @property
    def port(self) -> int:
        """The port that it listens on; 0 for a unix socket."""
        return 0 if self._path is not None else int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind; a unix socket is accessible to its user alone from the moment it exists."""
        before = os.umask(0o177)
        try:
            super().server_bind()
            self._is_bound = True
        finally:
            os.umask(before)

    def server_close(self) -> None:
        """Stop listening, and remove the unix socket."""
        super().server_close()
        if self._path is not None and self._is_bound:
            self._path.unlink(missing_ok=True)

    def service_actions(self) -> None:
        """Close connections whose request is late; called twice a second."""
        now = time.monotonic()
        for connection, deadline in list(self.arriving.items()):
            if deadline < now:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback for a bug of ours; clients that go away are no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"dev-sessions/{__version__}"
    sys_version = ""
    timeout = _WRITE_TIMEOUT
    wbufsize = -1  # head and body are sent together
    server: Server

    def handle_one_request(self) -> None:
        self.server.arriving[self.connection] = time.monotonic() + self.server.read_timeout
        try:
            super().handle_one_request()
        finally:
            self.server.arriving.pop(self.connection, None)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - http.server's signature
        """Send what http.server itself refuses as an error of this protocol."""
        self.close_connection = True
        self._reply(code, http_codec.encode_error(None, Malformed(message or "bad request")), time.monotonic(), "")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        """Print nothing: `_log` does that."""

    def _serve(self) -> None:
        began = time.monotonic()
        target = urlsplit(self.path)
        subject = ""
        try:
            length = self.server.policy.admit(self.command, target.path, dict(self.headers.items()))
            given = self._arguments(target.query, length)
            self.server.arriving.pop(self.connection, None)
            if (self.command, target.path) == ("GET", "/health"):
                self._reply(200, {"ok": True, "status": "healthy", "version": __version__}, began, subject)
                return
            route = http_codec.find_route(self.command, target.path, given)
            operation = http_codec.decode_operation(route, given)
            subject = getattr(operation, "session_id", None) or ""
        except Refused as error:
            self.close_connection = True
            self._reply(error.status, http_codec.encode_error(None, error), began, subject)
            self._discard()
        except http_codec.NoSuchRoute as error:
            self._reply(404, http_codec.encode_error(None, error), began, subject)
        except (Malformed, DevSessionsError) as error:
            self._reply(400, http_codec.encode_error(None, error), began, subject)
        else:
            if route.is_streamed:
                self._stream(route, operation, began, subject)
            else:
                body = self._execute(route, operation)
                self._reply(200 if body["ok"] else 500, body, began, subject)

    do_GET = do_POST = _serve

    def _arguments(self, query: str, length: int) -> Mapping[str, Any]:
        if self.command == "GET":
            return dict(parse_qsl(query, keep_blank_values=True))
        data = self.rfile.read(length)
        if len(data) < length:
            raise Refused(400, "The body ended early")
        try:
            body = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"The body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Malformed("The body is not a JSON object")
        return _with_message(body) if urlsplit(self.path).path == "/send" else body

    def _execute(self, route: http_codec.Route, operation: Operation[Any]) -> JsonObject:
        """Execute an operation and return the body of its response, whatever happens."""
        warnings: list[str] = []
        try:
            body = http_codec.encode_result(
                route, operation, self.server.transports(warnings.append).execute(operation)
            )
        except (DevSessionsError, OSError) as error:
            body = http_codec.encode_error(operation, error)
        except Exception as error:  # a bug must be reported to the client, too
            self.server.handle_error(self.request, self.client_address)
            text = "; ".join([f"The gateway failed: {type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
            body = http_codec.encode_error(operation, DevSessionsError(text))
        return {**body, **({"warnings": warnings} if warnings else {})}

    def _stream(self, route: http_codec.Route, operation: Operation[Any], began: float, subject: str) -> None:
        """Send status 200 at once, then newlines, then the body. A client that disconnects cancels its operation."""
        self.close_connection = True
        done = threading.Event()
        body: JsonObject = {}

        def work() -> None:
            body.update(self._execute(route, operation))
            done.set()

        with background([work], over=threading.Event(), timeout=0):
            try:
                self._start(200, None)
                self.wfile.flush()
                heartbeat = time.monotonic() + self.server.heartbeat
                while not done.wait(min(_DISCONNECT_POLL_INTERVAL, self.server.heartbeat)):
                    if self._is_disconnected():
                        raise ConnectionResetError
                    if time.monotonic() >= heartbeat:
                        heartbeat += self.server.heartbeat
                        self.wfile.write(b"\n")
                        self.wfile.flush()
                self.wfile.write(_bytes(body))
                self.wfile.flush()
                self._log(200 if body["ok"] else "200 failed", began, subject)
            except OSError:
                self._log("gone", began, subject)

    def _is_disconnected(self) -> bool:
        # select.select accepts no descriptor above 1023.
        readable = select.poll()
        readable.register(self.connection, select.POLLIN)
        return bool(readable.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)

    def _discard(self) -> None:
        """Read what the client still sends: closing the connection before that would lose the response."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(1)
        deadline = time.monotonic() + self.server.read_timeout
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and self.connection.recv(65536):
                pass

    def _reply(self, status: int, body: JsonObject, began: float, subject: str) -> None:
        data = _bytes(body)
        self._start(status, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)
        self._log(status, began, subject)

    def _start(self, status: int, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Content-Type-Options", "nosniff")
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _log(self, status: int | str, began: float, subject: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S")
        what = f"{self.command or '-'} {urlsplit(getattr(self, 'path', '-')).path[:80]}"
        line = f"{moment} {what} {subject[:80]} {status} {(time.monotonic() - began) * 1000:.0f}ms"
        try:
            print(line.encode("unicode_escape").decode(), flush=True)
        except OSError:
            # The log's reader has closed it; discard everything from here on, at exit too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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
        return {"sessionId": body.get("sessionId"), "message": Path(str(file)).read_text(encoding="utf-8")}
    except (OSError, ValueError) as error:
        raise Malformed(f"file: Cannot read {file}: {error}") from error


def _bytes(body: JsonObject) -> bytes:
    # A lone surrogate, which a transcript may hold, is valid in JSON but not in UTF-8.
    return json.dumps(body).encode()


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * _MAX_CONNECTIONS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket of a dead gateway. Raises StartFailed if one is listening, or if the path is something else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartFailed(f"{path} exists and is not a socket; choose another --socket or move it away")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
        raise StartFailed(f"A gateway already listens at {path}; end it or choose another --socket")
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StartFailed(f"Cannot use {path}: {error}; choose another --socket") from error


def _bind_error(address: int | Path, error: OSError) -> str:
    if isinstance(address, int):
        advice = "choose another with --port or DEV_SESSIONS_GATEWAY_PORT"
        return f"Port {address} cannot be used: {error.strerror}; {advice}"
    return f"Cannot listen at {address}: {error.strerror or error}; choose another --socket"
