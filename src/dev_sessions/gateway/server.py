"""The gateway's HTTP server, on loopback or a unix socket, with a thread for each complete request.

Whoever can use it can run code as its user; `access` says who can.
"""

from __future__ import annotations

import resource
import socket
import threading
import traceback
from pathlib import Path

from dev_sessions.gateway.access import AccessPolicy
from dev_sessions.gateway.listener import file_id, listen
from dev_sessions.gateway.request import Request, RequestContext, TransportFactory
from dev_sessions.gateway.request_head import Refused
from dev_sessions.gateway.request_reader import RequestReader

#: Seconds between two newlines that keep the connection of a waiting client open.
_HEARTBEAT = 30.0
#: Seconds for a complete request to arrive.
_READ_TIMEOUT = 20.0
_BUSY = Refused(503, "The gateway executes as many requests as it can; nothing was executed: try again later")
#: Requests that are executed at the same time, and file descriptors that each may need.
_MAX_THREADS, _FILES_PER_THREAD = 2000, 4
#: Connections of which no complete head has arrived: far more than there are containers.
_MAX_UNREAD = 4096
_MAX_FILES = _MAX_UNREAD + _FILES_PER_THREAD * _MAX_THREADS


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
        self._context = RequestContext(transports, policy, heartbeat, read_timeout)
        files = _max_files()
        limit = min(_MAX_UNREAD, files // 4)
        self._threads = threading.BoundedSemaphore(min(max_threads, (files - limit) // _FILES_PER_THREAD))
        self._path = address if isinstance(address, Path) else None
        self._socket = listen(address)
        self._socket_file = file_id(self._path) if self._path is not None else None
        self._reader = RequestReader(self._socket, self._start_thread, timeout=read_timeout, limit=limit)

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
        self._reader.run(poll_interval)

    def shutdown(self) -> None:
        """End `serve_forever`; from any thread."""
        self._reader.stop()

    def server_close(self) -> None:
        """Stop listening, and remove the unix socket, unless another gateway's is at its path by now."""
        if self._path is not None and file_id(self._path) == self._socket_file:
            # While it still accepts connections, no other gateway replaces it.
            self._path.unlink(missing_ok=True)
        self._socket.close()
        self._reader.close()

    def _start_thread(self, connection: socket.socket, head: bytes, rest: bytes) -> None:
        """Start a thread for a request; if there are too many, respond that nothing was executed."""
        if self._threads.acquire(blocking=False):
            try:
                threading.Thread(target=self._run_thread, args=(connection, head, rest), daemon=True).start()
                return
            except RuntimeError:  # the system has no thread left
                self._threads.release()
        try:
            Request(self._context, connection, rest).refuse(_BUSY)
            self._finish(connection)
        except OSError:
            connection.close()

    def _finish(self, connection: socket.socket) -> None:
        """Send no more on a connection, which is closed once the client has read all. Raises OSError."""
        connection.shutdown(socket.SHUT_WR)
        self._reader.discard(connection)

    def _run_thread(self, connection: socket.socket, head: bytes, rest: bytes) -> None:
        try:
            Request(self._context, connection, rest).serve(head)
            self._finish(connection)
        except Exception as error:
            connection.close()
            if not isinstance(error, OSError):  # a client that has gone is not an error
                traceback.print_exc()
        finally:
            self._threads.release()


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
