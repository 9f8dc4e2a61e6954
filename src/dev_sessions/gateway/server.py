"""The gateway's HTTP server, on loopback or a unix socket, with a thread for each request.

Whoever can use it can run code as its user; `access` says who can.
"""

from __future__ import annotations

import contextlib
import errno
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
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dev_sessions import __version__
from dev_sessions.errors import DevSessionsError, StartFailed
from dev_sessions.gateway import http_codec, log
from dev_sessions.gateway.access import MAX_BODY, AccessPolicy
from dev_sessions.gateway.request_head import MAX_HEAD, Refused, RequestHead, parse_head
from dev_sessions.json_validation import Malformed
from dev_sessions.models import JsonObject
from dev_sessions.operations import Operation, Transport
from dev_sessions.system.foreign_files import read_regular
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
#: Connections of which no complete request has arrived: far more than there are containers.
_MAX_ARRIVALS = 256
#: File descriptors that a connection and its operation may need.
_FILES_PER_CONNECTION = 4
_ACCEPT_RETRY_INTERVAL = 0.1


class _Arrivals:
    """The connections whose next request is not complete, oldest first.

    They end `timeout` seconds after they began to wait for it, and the oldest when there are more than `limit`. So
    clients that send nothing cannot keep out others, whose requests take milliseconds to arrive.
    """

    def __init__(self, timeout: float, limit: int) -> None:
        self._timeout = timeout
        self._limit = limit
        self._deadlines: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._deadlines.pop(connection, None)
            self._deadlines[connection] = time.monotonic() + self._timeout
            excess = len(self._deadlines) - self._limit
        self.end_oldest(excess)

    def remove(self, connection: socket.socket) -> None:
        with self._lock:
            self._deadlines.pop(connection, None)

    def end_oldest(self, count: int) -> None:
        with self._lock:
            for connection in list(self._deadlines)[: max(count, 0)]:
                self._end(connection)

    def end_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            for connection, deadline in list(self._deadlines.items()):
                if deadline >= now:
                    break
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self._deadlines[connection]
        # Its thread sees the end of the stream, and closes it.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


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
        limit = min(_MAX_CONNECTIONS, _max_files() // _FILES_PER_CONNECTION)
        self.arrivals = _Arrivals(read_timeout, min(_MAX_ARRIVALS, limit // 2))
        self._connections = threading.BoundedSemaphore(limit)
        self._path = address if isinstance(address, Path) else None
        self._is_bound = False
        self.address_family = socket.AF_INET if self._path is None else socket.AF_UNIX
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
        self.arrivals.end_late()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. Without a free file descriptor for it, it stays in the queue for a moment."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.arrivals.end_oldest(_FILES_PER_CONNECTION)
                time.sleep(_ACCEPT_RETRY_INTERVAL)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        self.arrivals.add(request)
        if self._connections.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # the system has no thread left
                self._connections.release()
                self.shutdown_request(request)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.arrivals.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback for a bug of ours; clients that go away are no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(socketserver.StreamRequestHandler):
    timeout = _WRITE_TIMEOUT
    wbufsize = -1  # head and body are sent together
    server: Server

    def handle(self) -> None:
        self._closes = False
        while not self._closes:
            self.server.arrivals.add(self.connection)
            if (head := self._read_head()) is None:
                return
            self._serve(head)

    def _read_head(self) -> bytes | None:
        """Return the head of the next request, or what came in place of one; None when the client has disconnected."""
        head = bytearray()
        while not head.endswith(b"\r\n\r\n") and len(head) <= MAX_HEAD:
            line = self.rfile.readline(MAX_HEAD + 1)
            head += line
            if not line.endswith(b"\r\n"):
                break
        return bytes(head) or None

    def _serve(self, data: bytes) -> None:
        self._began, self._line, self._subject = time.monotonic(), "-", ""
        try:
            head = parse_head(data)
            self._line, self._closes = f"{head.method} {head.path[:80]}", head.closes
            length = self.server.policy.admit(head)
            if length and head.headers.get("expect", "").lower() == "100-continue":
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.wfile.flush()
            given = self._arguments(head, length)
            self.server.arrivals.remove(self.connection)
            if (head.method, head.path) == ("GET", "/health"):
                self._reply(200, {"ok": True, "status": "healthy", "version": __version__})
                return
            route = http_codec.find_route(head.method, head.path, given)
            operation = http_codec.decode_operation(route, given)
            self._subject = getattr(operation, "session_id", None) or ""
        except Refused as error:
            self._closes = True
            self._reply(error.status, http_codec.encode_error(None, error))
            self._discard()
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
        data = self.rfile.read(length)
        if len(data) < length:
            raise Refused(400, "The body ended early")
        try:
            body = json.loads(data.decode(), object_pairs_hook=_without_duplicates)
        except Malformed:
            raise
        except (ValueError, RecursionError) as error:
            raise Malformed(f"The body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Malformed("The body is not a JSON object")
        return _with_message(body) if head.path == "/send" else body

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

    def _stream(self, route: http_codec.Route, operation: Operation[Any]) -> None:
        """Send status 200 at once, then newlines, then the body. A client that disconnects cancels its operation."""
        self._closes = True
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
                self._log(200 if body["ok"] else "200 failed")
            except OSError:
                self._log("gone")

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

    def _reply(self, status: int, body: JsonObject) -> None:
        data = _bytes(body)
        self._start(status, len(data))
        self.wfile.write(data)
        self._log(status)
        self.wfile.flush()

    def _start(self, status: int, length: int | None) -> None:
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"Server: dev-sessions/{__version__}",
            "Content-Type: application/json",
            "X-Content-Type-Options: nosniff",
            *([] if length is None else [f"Content-Length: {length}"]),
            *(["Connection: close"] if self._closes else []),
        ]
        self.wfile.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    def _log(self, status: int | str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S")
        elapsed = (time.monotonic() - self._began) * 1000
        log.write(f"{moment} {self._line} {self._subject[:80]} {status} {elapsed:.0f}ms")


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


def _max_files() -> int:
    """Return how many files this process may open, which is raised as far as that is useful."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_PER_CONNECTION * _MAX_CONNECTIONS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return limit
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):
        return soft
    return limit


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
