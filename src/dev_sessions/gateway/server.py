"""The gateway's HTTP server, on loopback or a unix socket, with a thread for each complete request.

Whoever can use it can run code as its user; `access` says who can.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import select
import socket
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dev_sessions import __version__
from dev_sessions.errors import DevSessionsError, StartFailed
from dev_sessions.gateway import http_codec, log
from dev_sessions.gateway.access import MAX_BODY, AccessPolicy
from dev_sessions.gateway.arrivals import Arrivals
from dev_sessions.gateway.request_head import Refused, RequestHead, parse_head
from dev_sessions.json_validation import Malformed
from dev_sessions.models import JsonObject
from dev_sessions.operations import Operation, Transport
from dev_sessions.system.deadline import Deadline
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
#: For the socket of a body that is late: a timeout of 0 would mean not to wait.
_MIN_TIMEOUT = 0.001
#: Seconds for a body of which some arrives all the time.
_MAX_BODY_TIME = 300.0
_READ_SIZE = _WRITE_SIZE = 65536
#: Milliseconds for a client's system to refuse what it can't deliver to anyone.
_REFUSAL_TIME = 50
_BUSY = Refused(503, "The gateway executes as many requests as it can; nothing was executed: try again later")
#: Requests that are executed at the same time, and file descriptors that each may need.
_MAX_THREADS, _FILES_PER_THREAD = 2000, 4
#: Connections of which no complete head has arrived: far more than there are containers.
_MAX_ARRIVALS = 4096
#: Connections that wait to be accepted (the system may allow fewer).
_BACKLOG = 4096
_MAX_FILES = _MAX_ARRIVALS + _FILES_PER_THREAD * _MAX_THREADS
_BIND_RETRY_INTERVAL = 0.1
#: Seconds for another gateway to bind its socket: more than `_BACKLOG_TIME`.
_LOCK_TIMEOUT = 5.0
#: Seconds within which a gateway that is alive accepts the connections in its backlog.
_BACKLOG_TIME = 1.0


class Server:
    """The HTTP server, listening from its creation on at a port of 127.0.0.1 (0: any free one) or a unix socket's path.

    A waiting client is sent a newline every `heartbeat` seconds; a request must arrive within `read_timeout` seconds,
    and `max_threads` requests are executed at the same time. Raises StartFailed when the address is in use.
    """

    def __init__(
        self,
        address: int | Path,
        transports: TransportFactory,
        policy: AccessPolicy,
        *,
        heartbeat: float = _HEARTBEAT,
        read_timeout: float = _READ_TIMEOUT,
        max_threads: int = _MAX_THREADS,
    ) -> None:
        self.transports = transports
        self.policy = policy
        self.heartbeat = heartbeat
        self.read_timeout = read_timeout
        files = _max_files()
        limit = min(_MAX_ARRIVALS, files // 4)
        self._threads = threading.BoundedSemaphore(min(max_threads, (files - limit) // _FILES_PER_THREAD))
        self._path = address if isinstance(address, Path) else None
        self._socket = _listener(address)
        self._socket_file = _file_id(self._path) if self._path is not None else None
        self._arrivals = Arrivals(self._socket, self._start_thread, timeout=read_timeout, limit=limit)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.server_close()

    @property
    def port(self) -> int:
        """The port that it listens on; 0 for a unix socket."""
        return 0 if self._path is not None else int(self._socket.getsockname()[1])

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown` is called."""
        self._arrivals.run(poll_interval)

    def shutdown(self) -> None:
        """End `serve_forever`; from any thread."""
        self._arrivals.stop()

    def server_close(self) -> None:
        """Stop listening, and remove the unix socket, unless another gateway's is at its path by now."""
        if self._path is not None and _file_id(self._path) == self._socket_file:
            # While it still accepts connections, no other gateway replaces it.
            self._path.unlink(missing_ok=True)
        self._socket.close()
        self._arrivals.close()

    def _start_thread(self, connection: socket.socket, head: bytes, rest: bytes) -> None:
        """Start a thread for a request; if there are too many, respond that nothing was executed."""
        if self._threads.acquire(blocking=False):
            try:
                threading.Thread(target=self._run_thread, args=(connection, head, rest), daemon=True).start()
                return
            except RuntimeError:  # the system has no thread left
                self._threads.release()
        try:
            _Request(self, connection, rest).refuse(_BUSY)
            self._finish(connection)
        except OSError:
            connection.close()

    def _finish(self, connection: socket.socket) -> None:
        """Send no more on a connection, which is closed once the client has read all. Raises OSError."""
        connection.shutdown(socket.SHUT_WR)
        self._arrivals.discard(connection)

    def _run_thread(self, connection: socket.socket, head: bytes, rest: bytes) -> None:
        try:
            connection.settimeout(_WRITE_TIMEOUT)
            _Request(self, connection, rest).serve(head)
            self._finish(connection)
        except Exception as error:
            connection.close()
            if not isinstance(error, OSError):  # a client that has gone is no error
                traceback.print_exc()
        finally:
            self._threads.release()


class _Request:
    """A request on a connection, of which `rest` has been read after the head."""

    def __init__(self, server: Server, connection: socket.socket, rest: bytes) -> None:
        self._server = server
        self._connection = connection
        self._rest = rest

        self._began, self._line, self._subject = time.monotonic(), "-", ""

    def refuse(self, error: Refused) -> None:
        """Respond that it is not executed. Raises OSError when the client has gone."""
        self._reply(error.status, http_codec.encode_error(None, error))

    def serve(self, data: bytes) -> None:
        """Execute it and send the response. Raises OSError when the client has gone."""
        try:
            head = parse_head(data)
            self._line = f"{head.method} {head.path[:80]}"
            length = self._server.policy.admit(head)
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
            self._connection.settimeout(max(min(self._server.read_timeout, deadline.remaining()), _MIN_TIMEOUT))
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
                route, operation, self._server.transports(warnings.append).execute(operation)
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
                heartbeat = time.monotonic() + self._server.heartbeat
                while not done.wait(min(_DISCONNECT_POLL_INTERVAL, self._server.heartbeat)):
                    if self._is_disconnected():
                        raise ConnectionResetError
                    if time.monotonic() >= heartbeat:
                        heartbeat += self._server.heartbeat
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


def _max_files() -> int:
    """Return how many files this process may open, which is raised as far as that is useful."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return limit
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):
        return soft
    return limit


def _listener(address: int | Path) -> socket.socket:
    """Return a listening socket. A unix socket is accessible to its user alone from the moment it exists.

    Raises StartFailed.
    """
    listener = socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX)
    try:
        if isinstance(address, Path):
            with _locked_directory(address):
                _remove_stale_socket(address)
                before = os.umask(0o177)
                try:
                    listener.bind(str(address))
                finally:
                    os.umask(before)
                listener.listen(_BACKLOG)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", address))
            listener.listen(_BACKLOG)
    except StartFailed:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise StartFailed(_bind_error(address, error)) from error
    return listener


@contextlib.contextmanager
def _locked_directory(path: Path) -> Iterator[None]:
    """Hold the lock of the directory of a socket, so that two gateways never replace the same one.

    Raises StartFailed, OSError.
    """
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = Deadline(_LOCK_TIMEOUT)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if deadline.expired:
                    raise StartFailed(f"Another gateway is starting at {path}; try again") from error
                deadline.pause(_BIND_RETRY_INTERVAL)
            except OSError:  # a file system without such locks
                break
        yield
    finally:
        os.close(descriptor)


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket of a dead gateway. Raises StartFailed if one is listening, or if the path is something else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartFailed(f"{path} exists and is not a socket; choose another --socket or move it away")
        # BSD refuses a connection also while the backlog is full.
        deadline = Deadline(0 if sys.platform == "linux" else _BACKLOG_TIME)
        while _refuses(path):
            if deadline.expired:
                path.unlink(missing_ok=True)
                return
            deadline.pause(_BIND_RETRY_INTERVAL)
        raise StartFailed(f"A gateway already listens at {path}; end it or choose another --socket")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartFailed(f"Cannot use {path}: {error}; choose another --socket") from error


def _refuses(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False


def _bind_error(address: int | Path, error: OSError) -> str:
    if isinstance(address, int):
        advice = "choose another with --port or DEV_SESSIONS_GATEWAY_PORT"
        return f"Port {address} cannot be used: {error.strerror}; {advice}"
    return f"Cannot listen at {address}: {error.strerror or error}; choose another --socket"
