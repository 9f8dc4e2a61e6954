"""A synchronous WebSocket client over a connected socket, on the sans-I/O protocol of `websockets`.

The client of `websockets` itself reads in a thread and imports TLS and HTTP, which takes 25 ms, a third of the time of
a command that queries Codex. Use `websockets.sync.client` once that can be loaded for 3 ms, as with the lazy imports of
Python 3.15.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Mapping

from dev_sessions.system.deadline import Deadline
from dev_sessions.system.lazy_imports import unloaded

# websockets uses it only for the version of a pre-release; importing it takes 14 ms. Python 3.15 can import it lazily.
with unloaded("importlib.metadata"):
    from websockets.client import ClientProtocol
    from websockets.exceptions import WebSocketException
    from websockets.frames import Frame, Opcode
    from websockets.protocol import State
    from websockets.uri import parse_uri

#: Seconds of silence after which a ping is sent, and then until the connection is given up.
KEEPALIVE_INTERVAL = 20.0
#: Maximum bytes of a message, in one frame or many: far more than the longest conversation.
MAX_MESSAGE = 256 * 1024 * 1024
_CHUNK = 65536
_NORMAL_CLOSURE = 1000
_DATA_OPCODES = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket:
    """The client side of a connection. Methods raise ConnectionError when the server has closed it."""

    def __init__(self, opened: socket.socket, uri: str, headers: Mapping[str, str], timeout: float) -> None:
        """Perform the handshake.

        Raises TimeoutError when that, or later the sending of a message, takes longer than `timeout` seconds, and
        ConnectionRefusedError when the server refuses it or does not speak WebSocket, or for an invalid URI.
        """
        self._socket = opened
        self._timeout = timeout
        self._fragments: list[Frame] = []
        self._messages: deque[str | bytes] = deque()
        try:
            self._protocol = ClientProtocol(parse_uri(uri), max_size=MAX_MESSAGE)
            self._handshake(headers)
        except WebSocketException as error:
            raise ConnectionRefusedError(str(error)) from error

    def send(self, *texts: str) -> None:
        """Send messages, with one write for all. Raises TimeoutError when the server does not read."""
        self._require_open()
        for text in texts:
            self._protocol.send_text(text.encode())
        self._flush()

    def receive(self, deadline: Deadline) -> str | bytes:
        """Return the next message, a binary one as bytes. Raises TimeoutError when none is complete at the deadline."""
        last_received, pinged, expired = time.monotonic(), False, False
        while not self._messages:
            self._require_open()
            if expired:  # also when the server sends without completing a message
                raise TimeoutError
            expired = deadline.expired
            with contextlib.suppress(TimeoutError):
                self._read(min(deadline.poll_timeout(), KEEPALIVE_INTERVAL))
                last_received, pinged = time.monotonic(), False
            silence = time.monotonic() - last_received
            if silence >= 2 * KEEPALIVE_INTERVAL:
                raise ConnectionAbortedError(f"nothing was received for {silence:.0f} s")
            if silence >= KEEPALIVE_INTERVAL and not pinged:
                self._protocol.send_ping(b"")
                self._flush()
                pinged = True
        return self._messages.popleft()

    def close(self) -> None:
        """Send a close frame without waiting for the server's. The caller closes the socket."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(_NORMAL_CLOSURE)
            with contextlib.suppress(OSError):
                self._flush()

    def _handshake(self, headers: Mapping[str, str]) -> None:
        request = self._protocol.connect()
        request.headers.update(headers)
        self._protocol.send_request(request)
        self._flush()
        deadline = Deadline(self._timeout)
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            if deadline.expired:
                raise TimeoutError
            self._read(deadline.remaining())
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc

    def _read(self, timeout: float) -> None:
        """Read some bytes and collect the messages that they complete. Raises TimeoutError after `timeout` seconds."""
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError as error:  # with a timeout of 0
            raise TimeoutError from error
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _DATA_OPCODES:
                self._fragments.append(event)
                if event.fin:
                    self._messages.append(_message(self._fragments))
                    self._fragments = []
        self._flush()

    def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(data)

    def _require_open(self) -> None:
        if self._protocol.state is not State.OPEN:
            raise ConnectionResetError("the connection is closed")


def _message(fragments: list[Frame]) -> str | bytes:
    data = b"".join(fragment.data for fragment in fragments)
    if fragments[0].opcode is Opcode.TEXT:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
    return data
