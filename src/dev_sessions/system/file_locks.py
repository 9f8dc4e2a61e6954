"""Locks of the kernel, each of a file of its own: they vanish with their holder, however it ends.

So one that a process holds for as long as it lives proves that it does, in every pid namespace of the machine. Such a
lock is known by its file's device and inode: the same path may lead to another file, as where a sandbox lays a file
system of its own over the home.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.system.private_files import open_private

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


def new_locked(file: Path) -> int:
    """Make a file anew, and lock it: a descriptor for a process to have open for as long as it lives. OSError."""
    file.unlink(missing_ok=True)
    descriptor = open_private(file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def name_of(file: Path) -> str | None:
    """The name of the lock of a file that somebody holds; None when nobody does, or that can't be told."""
    with contextlib.suppress(OSError):
        found = file.stat()
        if is_held(file):
            return f"{found.st_dev}:{found.st_ino}"
    return None


def is_released(file: Path, name: str | None) -> bool | None:
    """Whether nobody holds the lock of this name any more; None when that can't be told."""
    with contextlib.suppress(OSError):
        found = file.stat()
        if f"{found.st_dev}:{found.st_ino}" == name:
            return not is_held(file)
    return None


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
