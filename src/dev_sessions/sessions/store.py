"""`~/.dev-sessions/sessions.json`: `{"version": 1, "sessions": [record, …]}`.

Reading takes no lock, because the file is only ever replaced whole. A change takes the lock, reads again, writes a
temporary file, syncs and renames it. What this version cannot read is written back as it came.

Two locks stand in a row: a kernel lock that vanishes with its holder, and under it the directory with which the
original excludes others (`sessions.json.lock`), so that an old CLI on the same store keeps out too. Ours is marked by
its mode, given at the moment of its making: found by whoever has the kernel lock, it was left by a dead process. The
original's is stale after 30 s.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from dev_sessions.errors import SessionNotFound, StoreError
from dev_sessions.models import FieldChanges, JsonObject, Session, parse_timestamp, with_changes
from dev_sessions.record_json import session_arguments, session_from_json, session_to_json
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
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
#: Seconds that one process may have the lock, and that a crowd may take turns, before who waits gives up.
LOCK_TIMEOUT, _CROWD_PATIENCE = 10.0, 120.0
_FOREIGN_LOCK_STALE_AFTER = 30.0
#: The original's lock directory has its user's write bit; ours has none, under any umask.
_OUR_LOCK_MODE = 0o500


@fast_dataclass
class Content:
    """The store's content: sessions by id, and what was found but could not be read."""

    sessions: dict[str, Session] = field(default_factory=dict)
    unreadable: list[object] = field(default_factory=list)
    rest: JsonObject = field(default_factory=dict)

    def copy(self) -> Content:
        """Return the same content, to be changed."""
        return Content(dict(self.sessions), list(self.unreadable), dict(self.rest))

    def taken_ids(self) -> set[str]:
        """Every id that a record holds, readable or not."""
        foreign = [record.get("championId") for record in self.unreadable if isinstance(record, dict)]
        return set(self.sessions) | {name for name in foreign if isinstance(name, str)}


class Store:
    """The sessions that this machine's user knows of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: What was read last, and of which version of the file: it is only ever replaced whole.
        self._cached: tuple[tuple[int, ...], Content] | None = None

    def read(self) -> Content:
        """Everything in the store. StoreError when the file is not one that this version can read."""
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
        """One session. SessionNotFound; StoreError when its record is there but can't be read."""
        content = self.read()
        if session_id in content.sessions:
            return content.sessions[session_id]
        if session_id in content.taken_ids():
            raise StoreError(f"The record of {session_id} in {self._path} can't be read; correct it or remove it there")
        raise SessionNotFound(session_id)

    def update(self, session_id: str, changes: FieldChanges) -> Session:
        """Set some fields of a session, whatever else happened to its record since it was read."""
        with self.edit() as content:
            if session_id not in content.sessions:
                raise SessionNotFound(session_id)
            content.sessions[session_id] = with_changes(content.sessions[session_id], changes)
            return content.sessions[session_id]

    def remove(self, session_id: str) -> Content:
        """Forget a session. Removing what is not there is fine. Returns what is left."""
        with self.edit() as content:
            content.sessions.pop(session_id, None)
        return content

    @contextlib.contextmanager
    def edit(self) -> Iterator[Content]:
        """The content under the lock; what the caller made of it is saved unless the block raises."""
        ensure_private_dir(self._path.parent)
        with self._locked():
            content = self.read()
            before = dict(content.sessions)
            yield content
            if content.sessions != before:
                self._replace(content)

    def _replace(self, content: Content) -> None:
        records = [session_to_json(session) for session in content.sessions.values()]
        document = {**content.rest, "version": VERSION, "sessions": [*records, *content.unreadable]}
        file = self._path
        if file.is_symlink():
            # It stays one: what it leads to is replaced, where that is as much the user's own.
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
        crowd = Deadline(_CROWD_PATIENCE)
        directory = self._path.with_name(self._path.name + ".lock")
        holder = self._path.with_name(".sessions.holder")
        flock = self._path.with_name(".sessions.flock")
        require_owned(directory, holder, flock)
        with contextlib.ExitStack() as stack:
            while True:
                before = _changed(holder)
                try:
                    stack.enter_context(locked(flock, LOCK_TIMEOUT))
                    break
                except TimeoutError as error:
                    # Of many that wait, the kernel prefers none: one may have bad luck for long.
                    if _changed(holder) == before or crowd.expired:
                        raise StoreError(
                            f"{self._path} has been locked for {LOCK_TIMEOUT:g} s{_named(holder)}"
                        ) from error
                except OSError as error:
                    raise StoreError(
                        f"Cannot lock {self._path}: {error.strerror}; nothing was changed; {advice(error)} and"
                        " try again"
                    ) from error
            if not poll(lambda: _take_directory(directory) or None, Deadline(LOCK_TIMEOUT)):
                raise StoreError(f"{directory} is held by an older dev-sessions; try again, or remove it if none runs")
            try:
                with contextlib.suppress(OSError), open(holder, "w", opener=open_private) as stream:
                    stream.write(f"{os.getpid()} {pid_namespace.domain()}")
                yield
            finally:
                with contextlib.suppress(OSError):
                    directory.rmdir()


def _version(file: Path) -> tuple[int, ...]:
    """Return what differs between two versions of a file that is replaced whole."""
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


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
    content = Content(rest={name: value for name, value in document.items() if name not in ("version", "sessions")})
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
        return _foreign_session(record)


def _foreign_session(record: JsonObject) -> Session | None:
    """A record that is not to the letter what this version writes, where it can be understood all the same."""
    from pydantic import TypeAdapter

    try:
        kind, arguments = session_arguments(record)
        session = TypeAdapter(kind).validate_python(arguments)
        parse_timestamp(session.last_used)
    except ValueError:  # pydantic's ValidationError is one
        return None
    return session


def _take_directory(directory: Path) -> bool:
    """One try at the original's lock, by whoever holds the kernel lock."""
    try:
        directory.mkdir(mode=_OUR_LOCK_MODE)
    except FileExistsError:
        return _is_left_behind(directory)
    except OSError as error:
        raise StoreError(
            f"Cannot lock the session store with {directory}: {error.strerror}; {advice(error)} and try again"
        ) from error
    return True


def _is_left_behind(directory: Path) -> bool:
    try:
        found = directory.stat()
    except FileNotFoundError:
        return False  # released this very moment; the next try makes our own
    return stat.S_IMODE(found.st_mode) == _OUR_LOCK_MODE or time.time() - found.st_mtime > _FOREIGN_LOCK_STALE_AFTER


def _changed(holder: Path) -> int:
    """When the lock went to another process last: each writes its id."""
    try:
        return holder.stat().st_mtime_ns
    except OSError:
        return 0


def holder_of(file: Path) -> int | None:
    """The process that had the store's lock last, by its file; None when that is not known, or its pid means nothing
    here."""
    try:
        pid, _, domain = file.read_text().partition(" ")
    except (OSError, ValueError):
        return None
    return int(pid) if pid.isdigit() and pid_namespace.place(domain or None) == "here" else None


def _named(holder: Path) -> str:
    pid = holder_of(holder)
    return "; try again" if pid is None else f" by process {pid}; try again, or end that process if it hangs"


@contextlib.contextmanager
def exclusive(path: Path, patience: float, what: str) -> Iterator[None]:
    """Hold a kernel lock of its own file, which vanishes with its holder. StoreError after `patience` seconds.

    `what` names, for the error, what somebody else is doing.
    """
    ensure_private_dir(path.parent)
    require_owned(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path, patience))
        except TimeoutError as error:
            raise StoreError(f"{what} for {patience:g} s already; try again later") from error
        except OSError as error:
            raise StoreError(f"Cannot lock {path}: {error.strerror}; {advice(error)} and try again") from error
        yield
