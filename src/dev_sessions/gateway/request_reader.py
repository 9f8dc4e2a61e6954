"""Accept connections and read the heads of their requests, all in one thread.

So a connection on which nothing arrives takes no thread, and thousands of them delay no other request.
"""

from __future__ import annotations

import contextlib
import errno
import re
import selectors
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from dev_sessions.gateway.request_head import MAX_HEAD

#: The end of a head, or of a line that makes it invalid.
_END = rb"\r\n\r\n|(?<!\r)\n"
_ACCEPT_RETRY_INTERVAL = 0.1
#: Connections that are accepted before those that are open are read again.
_ACCEPTED_AT_ONCE = 64
#: Connections that are closed when there is no file descriptor for the next one.
_CLOSED_AT_ONCE = 4
_READ_SIZE = 65536


class _Connection:
    """A connection of which a head is read, or whose input is discarded after its response."""

    def __init__(self, connection: socket.socket, deadline: float, *, is_answered: bool) -> None:
        self.socket = connection
        self.deadline = deadline
        self.is_answered = is_answered
        self.data = bytearray()


class RequestReader:
    """The connections to a listening socket whose requests are not complete, or whose responses are not read.

    They are closed `timeout` seconds after they began to wait for it, and the oldest of them when there are more than
    `limit`. `serve` receives a connection with the head of its request (or what came in place of one) and the bytes
    after it.
    """

    def __init__(
        self,
        listener: socket.socket,
        serve: Callable[[socket.socket, bytes, bytes], None],
        *,
        timeout: float,
        limit: int,
    ) -> None:
        self._listener = listener
        self._serve = serve
        self._timeout = timeout
        self._limit = limit
        self._connections: OrderedDict[socket.socket, _Connection] = OrderedDict()  # the oldest first
        self._answered: deque[socket.socket] = deque()
        self._is_stopped = self._is_closed = False
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._waker = socket.socketpair()
        for each in (listener, self._wakeup, self._waker):
            each.setblocking(False)
        for each in (listener, self._wakeup):
            self._selector.register(each, selectors.EVENT_READ)

    def run(self, poll_interval: float) -> None:
        """Accept and read until `stop` is called; deadlines are checked every `poll_interval` seconds."""
        while not self._is_stopped:
            # What had arrived in time is read before a connection counts as late, however long this thread had to wait.
            began = time.monotonic()
            for key, _ in self._selector.select(poll_interval):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wakeup:
                    with contextlib.suppress(BlockingIOError):
                        self._wakeup.recv(_READ_SIZE)
                elif (connection := self._connections.get(key.fileobj)) is not None:  # type: ignore[call-overload] # a socket
                    self._read(connection)
            while self._answered:
                self._add(self._answered.popleft(), is_answered=True)
            self._close_older(began)

    def stop(self) -> None:
        """End `run`; from any thread."""
        self._is_stopped = True
        self._wake()

    def discard(self, connection: socket.socket) -> None:
        """Close a connection whose response is sent once the client has closed it; from any thread.

        What the client still sends is read: closing the connection before that would lose the response.
        """
        self._answered.append(connection)
        self._wake()
        if self._is_closed:
            connection.close()

    def close(self) -> None:
        """Close all connections; after `run`."""
        self._is_closed = True
        for connection in [*self._connections, *self._answered, self._wakeup, self._waker]:
            connection.close()
        self._selector.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is full: `run` is about to wake up; or closed
            self._waker.send(b"\0")

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the client has gone, or there is no file descriptor left for it
                if error.errno in (errno.EMFILE, errno.ENFILE) and not self._close_oldest(_CLOSED_AT_ONCE):
                    time.sleep(_ACCEPT_RETRY_INTERVAL)
                return
            self._add(connection, is_answered=False)

    def _add(self, connection: socket.socket, *, is_answered: bool) -> None:
        connection.setblocking(False)
        self._connections[connection] = _Connection(
            connection, time.monotonic() + self._timeout, is_answered=is_answered
        )
        self._selector.register(connection, selectors.EVENT_READ)
        self._close_oldest(len(self._connections) - self._limit)

    def _read(self, connection: _Connection) -> None:
        try:
            part = connection.socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            part, connection.data = b"", bytearray()
        if connection.is_answered:
            if not part:
                self._close(connection.socket)
            return
        searched = max(len(connection.data) - 3, 0)
        connection.data += part
        end = re.compile(_END).search(connection.data, searched)
        if end is None and part and len(connection.data) <= MAX_HEAD:
            return
        if not connection.data:
            self._close(connection.socket)
            return
        self._remove(connection.socket)
        size = len(connection.data) if end is None else end.end()
        self._serve(connection.socket, bytes(connection.data[:size]), bytes(connection.data[size:]))

    def _close_older(self, moment: float) -> None:
        """Close the connections whose deadline was before a moment."""
        while self._connections and next(iter(self._connections.values())).deadline < moment:
            self._close_oldest(1)

    def _close_oldest(self, count: int) -> bool:
        """Close as many connections; return whether there were any."""
        oldest = [connection for connection, _ in zip(self._connections, range(count), strict=False)]
        for connection in oldest:
            self._close(connection)
        return bool(oldest)

    def _close(self, connection: socket.socket) -> None:
        self._remove(connection)
        connection.close()

    def _remove(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._connections[connection]
