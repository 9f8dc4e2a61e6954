"""A WebSocket over a connected socket: websockets' protocol, read and written by whoever asks.

The client that websockets brings reads in a thread and loads TLS and HTTP besides: a third of the time of a command
that asks Codex something.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Mapping

from dev_sessions.system.deadline import Deadline
from dev_sessions.system.lazy_imports import unloaded

# websockets asks it for its own version, but only where it is no release; it is a fifth of a command's time.
with unloaded("importlib.metadata"):
    from websockets.client import ClientProtocol
    from websockets.exceptions import WebSocketException
    from websockets.frames import Frame, Opcode
    from websockets.protocol import State
    from websockets.uri import parse_uri

#: Seconds of silence after which the other side is asked whether it is there, and for its answer to that.
KEEPALIVE = 20.0
_CHUNK = 65536
_NORMAL = 1000
_PIECES = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket:
    """The client's side of a connection. ConnectionError when the other side has closed it."""

    def __init__(self, opened: socket.socket, uri: str, headers: Mapping[str, str], patience: float) -> None:
        """Shake hands. TimeoutError when that, or a message on its way out, takes longer than `patience` seconds;
        ConnectionRefusedError when the other side speaks something else, or refuses, or none can have that address."""
        self._socket = opened
        self._patience = patience
        self._pieces: list[Frame] = []
        self._messages: deque[str | bytes] = deque()
        try:
            self._protocol = ClientProtocol(parse_uri(uri), max_size=None)
            self._shake_hands(headers)
        except WebSocketException as error:
            raise ConnectionRefusedError(str(error)) from error

    def send(self, text: str) -> None:
        """Send a message. TimeoutError when the other side does not read."""
        self._require_open()
        self._protocol.send_text(text.encode())
        self._flush()

    def receive(self, deadline: Deadline) -> str | bytes:
        """The next message, as bytes when it is no text. TimeoutError when none was whole before the deadline."""
        heard, asked, late = time.monotonic(), False, False
        while not self._messages:
            self._require_open()
            if late:  # also for one who sends, but nothing whole
                raise TimeoutError
            late = deadline.expired
            with contextlib.suppress(TimeoutError):
                self._take_in(min(deadline.poll_timeout(), KEEPALIVE))
                heard, asked = time.monotonic(), False
            silent = time.monotonic() - heard
            if silent >= 2 * KEEPALIVE:
                raise ConnectionAbortedError(f"nothing was heard for {silent:.0f} s")
            if silent >= KEEPALIVE and not asked:
                self._protocol.send_ping(b"")
                self._flush()
                asked = True
        return self._messages.popleft()

    def close(self) -> None:
        """Say goodbye, and wait for nothing. The socket is its opener's to close."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(_NORMAL)
            with contextlib.suppress(OSError):
                self._flush()

    def _shake_hands(self, headers: Mapping[str, str]) -> None:
        request = self._protocol.connect()
        request.headers.update(headers)
        self._protocol.send_request(request)
        self._flush()
        deadline = Deadline(self._patience)
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            if deadline.expired:
                raise TimeoutError
            self._take_in(deadline.remaining())
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc

    def _take_in(self, seconds: float) -> None:
        """Wait for some bytes, and put together what is complete. TimeoutError."""
        # Without any time a socket would raise another error.
        self._socket.settimeout(max(seconds, 0.001))
        try:
            data = self._socket.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _PIECES:
                self._pieces.append(event)
                if event.fin:
                    self._messages.append(_message(self._pieces))
                    self._pieces = []
        self._flush()

    def _flush(self) -> None:
        self._socket.settimeout(self._patience)
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _require_open(self) -> None:
        if self._protocol.state is not State.OPEN:
            raise ConnectionResetError("the connection is closed")


def _message(pieces: list[Frame]) -> str | bytes:
    data = b"".join(piece.data for piece in pieces)
    if pieces[0].opcode is Opcode.TEXT:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
    return data
