"""Listen on a port of loopback or on a unix socket, in place of a gateway that has ended, but of no other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.errors import StartFailed
from dev_sessions.system.deadline import Deadline

#: Connections that wait to be accepted (the system may allow fewer).
_BACKLOG = 4096
#: Seconds between two attempts to get the lock of another gateway's start, or to connect to its socket.
_BIND_RETRY_INTERVAL = 0.1
#: Seconds for another gateway to bind its socket: more than `_BACKLOG_TIME`.
_LOCK_TIMEOUT = 5.0
#: Seconds within which a gateway that is alive accepts the connections in its backlog.
_BACKLOG_TIME = 1.0


def listen(address: int | Path) -> socket.socket:
    """Return a listening socket. A unix socket is accessible to its user alone from the moment it exists.

    Raises StartFailed.
    """
    listener = socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX)
    try:
        if isinstance(address, Path):
            with _locked_directory(address):
                remove_stale_socket(address)
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


def file_id(path: Path) -> tuple[int, int] | None:
    """Return what identifies the file at a path, its device and inode; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove_stale_socket(path: Path) -> None:
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
