"""Files and directories that only their user can access: created private, kept private, and refused if not owned.

Below `~/.dev-sessions` nothing is used that belongs to another user or is a symbolic link: another user may have left
it there (version 0.4 created the directory with the permissions of the umask). Only the directory itself and the
store's file may be links to files of the same user, for people who keep such files elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from pathlib import Path

from dev_sessions.errors import NotOwned, StoreError
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.foreign_files import NotRegular


def require_owned(*files: Path, link: bool = False) -> None:
    """Raise StoreError for a path of another user, and for a symbolic link unless `link`. Missing paths are fine."""
    for path in files:
        try:
            status = path.stat() if link else path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            what = f"Cannot access {path}: {error.strerror}"
            if isinstance(error, PermissionError):  # Codex's sandbox hides what its socket is a link to (0.171)
                pid_namespace.require_unsandboxed(what)
            raise StoreError(f"{what}; check who owns the directories above it") from error
        _require_own_file(path, status)


def ensure_private_dir(directory: Path) -> None:
    """Create a directory with mode 0700, and its parents in `~/.dev-sessions`, or change the mode of an existing one.

    Raises StoreError when it cannot be created, or belongs to another user.
    """
    top = paths.state_dir()
    if directory != top and directory.is_relative_to(top):
        ensure_private_dir(directory.parent)
    require_owned(directory, link=directory == top)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Version 0.4 created it with wider permissions; an unusual umask makes it narrower.
        if directory.stat().st_mode & 0o777 != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise StoreError(f"Cannot use {directory}: {error.strerror}; {advice(error)} and try again") from error


def read_owned(file: Path, *, link: bool = False) -> bytes:
    """Return the content of a file of this user. Raises StoreError for any other (see `require_owned`), and OSError."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | (0 if link else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _is_link(file) from error
        raise
    with open(descriptor, "rb") as stream:
        _require_own_file(file, os.fstat(descriptor))
        return stream.read()


def own_socket(socket: str) -> str | None:
    """Return the path, without links, of a unix socket that no other user can have created or can replace.

    None when there is no socket and another user could create one. Raises NotOwned.
    """
    path = os.path.realpath(socket)
    directory = existing = os.path.dirname(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    try:
        _require_not_replaceable(existing)
        if existing != directory:
            return None
        try:
            owner = os.lstat(path).st_uid
        except FileNotFoundError:
            return None if is_shared(os.lstat(directory)) else path
    except OSError as error:
        raise NotOwned(f"{error.filename} cannot be accessed: {error.strerror}") from error
    if owner != os.geteuid():
        raise NotOwned(_owned_by_another(path, owner))
    return path


def open_private(path: str | Path, flags: int) -> int:
    """Open a file with mode 0600 under any umask; an `opener` of `open`. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically and durably; on any failure the old content stays. Raises OSError.

    Temporary files that killed writers have left beside it are removed.
    """
    for leftover in _leftover_files(path):
        leftover.unlink(missing_ok=True)
    while True:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        # The lock shows that its writer is alive. Some file systems have no locks; there leftovers stay.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # another writer removed it before it was locked
    try:
        with open(descriptor, "wb") as stream:
            if not mode & 0o077:
                os.fchmod(descriptor, mode)  # the umask may have narrowed it
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(temporary, path)  # while it is locked
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The rename is durable only when the directory is.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _leftover_files(path: Path) -> list[Path]:
    """Return temporary files of killed writers, which nobody has locked: `.sessions.json.4711.86400123456`."""
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\d+(\..*)?")
    candidates = [path.with_name(name) for name in names if pattern.fullmatch(name)]
    return [file for file in candidates if _is_unlocked(file)]


def _is_unlocked(file: Path) -> bool:
    """Return whether provably nobody holds the lock of a file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def advice(error: OSError) -> str:
    """Return what to do after a failed write, for an error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on its disk"
    if isinstance(error, NotRegular | NotADirectoryError | IsADirectoryError):
        return "move away what is in its place"
    return pid_namespace.sandbox_advice() if pid_namespace.is_sandboxed() else "make its disk or folder writable"


def _require_own_file(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _is_link(path)
    if status.st_uid != os.geteuid():
        raise NotOwned(
            f"{_owned_by_another(path, status.st_uid)}, so it is not used: move it away if you did not put it there"
        )


def _owned_by_another(path: str | Path, owner: int) -> str:
    return f"{path} belongs to user {owner}, not to you (user {os.geteuid()})"


def _require_not_replaceable(directory: str) -> None:
    """Raise NotOwned when another user could replace the content of a directory, the directory, or one above it.

    Each must belong to root or this user, and must not be writable for others unless it is sticky, as /tmp is.
    """
    status = os.lstat(directory)
    if status.st_uid not in (0, os.geteuid()) and not _is_unmapped(status.st_uid):
        raise NotOwned(_owned_by_another(directory, status.st_uid))
    if not status.st_mode & stat.S_ISVTX and is_shared(status):
        raise NotOwned(f"other users can replace what is in {directory} (mode {stat.S_IMODE(status.st_mode):04o})")
    if (parent := os.path.dirname(directory)) != directory:
        _require_not_replaceable(parent)


def is_shared(directory: os.stat_result) -> bool:
    """Return whether other users may write to a directory."""
    if directory.st_mode & stat.S_IWOTH:
        return True
    return bool(directory.st_mode & stat.S_IWGRP) and not _is_personal_group(directory.st_gid)


def _is_personal_group(gid: int) -> bool:
    """Return whether a group is the user's private group, with no other member."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _is_unmapped(owner: int) -> bool:
    """Return whether a user id is the overflow id, which stands for root, too, where root is not mapped."""
    try:
        overflow, mapped = Path("/proc/sys/kernel/overflowuid").read_text(), Path("/proc/self/uid_map").read_text()
    except OSError:
        return False
    return owner == int(overflow) and mapped.split()[-1:] != [str(2**32 - 1)]


def _is_link(path: Path) -> StoreError:
    return StoreError(f"{path} is a symbolic link, and none is followed there: move it away")
