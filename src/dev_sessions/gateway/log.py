"""The gateway's log: standard output, which is a file of limited size where the gateway is a service."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from dev_sessions.system import paths

#: Bytes at which the service's log is renamed to `gateway.log.1`, replacing the one before.
MAX_SIZE = 4 * 1024 * 1024
_lock = threading.Lock()


def write(line: str) -> None:
    """Write a line, with control characters escaped."""
    data = line.encode("unicode_escape") + b"\n"
    with _lock:
        try:
            _rotate(paths.gateway_log())
            os.write(1, data)
        except OSError:
            # The log's reader has closed it; discard everything from here on, at exit too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _rotate(file: Path) -> None:
    """Start a new file, for standard error too, if standard output is this one and has become large."""
    status = os.fstat(1)
    if status.st_size < MAX_SIZE or not file.exists() or not os.path.samestat(status, file.stat()):
        return
    os.replace(file, f"{file}.1")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
