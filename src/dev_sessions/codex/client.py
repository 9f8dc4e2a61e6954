"""A client of the app-server: JSON-RPC over a WebSocket, on a unix socket or a TCP port.

An address has the form that Codex itself uses for `--listen` and `--remote`: `unix://PATH` or `ws://HOST:PORT`. The
errors of sockets and of websockets are translated here and nowhere else.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from urllib.parse import urlsplit

from dev_sessions import __version__
from dev_sessions.codex import jsonrpc, protocol
from dev_sessions.codex.jsonrpc import Event, Response, RpcError, ServerRequest
from dev_sessions.codex.websocket import WebSocket
from dev_sessions.errors import NotOwned, ProgramMissing, ProtocolError
from dev_sessions.models import JsonObject
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.listeners import port_owners
from dev_sessions.system.unix_address import socket_path
from dev_sessions.system.version import version_text

OLDEST_SUPPORTED = (0, 150, 0)
#: Seconds for a connection with its handshake and `initialize` (measured: 1 to 45 ms).
CONNECT_TIMEOUT = 10.0
#: Seconds for a response. The slowest that was measured, the whole history of 2000 turns, took 1.6.
CALL_TIMEOUT = 30.0
#: Requests that are sent before their responses are read: the server stops reading when nobody reads what it sends.
_MAX_UNANSWERED = 50
#: Seconds before a request that an overloaded server refused is repeated.
_OVERLOAD_PAUSE = 0.05
#: Errors of a connection attempt where no app-server listens.
_NO_APP_SERVER = (ConnectionError, FileNotFoundError, NotADirectoryError)
#: Seconds after the deadline of a wait for the last look at its state.
_GRACE = 2.0
_limit: ContextVar[Deadline | None] = ContextVar("_limit", default=None)


class NotListening(ProtocolError):
    """Raised when nothing listens at an address, or something that does not speak this protocol."""


class ConnectionLost(ProtocolError):
    """Raised when the app-server closed the connection, or ended."""


class NoAnswer(ProtocolError):
    """Raised when the app-server accepts connections but does not respond."""


class CallRefused(ProtocolError):
    """Raised when the app-server responded to a call with an error. `words` are the message without the advice."""

    def __init__(self, method: str, error: RpcError) -> None:
        self.words = f"Codex refused {method}: {' '.join(error.message.split())}"
        self.error = error
        super().__init__(f"{self.words}; check Codex with: dev-sessions doctor (its log is in ~/.dev-sessions/codex)")


def server_name(pid: int) -> str:
    """Return what errors call an app-server; `pid` 0: unknown."""
    return f"Codex's app-server (process {pid})" if pid else "Codex's app-server"


def require_supported_server(server: Client, pid: int) -> None:
    """Raise ProgramMissing for a running app-server of a Codex that is too old; `pid` 0: unknown."""
    if server.version and server.version < OLDEST_SUPPORTED:
        end = f"kill {pid}" if pid else "dev-sessions kill --all"
        raise ProgramMissing(
            f"{server_name(pid)} is Codex {version_text(server.version)}, which is too old:"
            f" {version_text(OLDEST_SUPPORTED)} or newer is needed; end it when its turns are over: {end}"
            " (conversations are kept, and the next command starts what is installed)"
        )


@contextlib.contextmanager
def time_limit(deadline: Deadline | None) -> Iterator[None]:
    """Inside, let every connection and call end soon after a deadline, if its own timeout is later."""
    token = _limit.set(deadline)
    try:
        yield
    finally:
        _limit.reset(token)


def _limited(timeout: float) -> float:
    limit = _limit.get()
    return timeout if limit is None else min(timeout, limit.remaining() + _GRACE)


class Client:
    """An initialized connection. `version` (() if unknown) and `codex_home` are those of the app-server.

    `server` is what errors call it.
    """

    def __init__(self, websocket: WebSocket, server: str) -> None:
        self._websocket = websocket
        self.server = server
        self._last_id = 0
        self._events: deque[Event] = deque()
        initialized = self.call("initialize", protocol.initialize(__version__), CONNECT_TIMEOUT)
        self.version = protocol.server_version(initialized)
        self.codex_home = initialized.get("codexHome")

    def call(self, method: str, params: JsonObject, timeout: float = CALL_TIMEOUT) -> JsonObject:
        """Send a request and return its result, waiting up to `timeout` seconds.

        Events that arrive before it are kept for `next_event`. Raises CallRefused, ConnectionLost, NoAnswer, and
        ProtocolError for a frame that is not JSON-RPC.
        """
        (result,) = self.call_each([(method, params)], timeout)
        if isinstance(result, CallRefused | NoAnswer):
            raise result
        return result

    def call_each(
        self, requests: Sequence[tuple[str, JsonObject]], timeout: float = CALL_TIMEOUT
    ) -> list[JsonObject | CallRefused | NoAnswer]:
        """Send requests (methods with their parameters) without waiting between them; return their results in order.

        When nothing has been answered for `timeout` seconds, those that are left get NoAnswer: Codex may not respond
        about one thread while it responds about the others (0.171). Otherwise as `call`.
        """
        results: dict[int, JsonObject | CallRefused | NoAnswer] = {}
        unsent, waiting = deque(range(len(requests))), dict[int, int]()
        timeout = _limited(timeout)
        deadline = Deadline(timeout)
        try:
            while unsent or waiting:
                if len(waiting) <= _MAX_UNANSWERED // 2:
                    batch = [unsent.popleft() for _ in range(min(len(unsent), _MAX_UNANSWERED - len(waiting)))]
                    waiting.update(zip(self._request(requests[index] for index in batch), batch, strict=True))
                match self._receive(deadline):
                    case Response(number, result, error):
                        if number not in waiting:
                            continue  # to an older call that timed out
                        index = waiting.pop(number)
                        if error is not None and protocol.is_overloaded(error) and not deadline.expired:
                            deadline.pause(_OVERLOAD_PAUSE)
                            unsent.append(index)
                        else:
                            results[index] = result if error is None else CallRefused(requests[index][0], error)
                            deadline = Deadline(_limited(timeout))
                    case event:
                        self._events.append(event)
                        if deadline.expired:  # a server that sends events without end
                            raise TimeoutError
        except TimeoutError:
            for index, (method, _) in enumerate(requests):
                what = f"did not answer {method} within {timeout:.2g} s"
                results.setdefault(index, NoAnswer(f"{self.server} {what}; try again, or end it if it hangs"))
        except ConnectionError as error:
            index = next(index for index in range(len(requests)) if index not in results)
            raise ConnectionLost(
                f"{self.server} closed the connection during {requests[index][0]}; try again"
            ) from error
        return [results[index] for index in range(len(requests))]

    def answer(self, request: ServerRequest, result: JsonObject) -> None:
        """Respond to a request of the app-server, which does not confirm it. Raises ConnectionLost, NoAnswer."""
        try:
            self._websocket.send(jsonrpc.response(request.id, result))
        except TimeoutError as error:
            raise NoAnswer(f"{self.server} does not read; end it if it hangs, and try again") from error
        except ConnectionError as error:
            raise ConnectionLost(f"{self.server} closed the connection; try again") from error

    def next_event(self, deadline: Deadline) -> Event | None:
        """Return the next notification or request of the app-server; None at the deadline. Raises ConnectionLost."""
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
            raise ConnectionLost(f"{self.server} closed the connection; try again") from error

    def forget_events(self) -> None:
        """Drop the events that have arrived so far."""
        self._events.clear()

    def _request(self, requests: Iterable[tuple[str, JsonObject]]) -> range:
        """Send requests with one write, and return their numbers."""
        numbered = list(enumerate(requests, self._last_id + 1))
        if numbered:
            self._websocket.send(*(jsonrpc.request(number, method, params) for number, (method, params) in numbered))
            self._last_id += len(numbered)
        return range(self._last_id + 1 - len(numbered), self._last_id + 1)

    def _receive(self, deadline: Deadline) -> jsonrpc.Frame:
        text = self._websocket.receive(deadline)
        if isinstance(text, bytes):
            raise ProtocolError(f"{self.server} sent a binary message instead of text; try another version of Codex")
        return jsonrpc.parse(text)


@contextlib.contextmanager
def connect(
    address: str,
    token: str | None = None,
    server: str = "Codex's app-server",
    check: Callable[[socket.socket], None] = lambda _: None,
) -> Iterator[Client]:
    """Connect and initialize; `server` is what errors call it. Raises NotListening, NoAnswer, ConnectionLost.

    `check` is called with the connected socket before anything is sent.
    """
    uri = address if socket_path(address) is None else "ws://localhost/"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(open_socket(address))
            check(opened)
            websocket = WebSocket(opened, uri, headers, _limited(CONNECT_TIMEOUT))
        except (TimeoutError, BlockingIOError) as error:
            raise NoAnswer(f"{server} does not answer at {address}; end it if it hangs, and try again") from error
        except _NO_APP_SERVER as error:
            raise NotListening(f"{server} is not listening at {address}: {error}") from error
        except OSError as error:
            if isinstance(error, PermissionError):
                pid_namespace.require_unsandboxed(f"{server} cannot be reached at {address}")
            raise ProtocolError(f"Cannot connect to {server} at {address}: {error}; try again") from error
        stack.callback(websocket.close)
        yield Client(websocket, server)


def open_socket(address: str) -> socket.socket:
    """Return a connected socket.

    Raises OSError when nothing listens, BlockingIOError or TimeoutError when the server does not accept the
    connection, NotOwned when another user listens there.
    """
    target, path = urlsplit(address), socket_path(address)
    opened = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
    try:
        # The kernel's timeout: with Python's, connect fails at once when the server's backlog is full.
        opened.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", math.ceil(_limited(CONNECT_TIMEOUT)) or 1, 0)
        )
        if path is not None:
            opened.connect(path)
            _require_own_peer(opened, address)
        else:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.connect((target.hostname or "", target.port or 0))
            _require_own_port(target.port or 0, address)
    except BaseException:
        opened.close()
        raise
    return opened


def _require_own_peer(opened: socket.socket, address: str) -> None:
    """Raise NotOwned when another user listens on a unix socket: its file may be a link, and belong to this user."""
    # Codex 0.169 makes its socket a link into /tmp/codex-daemon-UID.
    if sys.platform == "darwin":
        # SOL_LOCAL, LOCAL_PEERCRED: a struct version, then the user.
        _, user = struct.unpack("2I", opened.getsockopt(0, 1, 76)[:8])
    else:
        _, user, _ = struct.unpack("i2I", opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user != os.geteuid():
        raise NotOwned(f"{_served_by(user, address)}: move the socket away if you did not put it there")


def _require_own_port(port: int, address: str) -> None:
    """Raise NotOwned when another user listens on a port, who may have got it after the app-server ended.

    Called when connected, and before anything is sent.
    """
    owners = port_owners(port)
    if not owners:
        raise NotOwned(f"It is not known which user listens at {address}, so it is not used; try again")
    if others := owners - {os.geteuid()}:
        raise NotOwned(f"{_served_by(others.pop(), address)}; end what is left of Codex's app-server, and try again")


def _served_by(user: int, address: str) -> str:
    return f"{address} is served by user {user}, not by you (user {os.geteuid()}), so it is not used"
