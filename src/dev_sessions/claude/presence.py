"""Claude Code's own record of a running session: `<config>/sessions/<pid>.json`.

Measured: from 2.1.200 it holds `status` (idle, busy, waiting, shell) and `procStart` (on Linux `process.start_time`),
from 2.1.100 `pid` and `sessionId`; 2.1.0 writes none. It appears only when no start-up dialog is open, first without
`status`. After `kill -9` it stays behind, so the pid has to live and, where `procStart` tells, still be that process.
`sessionId` changes with `/clear`. `pidDomain` (2.1.300) names the pid namespace in the end: a container's pids say
nothing here.

`parkedJobId` (2.1.250 to 2.1.332): the conversation of this process has moved to Claude's background, where another one
runs it; that one's record has the same id as its `jobId` (see `background`).

Of a Claude in a container that shares the host's files it tells that it started, and nothing more. Two containers often
have the same pid, and then each writes its state into what the other one has begun (2.1.200 to 2.1.330: `busy` of one
beside the session id of the other). 2.1.200 and older sweep away the records of pids that they do not know, in a
container those of the host.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from dev_sessions import paths
from dev_sessions.claude.transcript import version_tuple
from dev_sessions.dataclass import dataclass
from dev_sessions.deadline import Deadline, poll
from dev_sessions.models import ClaudeSession
from dev_sessions.process import is_alive

_NEWEST = (sys.maxsize,)


@dataclass(frozen=True)
class Presence:
    """What a running Claude says of itself. `status_since`, and `began` of the process, are in seconds since the epoch,
    by its own clock.

    `started` is the process's `process.start_time`, None where the file does not tell. `elsewhere`: the pid is one of
    another pid namespace. `job`: the background job that this process runs; `parked`: the one that its conversation has
    moved to; `moved_from`: the session id that the job's conversation had before, where somebody has found that out.
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


def read(config_dir: Path, pid: int) -> Presence | None:
    """The record of one living process; None when there is none, or another process left it."""
    found = _read_file(config_dir / "sessions" / f"{pid}.json")
    if found is None or found.elsewhere:
        return None
    return found if found.started is None or is_alive(pid, found.started) else None


def of(session: ClaudeSession) -> Presence | None:
    """The record of a session's process. By pid, because the session id changes with /clear.

    Where there is none, or none that can be believed, what was known of the process when it started.
    """
    if session.mode == "docker":
        return remembered(session)
    directory = config_dir(session)
    if session.claude_pid is not None and session.claude_proc_start is not None:
        if not is_alive(session.claude_pid, session.claude_proc_start):
            return None
        found = read(directory, session.claude_pid)
        if found is not None:
            return found
    return find(directory, session.internal_id) or remembered(session)


def last_session_id(session: ClaudeSession) -> str:
    """The conversation that a session had last: what its process has left may know of a `/clear` that nobody noted."""
    found = left(session)
    return found.session_id if found is not None else session.internal_id


def left(session: ClaudeSession) -> Presence | None:
    """The record that a session's process has written, though it may have ended; None when there is none."""
    if session.claude_pid is None or session.claude_proc_start is None:
        return None
    found = _read_file(config_dir(session) / "sessions" / f"{session.claude_pid}.json")
    return found if found is not None and found.started == session.claude_proc_start else None


def remembered(session: ClaudeSession) -> Presence | None:
    """What is known of a Claude without its record: no state, but the version that it told at its start.

    One in a container that told none is taken for the newest: what that needs does older ones no harm.
    """
    if session.claude_version is None and session.mode == "native":
        return None
    version = version_tuple(session.claude_version) if session.claude_version is not None else _NEWEST
    return Presence(0, session.internal_id, status=None, status_since=0.0, waiting_for=None, version=version)


def find(config_dir: Path, session_id: str, *, in_container: bool = False) -> Presence | None:
    """The record of the living process that runs a session; None when no process does.

    Whether the process of a container lives can't be told by its pid, so there any record counts.
    """
    try:
        names = os.listdir(config_dir / "sessions")
    except OSError:
        return None
    for name in names:
        if name.endswith(".json"):
            found = _read_file(config_dir / "sessions" / name)
            if found is None or found.session_id != session_id:
                continue
            if in_container or is_alive(found.pid, found.started):
                return found
    return None


def _read_file(path: Path) -> Presence | None:
    def attempt() -> tuple[Presence | None] | None:
        try:
            return (_parse(json.loads(path.read_bytes())),)
        except ValueError:
            return None  # caught in the middle of being written; the next look will be whole
        except OSError:
            return (None,)

    found = poll(attempt, Deadline(0.2), 0.005)
    return found[0] if found else None


def _parse(record: object) -> Presence | None:
    if not isinstance(record, dict):
        return None
    pid, session_id = record.get("pid"), record.get("sessionId")
    if not isinstance(pid, int) or not isinstance(session_id, str):
        return None
    elsewhere = _is_elsewhere(_text(record.get("pidDomain")))
    return Presence(
        pid=pid,
        session_id=session_id,
        status=_text(record.get("status")),
        status_since=_seconds(record.get("statusUpdatedAt")),
        waiting_for=_text(record.get("waitingFor")),
        version=version_tuple(_text(record.get("version")) or ""),
        began=_seconds(record.get("startedAt")),
        started=_text(record.get("procStart")) if sys.platform == "linux" and not elsewhere else None,
        elsewhere=elsewhere,
        job=_text(record.get("jobId")),
        parked=_text(record.get("parkedJobId")),
    )


def _is_elsewhere(domain: str | None) -> bool:
    if domain is None or sys.platform != "linux":
        return False
    try:
        return not domain.endswith(os.readlink("/proc/self/ns/pid"))
    except OSError:
        return False


def _seconds(milliseconds: object) -> float:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
