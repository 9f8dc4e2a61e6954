"""The session store, `~/.dev-sessions/sessions.json`: `{"version": 1, "sessions": [record, …]}`.

Readers take no lock, because the file is only ever replaced whole. A writer takes the lock, reads again, writes a
temporary file, syncs it and renames it. Records and fields that this version cannot read are written back unchanged.

A writer takes two locks: a kernel lock, which is released when its holder dies, and then version 0.4's lock, the
directory `sessions.json.lock`, so that an old CLI can use the same store. A directory of ours is recognized by its mode
(0500), which it has from its creation on: whoever holds the kernel lock and finds one knows that its owner is dead. A
directory of version 0.4 is stale after 30 s.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.errors import SessionNotFound, StoreError
from dev_sessions.models import FieldChanges, JsonObject, Session, with_changes
from dev_sessions.record_json import require_valid, session_arguments, session_from_json, session_to_json
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.fast_dataclass import fast_dataclass, field
from dev_sessions.system.file_locks import locked
from dev_sessions.system.private_files import (
    advice,
    ensure_private_dir,
    open_private,
    read_owned,
    replace_file,
    require_owned,
)

VERSION = 1
#: Seconds to wait while one process holds the lock, and while other processes take turns.
LOCK_TIMEOUT, _CONTENTION_TIMEOUT = 10.0, 120.0
_LEGACY_LOCK_STALE_AFTER = 30.0
#: Mode of our lock directory. Version 0.4's has its user's write bit, under any umask.
_OUR_LOCK_MODE = 0o500


@fast_dataclass
class Content:
    """The store's content: sessions by id, records that cannot be read, and fields beside the records."""

    sessions: dict[str, Session] = field(default_factory=dict)
    unreadable: list[object] = field(default_factory=list)
    other_fields: JsonObject = field(default_factory=dict)

    def copy(self) -> Content:
        """Return a copy that can be modified."""
        return Content(dict(self.sessions), list(self.unreadable), dict(self.other_fields))

    def taken_ids(self) -> set[str]:
        """Return the ids of all records, readable or not."""
        unreadable = [record.get("championId") for record in self.unreadable if isinstance(record, dict)]
        return set(self.sessions) | {name for name in unreadable if isinstance(name, str)}


class Store:
    """The records of a user's sessions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: The content that was read last, with the file's version.
        self._cached: tuple[tuple[int, ...], Content] | None = None

    def read(self) -> Content:
        """Return everything in the store. Raises StoreError if the file cannot be read."""
        require_owned(self._path.parent, link=True)
        try:
            version = _version(self._path)
            if self._cached is None or self._cached[0] != version:
                self._cached = version, _parse(read_owned(self._path, link=True), self._path)
        except FileNotFoundError:
            return Content()
        except OSError as error:
            raise StoreError(f"Cannot read {self._path}: {error.strerror}; make it readable or move it away") from error
        return self._cached[1].copy()

    def get(self, session_id: str) -> Session:
        """Return a session. Raises SessionNotFound, or StoreError if its record cannot be read."""
        content = self.read()
        if session_id in content.sessions:
            return content.sessions[session_id]
        if session_id in content.taken_ids():
            raise StoreError(f"The record of {session_id} in {self._path} can't be read; correct it or remove it there")
        raise SessionNotFound(session_id)

    def update(self, session_id: str, changes: FieldChanges) -> Session:
        """Set some fields of a session; other changes since it was read are kept. Raises SessionNotFound."""
        with self.edit() as content:
            if session_id not in content.sessions:
                raise SessionNotFound(session_id)
            content.sessions[session_id] = with_changes(content.sessions[session_id], changes)
            return content.sessions[session_id]

    def remove(self, session_id: str) -> Content:
        """Remove a session if it exists. Return the remaining content."""
        with self.edit() as content:
            content.sessions.pop(session_id, None)
        return content

    @contextlib.contextmanager
    def edit(self) -> Iterator[Content]:
        """Yield the content under the lock, and save it after the block unless that raises."""
        ensure_private_dir(self._path.parent)
        with self._locked():
            content = self.read()
            before = dict(content.sessions)
            yield content
            if content.sessions != before:
                self._replace(content)

    def require_writable(self) -> None:
        """Raise StoreError if its folder is read-only, or another process keeps it locked."""
        with self.edit():
            pass

    def _replace(self, content: Content) -> None:
        records = [session_to_json(session) for session in content.sessions.values()]
        document = {**content.other_fields, "version": VERSION, "sessions": [*records, *content.unreadable]}
        file = self._path
        if file.is_symlink():
            # Replace the target and keep the link, if the user owns the target, too.
            file = Path(os.path.realpath(file))
            require_owned(file.parent, file)
        try:
            replace_file(file, json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise StoreError(
                f"Cannot write {self._path}: {error.strerror}; nothing was changed in it; {advice(error)} and try again"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        contention = Deadline(_CONTENTION_TIMEOUT)
        directory, holder, flock = legacy_lock(self._path), holder_file(self._path), kernel_lock(self._path)
        require_owned(directory, holder, flock)
        with contextlib.ExitStack() as stack:
            while True:
                before = _acquired_at(holder)
                try:
                    stack.enter_context(locked(flock, LOCK_TIMEOUT))
                    break
                except TimeoutError as error:
                    # flock is not fair: while others take turns, one of many waiters may get the lock late.
                    if _acquired_at(holder) == before or contention.expired:
                        raise StoreError(
                            f"{self._path} has been locked for {LOCK_TIMEOUT:g} s{_holder_advice(holder)}"
                        ) from error
                except OSError as error:
                    raise StoreError(
                        f"Cannot lock {self._path}: {error.strerror}; nothing was changed; {advice(error)} and"
                        " try again"
                    ) from error
            if not wait_until(lambda: _acquire_legacy_lock(directory), Deadline(LOCK_TIMEOUT)):
                raise StoreError(f"{directory} is held by an older dev-sessions; try again, or remove it if none runs")
            try:
                with contextlib.suppress(OSError), open(holder, "w", opener=open_private) as stream:
                    stream.write(f"{os.getpid()} {pid_namespace.domain()}")
                yield
            finally:
                with contextlib.suppress(OSError):
                    directory.rmdir()


def kernel_lock(store: Path) -> Path:
    """Return the file whose kernel lock a writer of the store holds."""
    return store.with_name(".sessions.flock")


def holder_file(store: Path) -> Path:
    """Return the file in which a writer of the store names itself, for errors."""
    return store.with_name(".sessions.holder")


def legacy_lock(store: Path) -> Path:
    """Return the directory that is version 0.4's lock of the store."""
    return store.with_name(f"{store.name}.lock")


def _version(file: Path) -> tuple[int, ...]:
    """Return a key that differs between two versions of a file that is replaced whole."""
    status = file.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _parse(text: bytes, path: Path) -> Content:
    hint = "it was left as it is: repair it, or move it away to start with an empty store"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not valid JSON; {hint}") from error
    records = document.get("sessions") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise StoreError(f"{path} holds no list of sessions; {hint}")
    version = document.get("version")
    if version != VERSION:
        raise StoreError(
            f"{path} has version {version!r}, this program reads {VERSION}: use the newer one that wrote it"
        )
    other_fields = {name: value for name, value in document.items() if name not in ("version", "sessions")}
    content = Content(other_fields=other_fields)
    for record in records:
        session = _session(record)
        if session is None or session.id in content.sessions:
            content.unreadable.append(record)
        else:
            content.sessions[session.id] = session
    return content


def _session(record: object) -> Session | None:
    if not isinstance(record, dict):
        return None
    try:
        return session_from_json(record)
    except ValueError:
        return _coerce_session(record)


def _coerce_session(record: JsonObject) -> Session | None:
    """Read a record in which some values have other types than this version writes; None if that is impossible."""
    from dev_sessions.json_validation import from_json

    try:
        kind, arguments = session_arguments(record)
        session: Session = from_json(kind, arguments)
        require_valid(session)
    except ValueError:
        return None
    return session


def _acquire_legacy_lock(directory: Path) -> bool:
    """Try once to take version 0.4's lock; the caller holds the kernel lock."""
    try:
        directory.mkdir(mode=_OUR_LOCK_MODE)
    except FileExistsError:
        return _is_stale(directory)
    except OSError as error:
        raise StoreError(
            f"Cannot lock the session store with {directory}: {error.strerror}; {advice(error)} and try again"
        ) from error
    return True


def _is_stale(directory: Path) -> bool:
    try:
        status = directory.stat()
    except FileNotFoundError:
        return False  # just released; the next try creates our own
    return stat.S_IMODE(status.st_mode) == _OUR_LOCK_MODE or time.time() - status.st_mtime > _LEGACY_LOCK_STALE_AFTER


def _acquired_at(holder: Path) -> int:
    """Return when a process last acquired the lock, in nanoseconds: each writes its pid to the holder file."""
    try:
        return holder.stat().st_mtime_ns
    except OSError:
        return 0


def holder_of(file: Path) -> int | None:
    """Return the pid of the last process that acquired the store's lock, from the holder file, for example
    `4711 linux:MACHINE:BOOT:pid:[4026531836]`; None if it is unknown or of another pid namespace."""
    try:
        pid, _, domain = file.read_text().partition(" ")
    except (OSError, ValueError):
        return None
    return int(pid) if pid.isdigit() and pid_namespace.place(domain or None) == "here" else None


def _holder_advice(holder: Path) -> str:
    pid = holder_of(holder)
    return "; try again" if pid is None else f" by process {pid}; try again, or end that process if it hangs"
