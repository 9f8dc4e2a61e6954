"""File locks (flock), which the kernel releases when their holder ends.

A lock that a process holds for its whole life proves that it is alive, in every pid namespace of the machine. Such a
lock is identified by its file's device and inode, because a path may lead to another file: a sandbox may mount a file
system of its own over the home.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.errors import StoreError
from dev_sessions.system.private_files import advice, ensure_private_dir, open_private, require_owned

#: Seconds between two attempts to take a lock that another process holds.
_POLL_INTERVAL = 0.01


def is_held(file: Path) -> bool:
    """Return whether a process holds the lock of a file right now. A missing file is not created."""
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


def holder(file: Path) -> int | None:
    """Return the pid of the process that holds the lock of a file; None without one, or if it is unknown (not Linux).

    A line of /proc/locks, with the device's numbers in hexadecimal: `29: FLOCK  ADVISORY  WRITE 23660 fe:00:2166 0 EOF`
    """
    with contextlib.suppress(OSError):
        status = file.stat()
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            match line.split():
                case [_, "FLOCK", _, "WRITE", pid, found, *_] if found == place:
                    return int(pid)
    return None


def new_locked(file: Path) -> int:
    """Create a new file and lock it; return the descriptor, for a process to keep open for life. Raises OSError."""
    file.unlink(missing_ok=True)
    descriptor = open_private(file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def lock_id(file: Path) -> str | None:
    """Return the id (`DEVICE:INODE`) of the held lock of a file; None when it is not held, or that is unknown."""
    with contextlib.suppress(OSError):
        status = file.stat()
        if is_held(file):
            return f"{status.st_dev}:{status.st_ino}"
    return None


def is_released(file: Path, recorded_id: str | None) -> bool | None:
    """Return whether the lock with a recorded id is not held any more; None when that is unknown."""
    with contextlib.suppress(OSError):
        status = file.stat()
        if f"{status.st_dev}:{status.st_ino}" == recorded_id:
            return not is_held(file)
    return None


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of a file, which is created private. Raises TimeoutError after `timeout` seconds, OSError.

    A free lock is taken by the same system call that filelock uses; filelock is imported (20 ms) only to wait.
    """
    descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another process has it, or this file system does not support such locks.
        os.close(descriptor)
        from filelock import FileLock, Timeout

        try:
            acquired = FileLock(path, mode=0o600).acquire(timeout=timeout, poll_interval=_POLL_INTERVAL)
        except Timeout as error:
            raise TimeoutError(f"{path} is locked") from error
        with acquired:
            yield
        return
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_lock(path: Path, timeout: float, activity: str) -> Iterator[None]:
    """Hold a kernel lock on a file of its own; it is released when its holder dies.

    Raises StoreError after `timeout` seconds; `activity` says what the other holder does, as in "Another command has
    been using fizz-top".
    """
    ensure_private_dir(path.parent)
    require_owned(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path, timeout))
        except TimeoutError as error:
            raise StoreError(f"{activity} for {timeout:g} s; try again later") from error
        except OSError as error:
            raise StoreError(f"Cannot lock {path}: {error.strerror}; {advice(error)} and try again") from error
        yield
