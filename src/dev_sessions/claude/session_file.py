"""Claude Code's own record of a running session: `<config>/sessions/<pid>.json`.

Measured: it holds `pid`, `sessionId`, `status` (idle, busy, waiting, shell) and `procStart` (on Linux
`process.start_time`). It appears only when no start-up dialog is open, first without `status`. After
`kill -9` it stays behind, so the pid has to live and, where `procStart` tells, still be that process. `sessionId`
changes with `/clear`. `pidDomain` is its pid namespace, `linux:MACHINE:pid:[NUMBER]` with the machine's id: pids of
another one say nothing here.

`parkedJobId` (2.1.250 to 2.1.332): the conversation of this process has moved to Claude's background, where another one
runs it; that one's record has the same id as its `jobId` (see `background`).

Of a Claude in a container that shares the host's files it tells that it started, and nothing more. Two containers often
have the same pid, and then each writes its state into what the other one has begun (2.1.250 to 2.1.330: `busy` of one
beside the session id of the other). And who may write there can speak for every session of the host: so a container may
leave its records in `<config>/clauded-sessions/` (README.md, Containers).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.errors import ProcessesUnseen
from dev_sessions.models import ClaudeSession
from dev_sessions.system import file_locks, paths, pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.process import is_alive
from dev_sessions.system.version import parse_version

#: Where session files lie, and where those of containers may.
_FOLDER, _OF_CONTAINERS = "sessions", "clauded-sessions"
_NEWEST = (sys.maxsize,)
#: The statuses of a Claude that does nothing: `shell` has a command in the background.
NOT_WORKING = frozenset({"idle", "shell"})


@fast_dataclass(frozen=True)
class SessionFile:
    """What a running Claude says of itself. `status_since`, and `began` of the process, are in seconds since the epoch,
    by its own clock.

    `started` is the process's `process.start_time`, None where the file does not tell. `elsewhere`: the pid is one of
    another pid namespace, or of another machine. `job`: the background job that this process runs; `parked`: the one
    that its conversation has moved to; `moved_from`: the session id that the job's conversation had before, where
    somebody has found that out.
    """

    pid: int
    session_id: str
    status: str | None
    status_since: float
    waiting_for: str | None
    version: tuple[int, ...]
    began: float = 0.0
    started: str | None = None
    elsewhere: bool = False
    job: str | None = None
    parked: str | None = None
    moved_from: str | None = None


def config_dir(session: ClaudeSession) -> Path:
    """Claude's configuration that a session lives in."""
    return Path(session.claude_config_dir) if session.claude_config_dir else paths.claude_config_dir()


def read(config_dir: Path, pid: int) -> SessionFile | None:
    """The record of one living process; None when there is none, or another process left it. ProcessesUnseen."""
    found = _read_file(config_dir / "sessions" / f"{pid}.json")
    if found is None or found.elsewhere:
        return None
    return found if found.started is None or is_alive(pid, found.started) else None


def of(session: ClaudeSession) -> SessionFile | None:
    """The record of a session's process. By pid, because the session id changes with /clear. ProcessesUnseen.

    Where there is none, or none that can be believed, what was known of the process when it started.
    """
    if session.mode == "docker":
        return remembered(session)
    directory = config_dir(session)
    if session.claude_pid is not None and session.claude_proc_start is not None:
        if not lives(session):
            return None
        found = _read_file(directory / "sessions" / f"{session.claude_pid}.json")
        if found is not None and found.started in (None, session.claude_proc_start):
            return found
        # A program on PATH may have put it into a sandbox.
        inside = (record for record in records(directory, session.internal_id) if record.elsewhere)
        return find(directory, session.internal_id) or next(inside, None) or remembered(session)
    return find(directory, session.internal_id) or remembered(session)


def lives(session: ClaudeSession) -> bool:
    """Whether the process of a session lives, of which pid and start time are on file.

    ProcessesUnseen when nothing proves either: the process is of another pid namespace, and has no lock that is seen
    here.
    """
    assert session.claude_pid is not None
    assert session.claude_proc_start is not None
    where = pid_namespace.place(session.claude_pid_domain)
    if where == "ended":
        return False
    if where in ("here", "unknown"):
        # Start times are in ticks since the boot: they are no other process's in another namespace.
        if is_alive(session.claude_pid, session.claude_proc_start):
            return True
        if where == "here":
            return False
        require_seen(session)
        return False
    released = None
    if where == "other namespace":
        released = file_locks.is_released(paths.alive_lock(session.id), session.claude_lock)
    if released is None:
        raise unseen(session)
    return not released


def pid_here(session: ClaudeSession) -> int | None:
    """The process of a session, to be ended; None when it is gone, or none was noted. ProcessesUnseen when it lives in
    another pid namespace, or may."""
    if session.claude_pid is None or session.claude_proc_start is None:
        require_seen(session)
        return None
    if not lives(session):
        return None
    if pid_namespace.place(session.claude_pid_domain) in ("here", "unknown"):
        return session.claude_pid
    raise runs_elsewhere(session)


def require_seen(session: ClaudeSession) -> None:
    """ProcessesUnseen when a session of which no process is seen here may run in another pid namespace. For a record
    that does not tell where it runs, its Claude does, and else it is where sessions are made: outside of sandboxes."""
    where = pid_namespace.place(session.claude_pid_domain)
    if where == "unknown":
        pid_namespace.require_outlasting(f"Whether {session.id} lives is not known")
        # One in a container lives as long as its tmux session, which is not of that namespace.
        if session.mode == "native" and any(
            record.elsewhere and session.claude_proc_start in (None, record.started)
            for record in records(config_dir(session), session.internal_id)
        ):
            raise unseen(session)
    elif where not in ("here", "ended"):
        raise unseen(session)


def runs_elsewhere(session: ClaudeSession) -> ProcessesUnseen:
    """The error of what can't be done to a session that lives in another pid namespace."""
    what = f"{session.id} was left alone"
    if not pid_namespace.outlasts_command():
        return pid_namespace.sandbox_error(what)
    return ProcessesUnseen(f"{what}: it runs in another pid namespace (of a container or sandbox); run this there")


def unseen(session: ClaudeSession) -> ProcessesUnseen:
    """The error of a session whose processes are not seen here, with where they are."""
    what = f"Whether {session.id} lives is not known"
    if not pid_namespace.outlasts_command():
        return pid_namespace.sandbox_error(what)
    place = "in another pid namespace (of a container or sandbox)"
    if session.claude_pid_domain is not None and pid_namespace.place(session.claude_pid_domain) == "other machine":
        place = f"on another machine, {pid_namespace.machine_of(session.claude_pid_domain)}"
    return ProcessesUnseen(
        f"{what} here: it was started {place}; ask there. If that is gone for good: dev-sessions recover {session.id}"
        f" --gone --yes, or dev-sessions kill {session.id} --gone"
    )


def last_session_id(session: ClaudeSession) -> str:
    """The conversation that a session had last: what its process has left may know of a `/clear` that nobody noted."""
    found = left(session)
    return found.session_id if found is not None else session.internal_id


def left(session: ClaudeSession) -> SessionFile | None:
    """The record that a session's process has written, though it may have ended; None when there is none."""
    if session.claude_pid is None or session.claude_proc_start is None:
        return None
    found = _read_file(config_dir(session) / "sessions" / f"{session.claude_pid}.json")
    return found if found is not None and found.started == session.claude_proc_start else None


def forget(session: ClaudeSession) -> None:
    """Remove the record that the process of a session has left in another pid namespace, of which it is known to be
    gone: nobody could tell that later."""
    file = config_dir(session) / "sessions" / f"{session.claude_pid}.json"
    found = _read_file(file)
    if found is not None and found.elsewhere and found.started == session.claude_proc_start:
        with contextlib.suppress(OSError):
            file.unlink()


def remembered(session: ClaudeSession) -> SessionFile | None:
    """What is known of a Claude without its record: no state, but the version that it told at its start.

    One in a container that told none is taken for the newest.
    """
    if session.claude_version is None and session.mode == "native":
        return None
    version = parse_version(session.claude_version) if session.claude_version is not None else _NEWEST
    return SessionFile(0, session.internal_id, status=None, status_since=0.0, waiting_for=None, version=version)


def find(config_dir: Path, session_id: str) -> SessionFile | None:
    """The record of the living process of this pid namespace that runs a session; None when no process does.
    ProcessesUnseen."""
    here = (record for record in records(config_dir, session_id) if not record.elsewhere)
    return next((record for record in here if is_alive(record.pid, record.started)), None)


def records(config_dir: Path, session_id: str, *, in_container: bool = False) -> Iterator[SessionFile]:
    """All records of processes that run a session, or did; with `in_container` those that containers leave, too."""
    for folder in (_FOLDER, _OF_CONTAINERS) if in_container else (_FOLDER,):
        for path in (config_dir / folder).glob("*.json"):
            # A container may leave there what it likes: a pipe, for one, would never end.
            found = _read_file(path) if path.is_file() else None
            if found is not None and found.session_id == session_id:
                yield found


def _read_file(path: Path) -> SessionFile | None:
    def attempt() -> tuple[SessionFile | None] | None:
        try:
            return (_parse(json.loads(path.read_bytes())),)
        except ValueError:
            return None  # caught in the middle of being written; the next look will be whole
        except OSError:
            return (None,)

    found = poll(attempt, Deadline(0.2), 0.005)
    return found[0] if found else None


def _parse(record: object) -> SessionFile | None:
    if not isinstance(record, dict):
        return None
    pid, session_id = record.get("pid"), record.get("sessionId")
    if not isinstance(pid, int) or not isinstance(session_id, str):
        return None
    return SessionFile(
        pid=pid,
        session_id=session_id,
        status=_text(record.get("status")),
        status_since=_seconds(record.get("statusUpdatedAt")),
        waiting_for=_text(record.get("waitingFor")),
        version=parse_version(_text(record.get("version")) or ""),
        began=_seconds(record.get("startedAt")),
        started=_text(record.get("procStart")) if pid_namespace.ON_LINUX else None,
        elsewhere=pid_namespace.is_elsewhere(_text(record.get("pidDomain"))),
        job=_text(record.get("jobId")),
        parked=_text(record.get("parkedJobId")),
    )


def _seconds(milliseconds: object) -> float:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
