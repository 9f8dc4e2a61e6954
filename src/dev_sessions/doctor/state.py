"""Checks of this machine's state: the store and its lock, sessions, tmux sessions, Codex's app-server."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dev_sessions.claude.backend import ClaudeBackend
from dev_sessions.claude.session_panes import has_agent
from dev_sessions.claude.tmux import Tmux, session_name
from dev_sessions.codex import orphans
from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.backend import is_in_use
from dev_sessions.codex.client import Client, require_supported_server
from dev_sessions.codex.history import has_conversation
from dev_sessions.codex.legacy import legacy_app_server
from dev_sessions.codex.protocol import ThreadStatus
from dev_sessions.codex.thread import Thread
from dev_sessions.doctor.check import TIMEOUT, Check, one_line
from dev_sessions.doctor.programs import Program
from dev_sessions.errors import DevSessionsError, LivenessUnknown, NotOwned, ProgramMissing
from dev_sessions.models import ClaudeSession, CodexSession, Session, SessionState
from dev_sessions.sessions import worktree_removal
from dev_sessions.sessions.store import Store, holder_file, holder_of, kernel_lock, legacy_lock
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.file_locks import is_held
from dev_sessions.system.process import owner_is_alive
from dev_sessions.system.version import version_text

#: Seconds for which the store may be locked; a command holds the lock for milliseconds.
_MAX_LOCK_TIME = 1.0
#: Worktrees without a session that are listed one by one.
_MAX_WORKTREES = 10
#: Bytes that have to be free on the store's disk: it is replaced whole, and agents write beside it.
_MIN_ROOM = 1024 * 1024


def store() -> Iterator[Check]:
    """Check that the user, and nobody else, can read and write the store."""
    file, folder = paths.store_file(), paths.state_dir()
    if not folder.exists():
        yield _unwritable(folder.parent) or Check("store", "ok", f"{folder} is created with the first session")
        return
    try:
        content = Store(file).read()
    except DevSessionsError as error:
        yield Check("store", "broken", one_line(error))
        return
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < _MIN_ROOM or (disk.f_files and not disk.f_favail):
        yield Check("store", "broken", f"the disk of {folder} is full: make room on it")
    elif (unwritable := _unwritable(folder)) is not None:
        yield unwritable
    elif folder.stat().st_mode & 0o077:
        yield Check("store", "warning", f"others may enter {folder}: chmod 700 {folder}")
    elif content.unreadable:
        text = f"{file} has {len(content.unreadable)} records that cannot be read; they are kept: fix or remove them"
        yield Check("store", "warning", text)
    else:
        yield Check("store", "ok", f"{_count(len(content.sessions), 'session')} in {file}")


def _unwritable(folder: Path) -> Check | None:
    """Return the check that a folder cannot be used fails; None if it can."""
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return None
    pid_namespace.require_unsandboxed(f"{folder} is not writable")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return Check("store", "broken", f"{folder} is on a read-only disk, so no session can be started or ended")
    return Check("store", "broken", f"{folder} is not writable: chmod u+rwx it, and check its owner")


def lock() -> Iterator[Check]:
    """Check that no process keeps the store locked, without blocking other commands."""
    kernel = kernel_lock(paths.store_file())
    if not wait_until(lambda: not is_held(kernel), Deadline(_MAX_LOCK_TIME)):
        pid = holder_of(holder_file(paths.store_file()))
        text = f"{kernel} has been locked for {_MAX_LOCK_TIME:g} s; end the process that holds it"
        if pid is not None:
            text = f"the store has been locked for {_MAX_LOCK_TIME:g} s by process {pid}; end it if it hangs"
        yield Check("lock", "broken", text)
        return
    legacy = legacy_lock(paths.store_file())
    with contextlib.suppress(FileNotFoundError):
        status = legacy.stat()
        if status.st_mode & 0o777 != 0o500 and time.time() - status.st_mtime > _MAX_LOCK_TIME:
            text = f"{legacy} was left by an older dev-sessions; it expires after 30 s, or remove it if none is running"
            yield Check("lock", "warning", text)
            return
    yield Check("lock", "ok", "free")


def sandbox() -> Iterator[Check]:
    """Check that this is not a sandbox, in which most other checks see nothing."""
    if pid_namespace.is_sandboxed():
        yield Check(
            "sandbox", "broken", one_line(pid_namespace.sandbox_error("No session can be started or ended here"))
        )


def _records() -> Collection[Session]:
    return Store(paths.store_file()).read().sessions.values()


def sessions() -> Iterator[Check]:
    """Check for lost sessions of this machine, and for records of killed creates."""
    here = [session for session in _records() if session.host is None]
    abandoned = [s.id for s in here if s.claimed_by is not None and not owner_is_alive(s.claimed_by)]
    created = [session for session in here if session.claimed_by is None]
    claude = ClaudeBackend(lambda _: None).states(s for s in created if isinstance(s, ClaudeSession))
    lost = [name for name, state in claude.items() if state == SessionState("lost")]
    in_background = [name for name, state in claude.items() if isinstance(state, SessionState) and state.moved_to]
    threads = _codex_threads(created)
    lost += [name for name, status in threads.items() if status is None]
    archived = [name for name, status in threads.items() if status is not None and status.archived]
    unseen = {name: state for name, state in claude.items() if isinstance(state, LivenessUnknown)}
    if abandoned:
        text = f"{_some(abandoned)}: left by a create that was killed; the next dev-sessions list cleans up"
        yield Check("sessions", "warning", text)
    if lost:
        text = f"lost: {_some(lost)}; to see which can be recovered: dev-sessions recover"
        yield Check("sessions", "warning", f"{text}; to delete one: dev-sessions kill ID")
    if unseen:
        yield Check("sessions", "warning", f"not known: {_some(list(unseen))}; {one_line(next(iter(unseen.values())))}")
    if in_background:
        text = f"in Claude's background: {_some(in_background)}; bring one back with: dev-sessions recover ID --yes"
        yield Check("sessions", "warning", text)
    if archived:
        text = f"archived in Codex: {_some(archived)}; what brings one back says: dev-sessions recover ID"
        yield Check("sessions", "warning", text)
    if not abandoned and not lost and not unseen and not in_background and not archived:
        text = f"{_count(len(created), 'session')} here, none lost" if created else "none here yet"
        yield Check("sessions", "ok", text)


def _codex_threads(sessions: Iterable[Session]) -> dict[str, ThreadStatus | None]:
    """Return the threads of sessions with a conversation, None if the app-server lacks it; none without a server."""
    legacy = legacy_app_server()
    threads = [
        session
        for session in sessions
        if isinstance(session, CodexSession)
        and has_conversation(session)
        and not (legacy is not None and legacy.serves(session))
    ]
    found: dict[str, ThreadStatus | None] = {}
    for directory in dict.fromkeys(paths.codex_dir(session.codex_home) for session in threads):
        there = [session for session in threads if paths.codex_dir(session.codex_home) == directory]
        with AppServer(directory).connect_if_running() as client:
            if client is not None:
                found |= {session.id: Thread(client, session).status() for session in there}
    return found


def app_server(installed: Program) -> Iterator[Check]:
    """Check that each of Codex's app-servers answers, if it is running, and has the installed version."""
    checks = [check for directory in paths.codex_dirs() for check in _one_app_server(directory, installed)]
    yield from checks or [Check("app-server", "ok", "not running; the first Codex session starts it")]


def _one_app_server(directory: Path, installed: Program) -> Iterator[Check]:
    server = AppServer(directory)
    state = server.state()
    with server.connect_if_running() as client:
        if client is None:
            return
        yield from _orphaned_threads(client)
        pid = state.pid_here if state else 0
        try:
            require_supported_server(client, pid)
        except ProgramMissing as error:
            yield Check("app-server", "broken", one_line(error))
            return
        version = version_text(client.version) or "an app-server of an unknown version"
        text = f"{version} is running" + (f" (process {pid})" if pid else "")
        if installed.version and client.version and client.version != installed.version:
            older = installed.version < client.version
            kept = "conversations are kept" + (", but the older version may not read them" if older else "")
            advice = (
                f"but {version_text(installed.version)} is installed; it ends with the last Codex session,"
                + (f" or end it when no turn is running: kill {pid}" if pid else "")
                + f" ({kept}; the next command starts the installed one)"
            )
            yield Check("app-server", "warning", f"{text}, {advice}")
        elif not is_in_use(directory, _records):
            yield Check("app-server", "warning", f"{text}, and no session uses it; dev-sessions kill --all ends it")
        else:
            yield Check("app-server", "ok", text)


def _orphaned_threads(client: Client) -> Iterator[Check]:
    """Check for empty threads without a session, which killed creates leave behind."""
    if found := orphans.find(client, _records):
        text = f"empty threads without a session: {_some(found)}; the next dev-sessions kill of any session ends them"
        yield Check("threads", "warning", text)


def worktrees(folder: str) -> Iterator[Check]:
    """Check for worktrees of ended sessions, in the repositories of a folder and of this machine's sessions."""
    sessions = [session for session in _records() if session.host is None]
    folders = dict.fromkeys([folder, *(session.path for session in sessions)])
    found = list(worktree_removal.left_behind(filter(os.path.isdir, folders), sessions))
    for left in found[:_MAX_WORKTREES]:
        what = left.reason or "nothing in it would be lost"
        remedy = worktree_removal.kept_advice(left.path)
        yield Check("worktree", "warning", f"{left.path} ({_megabytes(left.size)}) has no session: {what}; {remedy}")
    if more := found[_MAX_WORKTREES:]:
        size = _megabytes(sum(left.size for left in more))
        yield Check("worktree", "warning", f"{_count(len(more), 'more worktree')} without a session ({size})")
    if not found:
        yield Check("worktree", "ok", "none without a session, in the repositories of this folder and of sessions")


def _megabytes(size: int) -> str:
    return f"{max(size / 1e6, 0.1):.1f} MB"


def launch_specs() -> Iterator[Check]:
    """Check for launch specs, which hold an agent's environment, that killed commands left behind."""
    left = leftover_launch_specs()
    if not left:
        yield Check("launch", "ok", "no leftover launch specs")
    for name, file, has_record in left:
        advice = f"dev-sessions kill {name} or recover {name} removes it" if has_record else "remove it"
        yield Check("launch", "warning", f"{name}: a killed command left its environment in {file}; {advice}")


def leftover_launch_specs() -> list[tuple[str, Path, bool]]:
    """Return the launch specs that killed commands left behind, each with the id of its session, and whether that has a
    record."""
    records = {session.id: session for session in _records()}
    left = []
    for file in sorted(paths.launch_dir().glob("*")) + sorted(paths.launch_dir().glob(".*")):
        name = file.name.removeprefix(".").partition(".")[0]
        claim = records[name].claimed_by if name in records else None
        if not owner_is_alive(claim) and not is_held(paths.sender_lock(name)):
            left.append((name, file, name in records))
    return left


def tmux_sessions() -> Iterator[Check]:
    """Check for tmux sessions named like ours that have no record."""
    records = _records()
    named = {Tmux.current_socket(), Tmux.default_socket()} | {
        s.tmux_socket for s in records if isinstance(s, ClaudeSession) and s.tmux_socket
    }
    sockets = []
    for socket in sorted(named):
        try:
            Tmux(socket).require_owned()
            sockets.append(socket)
        except NotOwned as error:
            yield Check("tmux server", "broken" if socket == Tmux.current_socket() else "warning", one_line(error))
    known = {(session_name(session.id), getattr(session, "tmux_socket", None)) for session in records}
    found = [
        (name, socket)
        for socket in sockets
        if os.path.exists(socket)
        for name in Tmux(socket).list_sessions(TIMEOUT)
        if name.startswith("dev-") and not {(name, socket), (name, None)} & known
    ]
    agents = [name for name, socket in found if has_agent(name.removeprefix("dev-"), Tmux(socket))]
    others = [(name, socket) for name, socket in found if name not in agents]
    if agents:
        name = agents[0].removeprefix("dev-")
        text = f"started by dev-sessions, without a record: {_some(agents)}; end the first with:"
        text += f" dev-sessions kill {name}"
        yield Check("tmux sessions", "warning", text)
    if others:
        name, socket = others[0]
        text = f"named like sessions, without a record: {_some([name for name, _ in others])}; inspect the first with:"
        text += f" tmux -S {socket} attach -t ={name}; end it with kill-session in place of attach"
        yield Check("tmux sessions", "warning", text)
    if not found:
        yield Check("tmux sessions", "ok", "none without a record")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
