"""Read Claude Code's session files: `<config>/sessions/<pid>.json`, the state that a running Claude reports.

One file, shortened (2.1.330)::

    {"pid": 30896, "sessionId": "8dbfeb7d-…", "startedAt": 1795382715882, "procStart": "348106", "version": "2.1.330",
     "status": "waiting", "statusUpdatedAt": 1795382716812, "waitingFor": "input needed", …}

`status` is idle, busy, waiting or shell; `procStart` is the process's start time (see `start_time`). The file appears
once no start-up dialog is open, at first without `status`. It survives `kill -9`, so it counts only while its pid is
alive and, where `procStart` is given, belongs to the same process. `/clear` changes `sessionId`. `pidDomain` names the
pid namespace, `linux:MACHINE:pid:[NUMBER]` with the machine's id: a pid of another namespace is meaningless here.

`parkedJobId` (2.1.250 to 2.1.332) means that the conversation has moved to Claude's background, where another process
runs it; the session file of that process has the same id as its `jobId` (see `background`).

For a Claude in a container that shares the host's files, the file proves only that it started. Two containers often
use the same pid, and then each writes its state into the other's file (2.1.250 to 2.1.330: `busy` of one beside the
session id of the other). A container that may write to `sessions/` could also forge the state of every session on the
host, so it may use `<config>/clauded-sessions/` instead (docs/containers.md).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.errors import LivenessUnknown
from dev_sessions.models import ClaudeSession
from dev_sessions.system import file_locks, paths, pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.foreign_files import read_regular
from dev_sessions.system.json_object import string
from dev_sessions.system.process import is_alive, is_running, parse_lstart
from dev_sessions.system.process_id import ProcessId
from dev_sessions.system.version import parse_version

#: Folders of session files in Claude's configuration: of this host's processes, and of containers.
_HOST_FOLDER, _CONTAINER_FOLDER = "sessions", "clauded-sessions"
#: Maximum bytes of a session file: a container can put anything in place of one.
_MAX_SIZE = 1024 * 1024
_NEWEST_VERSION = (sys.maxsize,)
#: Seconds between two polls of a session file or a transcript.
FILE_POLL_INTERVAL = 0.02
#: Statuses in which Claude is not working; with `shell`, a command runs in the background.
NOT_WORKING = frozenset({"idle", "shell"})


@fast_dataclass(frozen=True)
class SessionFile:
    """The state that a Claude process reports.

    `status_since` and `registered_at`, when the process first wrote the file (2.1.332: 0.2 to 2.4 s after its start),
    are in seconds since the epoch, by Claude's clock. `started` is the process's `process.start_time`, None if the file
    does not have it. `in_other_namespace`: the pid belongs to another pid namespace or machine. `job`: the background
    job that this process runs. `parked_job_id`: the job to which its conversation has moved. `moved_from`: the session
    id that the job's conversation had before, if known.
    """

    pid: int
    session_id: str
    status: str | None
    status_since: float
    waiting_for: str | None
    version: tuple[int, ...]
    registered_at: float = 0.0
    started: str | None = None
    in_other_namespace: bool = False
    job: str | None = None
    parked_job_id: str | None = None
    moved_from: str | None = None


def config_dir(session: ClaudeSession) -> Path:
    """Return the Claude configuration directory of a session."""
    return Path(session.claude_config_dir) if session.claude_config_dir else paths.claude_config_dir()


def read(config_dir: Path, pid: int) -> SessionFile | None:
    """Return the session file of a live process, or None if it has none of its own. Raises LivenessUnknown."""
    found = _read_file(config_dir / _HOST_FOLDER / f"{pid}.json")
    if found is None or found.in_other_namespace:
        return None
    return found if found.started is None or is_running(ProcessId(pid, found.started)) else None


def for_session(session: ClaudeSession) -> SessionFile | None:
    """Return the session file of a session's process, or what its record holds if there is none to trust.

    The file is found by pid, because /clear changes the session id. Raises LivenessUnknown.
    """
    if session.mode == "docker":
        return from_record(session)
    directory = config_dir(session)
    if session.process is not None:
        if not is_process_alive(session, session.process):
            return None
        found = _read_file(directory / _HOST_FOLDER / f"{session.process.pid}.json")
        if found is not None and found.started in (None, session.process.started):
            return found
        # A `claude` on PATH may be a wrapper that runs it in a sandbox, under another pid.
        inside = (record for record in scan(directory, session.internal_id) if record.in_other_namespace)
        return find_live(directory, session.internal_id) or next(inside, None) or from_record(session)
    return find_live(directory, session.internal_id) or from_record(session)


def is_process_alive(session: ClaudeSession, process: ProcessId) -> bool:
    """Return whether the recorded process of a session is alive.

    Raises LivenessUnknown when there is no proof of either: it runs in another pid namespace, and its lock is not
    visible here.
    """
    where = pid_namespace.place(session.claude_pid_domain)
    if where == "ended":
        return False
    if where in ("here", "unknown"):
        # A start time counts clock ticks since boot, so no process of another namespace has the same pid and time.
        if is_running(process):
            return True
        if where == "here":
            return False
        require_visible(session)
        return False
    released = None
    if where == "other namespace":
        released = file_locks.is_released(paths.alive_lock(session.id), session.claude_lock)
    if released is None:
        raise not_visible_error(session)
    return not released


def local_process(session: ClaudeSession) -> ProcessId | None:
    """Return the session's process for ending it, or None when it is gone or was never recorded.

    Raises LivenessUnknown when it runs in another pid namespace, or may do so.
    """
    if session.process is None:
        require_visible(session)
        return None
    if not is_process_alive(session, session.process):
        return None
    if pid_namespace.place(session.claude_pid_domain) in ("here", "unknown"):
        return session.process
    raise other_namespace_error(session)


def require_visible(session: ClaudeSession) -> None:
    """Raise LivenessUnknown when the session may run in another pid namespace, where its process can't be seen.

    A record without a namespace is judged by Claude's own session files; without those, the session is expected outside
    of sandboxes.
    """
    where = pid_namespace.place(session.claude_pid_domain)
    if where == "unknown":
        pid_namespace.require_unsandboxed(f"Can't tell whether {session.id} is alive")
        # In docker mode it lives as long as its tmux session, which is outside the container.
        if session.mode == "native" and any(
            record.in_other_namespace and session.claude_proc_start in (None, record.started)
            for record in scan(config_dir(session), session.internal_id)
        ):
            raise not_visible_error(session)
    elif where not in ("here", "ended"):
        raise not_visible_error(session)


def other_namespace_error(session: ClaudeSession) -> LivenessUnknown:
    """Return the error for ending or typing into a session that runs in another pid namespace."""
    what = f"{session.id} was left alone"
    if pid_namespace.is_sandboxed():
        return pid_namespace.sandbox_error(what)
    return LivenessUnknown(f"{what}: it runs in another pid namespace (of a container or sandbox); run this there")


def not_visible_error(session: ClaudeSession) -> LivenessUnknown:
    """Return the error for a session whose process can't be seen from here, naming where it runs."""
    what = f"Can't tell whether {session.id} is alive"
    if pid_namespace.is_sandboxed():
        return pid_namespace.sandbox_error(what)
    place = "in another pid namespace (of a container or sandbox)"
    if session.claude_pid_domain is not None and pid_namespace.place(session.claude_pid_domain) == "other machine":
        place = f"on another machine, {pid_namespace.machine_of(session.claude_pid_domain)}"
    return LivenessUnknown(
        f"{what}: it was started {place}; ask there or, if that is gone for good: dev-sessions recover {session.id}"
        f" --gone --yes, or dev-sessions kill {session.id} --gone"
    )


def last_session_id(session: ClaudeSession) -> str:
    """Return the session's last conversation, from the file its process left: it knows of a later `/clear`."""
    found = last_written(session)
    return found.session_id if found is not None else session.internal_id


def last_written(session: ClaudeSession) -> SessionFile | None:
    """Return the session file that the session's process wrote, even if it has ended, or None."""
    if session.process is None:
        return None
    found = _read_file(config_dir(session) / _HOST_FOLDER / f"{session.process.pid}.json")
    return found if found is not None and found.started == session.process.started else None


def remove(session: ClaudeSession) -> None:
    """Remove the session file of a process that has ended in another pid namespace.

    Without this, a later command could not tell that the process is gone.
    """
    file = config_dir(session) / _HOST_FOLDER / f"{session.claude_pid}.json"
    found = _read_file(file)
    if found is not None and found.in_other_namespace and found.started == session.claude_proc_start:
        with contextlib.suppress(OSError):
            file.unlink()


def from_record(session: ClaudeSession) -> SessionFile | None:
    """Return what the record knows of a Claude without a session file: its version, and no status.

    Without a recorded version, a Claude in a container is assumed to be the newest.
    """
    if session.claude_version is None and session.mode == "native":
        return None
    version = parse_version(session.claude_version) if session.claude_version is not None else _NEWEST_VERSION
    return SessionFile(0, session.internal_id, status=None, status_since=0.0, waiting_for=None, version=version)


def find_live(config_dir: Path, session_id: str) -> SessionFile | None:
    """Return the session file of the live local process that has a conversation, or None. Raises LivenessUnknown."""
    here = (record for record in scan(config_dir, session_id) if not record.in_other_namespace)
    return next((record for record in here if _is_running(record)), None)


def _is_running(record: SessionFile) -> bool:
    if record.started is None:
        return is_alive(record.pid)
    return is_running(ProcessId(record.pid, record.started))


def scan(config_dir: Path, session_id: str, *, in_container: bool = False) -> Iterator[SessionFile]:
    """Yield all session files of a conversation, live or not; with `in_container`, those left by containers, too."""
    for folder in (_HOST_FOLDER, _CONTAINER_FOLDER) if in_container else (_HOST_FOLDER,):
        for path in (config_dir / folder).glob("*.json"):
            found = _read_file(path)
            if found is not None and found.session_id == session_id:
                yield found


def of_session(session: ClaudeSession) -> list[SessionFile]:
    """Return all session files of a session's conversation, live or not."""
    return list(scan(config_dir(session), session.internal_id, in_container=session.mode == "docker"))


def _read_file(path: Path) -> SessionFile | None:
    def attempt() -> tuple[SessionFile | None] | None:
        try:
            return (_parse(json.loads(read_regular(path, _MAX_SIZE))),)
        except (ValueError, RecursionError):
            return None  # read while it was being written, or anything else
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
        status=string(record.get("status")),
        status_since=_seconds(record.get("statusUpdatedAt")),
        waiting_for=string(record.get("waitingFor")),
        version=parse_version(string(record.get("version")) or ""),
        registered_at=_seconds(record.get("startedAt")),
        started=start_time(record.get("procStart")),
        in_other_namespace=pid_namespace.is_elsewhere(string(record.get("pidDomain"))),
        job=string(record.get("jobId")),
        parked_job_id=string(record.get("parkedJobId")),
    )


def start_time(written: object) -> str | None:
    """Return a process's start time that Claude wrote in the notation of `process.start_time`, or None without one.

    On macOS Claude writes what `ps -o lstart` prints in the C locale in UTC: `Sun Nov 29 05:11:09 2026`.
    """
    if not isinstance(written, str) or pid_namespace.ON_LINUX:
        return string(written)
    with contextlib.suppress(ValueError):
        return parse_lstart(written.split())
    return None


def _seconds(milliseconds: object) -> float:
    with contextlib.suppress(OverflowError):
        return milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0
    return 0.0
