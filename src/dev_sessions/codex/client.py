"""A connection to an app-server: the WebSocket pump around the pure parts.

An address has the form that Codex itself uses for `--listen` and `--remote`: `unix://PATH` or `ws://HOST:PORT`. The
errors of sockets and of websockets are turned into ours here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterator
from urllib.parse import urlsplit

from dev_sessions import __version__
from dev_sessions.codex import jsonrpc, protocol
from dev_sessions.codex.jsonrpc import Event, Response, RpcError, ServerRequest
from dev_sessions.codex.websocket import WebSocket
from dev_sessions.errors import NotOurs, ProtocolError
from dev_sessions.models import JsonObject
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.process import port_owners

#: Seconds for a connection with its handshake and `initialize` (measured: 1 to 45 ms).
CONNECT_TIMEOUT = 10.0
#: Seconds for an answer. The slowest that was measured, the whole history of 2000 turns, took 1.6.
CALL_TIMEOUT = 30.0
#: Seconds until a server that was asked too much at once is asked again.
_OVERLOADED = 0.05
_UNIX = "unix://"
#: What tells that nobody listens, or something else.
_NO_APP_SERVER = (ConnectionError, FileNotFoundError, NotADirectoryError)


class NotListening(ProtocolError):
    """Nobody listens at an address, or nobody who speaks this protocol."""


class ConnectionLost(ProtocolError):
    """The app-server closed the connection, or ended."""


class NoAnswer(ProtocolError):
    """The app-server is there, but silent."""


class CallRefused(ProtocolError):
    """The app-server answered a call with an error. `reason` is the line without what to do next."""

    def __init__(self, method: str, error: RpcError) -> None:
        self.reason = f"Codex refused {method}: {' '.join(error.message.split())}"
        self.error = error
        super().__init__(f"{self.reason}; `dev-sessions doctor` looks at Codex; its log is in ~/.dev-sessions/codex")


class Client:
    """An initialised connection. `version` and `codex_home` are those of the app-server."""

    def __init__(self, websocket: WebSocket, server: str) -> None:
        self._websocket = websocket
        self._server = server
        self._calls = 0
        self._events: deque[Event] = deque()
        greeting = self.call("initialize", protocol.initialize(__version__), CONNECT_TIMEOUT)
        self.version = protocol.server_version(greeting)
        self.codex_home = greeting.get("codexHome")

    def call(self, method: str, params: JsonObject, timeout: float = CALL_TIMEOUT) -> JsonObject:
        """Ask something and wait up to `timeout` seconds for the result; what happens meanwhile is kept for
        `next_event`. CallRefused, ConnectionLost, NoAnswer, or ProtocolError for an answer that is no JSON-RPC."""
        deadline = Deadline(timeout)
        try:
            self._ask(method, params)
            while True:
                match self._receive(deadline):
                    case Response(number, result, error):
                        if number != self._calls:
                            continue  # of an older call, which was given up
                        if error is not None and protocol.is_overloaded(error) and not deadline.expired:
                            deadline.pause(_OVERLOADED)
                            self._ask(method, params)
                            continue
                        if error is not None:
                            raise CallRefused(method, error)
                        return result
                    case event:
                        self._events.append(event)
                        if deadline.expired:  # one who never stops talking
                            raise TimeoutError
        except TimeoutError as error:
            raise NoAnswer(
                f"{self._server} did not answer {method} within {timeout:g} s; try again, or end it if it hangs"
            ) from error
        except ConnectionError as error:
            raise ConnectionLost(f"{self._server} closed the connection during {method}; try again") from error

    def answer(self, request: ServerRequest, result: JsonObject) -> None:
        """Answer something that the app-server asked; it does not say whether it took it. ConnectionLost, NoAnswer."""
        try:
            self._websocket.send(jsonrpc.response(request.id, result))
        except TimeoutError as error:
            raise NoAnswer(f"{self._server} does not read; end it if it hangs, and try again") from error
        except ConnectionError as error:
            raise ConnectionLost(f"{self._server} closed the connection; try again") from error

    def next_event(self, deadline: Deadline) -> Event | None:
        """The next thing that happened or was asked; None when nothing was before the deadline. ConnectionLost."""
        if self._events:
            return self._events.popleft()
        try:
            while True:
                frame = self._receive(deadline)
                if not isinstance(frame, Response):
                    return frame
        except TimeoutError:
            return None
        except ConnectionError as error:
            raise ConnectionLost(f"{self._server} closed the connection; try again") from error

    def forget_events(self) -> None:
        """Drop what happened so far."""
        self._events.clear()

    def _ask(self, method: str, params: JsonObject) -> None:
        self._calls += 1
        self._websocket.send(jsonrpc.request(self._calls, method, params))

    def _receive(self, deadline: Deadline) -> jsonrpc.Frame:
        text = self._websocket.receive(deadline)
        if isinstance(text, bytes):
            raise ProtocolError(f"{self._server} sent bytes where text belongs; try another version of Codex")
        return jsonrpc.parse(text)


@contextlib.contextmanager
def connect(address: str, token: str | None = None, server: str = "Codex's app-server") -> Iterator[Client]:
    """Connect and initialise; `server` is what errors call it. NotListening, NoAnswer, ConnectionLost."""
    uri = "ws://localhost/" if address.startswith(_UNIX) else address
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(open_socket(address))
            websocket = WebSocket(opened, uri, headers, CONNECT_TIMEOUT)
        except (TimeoutError, BlockingIOError) as error:
            raise NoAnswer(f"{server} does not answer at {address}; end it if it hangs, and try again") from error
        except _NO_APP_SERVER as error:
            raise NotListening(f"{server} is not listening at {address}: {error}") from error
        except OSError as error:
            if isinstance(error, PermissionError):
                pid_namespace.require_outlasting(f"{server} can't be reached at {address}")
            raise ProtocolError(f"Cannot connect to {server} at {address}: {error}; try again") from error
        stack.callback(websocket.close)
        yield Client(websocket, server)


def open_socket(address: str) -> socket.socket:
    """A connected socket. OSError when nobody listens; BlockingIOError or TimeoutError when nobody accepts; NotOurs
    when another user listens there."""
    target = urlsplit(address)
    local = address.startswith(_UNIX)
    opened = socket.socket(socket.AF_UNIX if local else socket.AF_INET)
    try:
        # The kernel's limit: with Python's, too many that wait for the server to accept would be an error at once.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(CONNECT_TIMEOUT), 0))
        if local:
            opened.connect(address.removeprefix(_UNIX))
            _require_owned(opened, address)
        else:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.connect((target.hostname or "", target.port or 0))
            _require_our_port(target.port or 0, address)
    except BaseException:
        opened.close()
        raise
    return opened


def _require_owned(opened: socket.socket, address: str) -> None:
    """NotOurs when another user listens there: whose the socket's file is says little where a link leads to it."""
    # Codex 0.169 makes its socket a link into /tmp/codex-daemon-UID.
    if sys.platform == "darwin":
        # LOCAL_PEERCRED: a version, then the user.
        _, user = struct.unpack("2I", opened.getsockopt(0, 1, 76)[:8])
    else:
        _, user, _ = struct.unpack("i2I", opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user != os.geteuid():
        raise NotOurs(f"{_served_by(user, address)}: move the socket away if you did not put it there")


def _require_our_port(port: int, address: str) -> None:
    """NotOurs when another user listens on a port of this machine, who may have got it after our server ended.

    Asked when connected, and before anything is sent.
    """
    owners = port_owners(port)
    if not owners:
        raise NotOurs(f"It cannot be told who listens at {address}, so it is not used; try again")
    if others := owners - {os.geteuid()}:
        raise NotOurs(f"{_served_by(others.pop(), address)}; end what is left of Codex's app-server, and try again")


def _served_by(user: int, address: str) -> str:
    return f"{address} is served by user {user}, not by you (user {os.geteuid()}), so it is not used"
