"""Locks of the kernel, each of a file of its own: they vanish with their holder, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.private import open_private

#: Seconds between two tries for a lock that somebody has.
_RETRY = 0.01


def is_held(file: Path) -> bool:
    """Whether somebody holds the lock of a file, this very moment. Nothing is made."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def locked(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock of a file, which is made private. TimeoutError after `patience` seconds; OSError.

    A lock that is free is taken by the call with which filelock takes it. That is loaded, in 20 ms, only to wait.
    """
    descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Somebody has it, or this file system has no such locks.
        os.close(descriptor)
        from filelock import FileLock, Timeout

        try:
            waited = FileLock(path, mode=0o600).acquire(timeout=patience, poll_interval=_RETRY)
        except Timeout as error:
            raise TimeoutError(f"{path} is locked") from error
        with waited:
            yield
        return
    try:
        yield
    finally:
        os.close(descriptor)
