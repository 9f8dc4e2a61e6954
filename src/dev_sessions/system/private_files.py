"""Files and folders that are their user's alone: made so, kept so, and not believed when they are somebody else's.

Below `~/.dev-sessions` nothing is used that belongs to another user, and no symbolic link: who could write there once
(an older version made the folder as wide as the umask let it) may have left it. Two places may be links to what is the
user's own, as people do who keep such files elsewhere: the folder itself, and the store's file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from dev_sessions.errors import NotOurs, StoreError
from dev_sessions.system import paths, pid_namespace


def require_owned(*places: Path, link: bool = False) -> None:
    """StoreError for what belongs to another user, and unless `link` for a symbolic link. What is not there is fine."""
    for place in places:
        try:
            found = place.stat() if link else place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise StoreError(f"Cannot look at {place}: {error.strerror}; see who owns the folders above it") from error
        _judge(place, found)


def ensure_private_dir(directory: Path) -> None:
    """Make a folder that only its user can enter, with those above it in `~/.dev-sessions`, and tighten a wider one.

    StoreError: it can't be made, or is not ours.
    """
    top = paths.state_dir()
    if directory != top and directory.is_relative_to(top):
        ensure_private_dir(directory.parent)
    require_owned(directory, link=directory == top)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Wider in an older version; narrower under an odd umask.
        if directory.stat().st_mode & 0o777 != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise StoreError(f"Cannot use {directory}: {error.strerror}; {advice(error)} and try again") from error


def read_owned(file: Path, *, link: bool = False) -> bytes:
    """Return the content of a file of ours. Raises StoreError for another one (see `require_owned`), and OSError."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | (0 if link else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _is_link(file) from error
        raise
    with open(descriptor, "rb") as stream:
        _judge(file, os.fstat(descriptor))
        return stream.read()


def own_socket(socket: str) -> str | None:
    """Return the path, without links, of a unix socket that no other user can have put there or can replace.

    None when there is no socket and another user could make one: whatever turns up later is not this user's.
    Raises NotOurs.
    """
    path = os.path.realpath(socket)
    folder = existing = os.path.dirname(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    try:
        _require_out_of_reach(existing)
        if existing != folder:
            return None
        try:
            owner = os.lstat(path).st_uid
        except FileNotFoundError:
            return None if is_shared(os.lstat(folder)) else path
    except OSError as error:
        raise NotOurs(f"{error.filename} cannot be looked at: {error.strerror}") from error
    if owner != os.geteuid():
        raise NotOurs(_owned_by_another(path, owner))
    return path


def open_private(path: str | Path, flags: int) -> int:
    """Open a file that its user alone can read and write, under any umask; an `opener` of `open`. OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file whole and durably, as a rule readable by its user alone; on any failure the old content stays."""
    for left in _left_halfway(path):
        left.unlink(missing_ok=True)
    while True:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        # A lock says that its writer lives. Some file systems have none; then nobody sweeps there.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # swept away before it was locked
    try:
        with open(descriptor, "wb") as stream:
            if not mode & 0o077:
                os.fchmod(descriptor, mode)  # whatever the umask took away
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


def _left_halfway(path: Path) -> list[Path]:
    """What replacements of a file have left beside it that were killed before its end: files that nobody has locked."""
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    beginning = f".{path.name}."
    found = [path.with_name(name) for name in names if name.startswith(beginning)]
    return [file for file in found if file.name.removeprefix(beginning).partition(".")[0].isdigit() and _is_free(file)]


def _is_free(file: Path) -> bool:
    """Whether the lock of a file is provably held by nobody."""
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
    """What to do about something that can't be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on its disk"
    return "make its disk or folder writable" if pid_namespace.outlasts_command() else pid_namespace.way_out()


def _judge(place: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _is_link(place)
    if found.st_uid != os.geteuid():
        raise NotOurs(
            f"{_owned_by_another(place, found.st_uid)}, so it is not used: move it away if you did not put it there"
        )


def _owned_by_another(place: str | Path, owner: int) -> str:
    return f"{place} belongs to user {owner}, not to you (user {os.geteuid()})"


def _require_out_of_reach(folder: str) -> None:
    """Raise NotOurs when another user could replace what a folder holds, or the folder, or one above it.

    None of them may belong to another user than root, nor be writable for others unless it is sticky, as /tmp is.
    """
    found = os.lstat(folder)
    if found.st_uid not in (0, os.geteuid()) and not _is_unmapped(found.st_uid):
        raise NotOurs(_owned_by_another(folder, found.st_uid))
    if not found.st_mode & stat.S_ISVTX and is_shared(found):
        raise NotOurs(f"other users can replace what is in {folder} (mode {stat.S_IMODE(found.st_mode):04o})")
    if (parent := os.path.dirname(folder)) != folder:
        _require_out_of_reach(parent)


def is_shared(folder: os.stat_result) -> bool:
    """Whether other users may write to a folder."""
    if folder.st_mode & stat.S_IWOTH:
        return True
    return bool(folder.st_mode & stat.S_IWGRP) and not _is_personal(folder.st_gid)


def _is_personal(group: int) -> bool:
    """Whether a group has this user as its only member, as where the umask is 002."""
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_gid == user.pw_gid and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


def _is_unmapped(owner: int) -> bool:
    """Whether a user id stands for root and everybody else who has none in this user namespace."""
    try:
        overflow, mapped = Path("/proc/sys/kernel/overflowuid").read_text(), Path("/proc/self/uid_map").read_text()
    except OSError:
        return False
    return owner == int(overflow) and mapped.split()[-1:] != [str(2**32 - 1)]


def _is_link(place: Path) -> StoreError:
    return StoreError(f"{place} is a symbolic link, and none is followed there: move it away")
