"""What lies and runs here: the store with its lock, sessions, tmux sessions, Codex's app-server."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator

from dev_sessions.claude.backend import ClaudeBackend
from dev_sessions.claude.start import runs
from dev_sessions.claude.tmux import Tmux, session_name
from dev_sessions.codex import orphans
from dev_sessions.codex.app_server import AppServer, require_supported_server
from dev_sessions.codex.client import Client
from dev_sessions.codex.history import has_conversation
from dev_sessions.codex.legacy import legacy_app_server
from dev_sessions.codex.thread import Thread
from dev_sessions.doctor.check import PATIENCE, Check, one_line
from dev_sessions.doctor.programs import Program
from dev_sessions.errors import DevSessionsError, NotOurs, ProcessesUnseen, ProgramMissing
from dev_sessions.models import ClaudeSession, CodexSession, Session, SessionState
from dev_sessions.sessions.store import Store, holder_of
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.file_locks import is_held
from dev_sessions.system.process import owner_is_alive
from dev_sessions.system.version import version_text

#: Seconds for which the store may be locked: a command has the lock for milliseconds.
_LOCKED = 1.0


def store() -> Iterator[Check]:
    """Whether the records can be read and written, by their user alone."""
    file, folder = paths.store_file(), paths.state_dir()
    if not folder.exists():
        yield Check("store", "ok", f"{folder} is made with the first session")
        return
    try:
        content = Store(file).read()
    except DevSessionsError as error:
        yield Check("store", "broken", one_line(error))
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Check("store", "broken", f"{folder} can't be written: chmod 700 it, and see who owns it")
    elif folder.stat().st_mode & 0o077:
        yield Check("store", "warning", f"others may enter {folder}: chmod 700 {folder}")
    elif content.unreadable:
        text = f"{file} has {len(content.unreadable)} records that can't be read; they are kept, correct or remove them"
        yield Check("store", "warning", text)
    else:
        yield Check("store", "ok", f"{_count(len(content.sessions), 'session')} in {file}")


def lock() -> Iterator[Check]:
    """Whether somebody keeps the store locked. This holds no other command up."""
    kernel = paths.store_file().with_name(".sessions.flock")
    if not poll(lambda: None if is_held(kernel) else True, Deadline(_LOCKED)):
        pid = holder_of(kernel.with_name(".sessions.holder"))
        text = f"{kernel} has been locked for {_LOCKED:g} s; end what holds it"
        if pid is not None:
            text = f"the store has been locked for {_LOCKED:g} s by process {pid}; end it if it hangs"
        yield Check("lock", "broken", text)
        return
    older = paths.store_file().with_name("sessions.json.lock")
    with contextlib.suppress(FileNotFoundError):
        found = older.stat()
        if found.st_mode & 0o777 != 0o500 and time.time() - found.st_mtime > _LOCKED:
            text = f"{older} was left by an older dev-sessions; it is taken over after 30 s, or remove it if none runs"
            yield Check("lock", "warning", text)
            return
    yield Check("lock", "ok", "free")


def sandbox() -> Iterator[Check]:
    """Whether this is a sandbox, in which most other checks see nothing."""
    if not pid_namespace.outlasts_command():
        yield Check(
            "sandbox", "broken", one_line(pid_namespace.sandbox_error("No session can be started or ended here"))
        )


def sessions() -> Iterator[Check]:
    """Records of what does not live any more, on this machine."""
    here = [session for session in Store(paths.store_file()).read().sessions.values() if session.host is None]
    cut_short = [s.id for s in here if s.claimed_by is not None and not owner_is_alive(s.claimed_by)]
    whole = [session for session in here if session.claimed_by is None]
    claude = ClaudeBackend(lambda _: None).states(s for s in whole if isinstance(s, ClaudeSession))
    lost = [name for name, state in claude.items() if state == SessionState("lost")]
    lost += [session.id for session in _lost_codex(whole)]
    unseen = {name: state for name, state in claude.items() if isinstance(state, ProcessesUnseen)}
    if cut_short:
        text = (
            f"{_some(cut_short)}: begun by a create that was killed; the next dev-sessions list ends what is left of it"
        )
        yield Check("sessions", "warning", text)
    if lost:
        text = f"lost: {_some(lost)}; dev-sessions recover says what comes back, dev-sessions kill ID forgets one"
        yield Check("sessions", "warning", text)
    if unseen:
        yield Check("sessions", "warning", f"not known: {_some(list(unseen))}; {one_line(next(iter(unseen.values())))}")
    if not cut_short and not lost and not unseen:
        yield Check("sessions", "ok", f"{_count(len(whole), 'session')} here, none lost" if whole else "none here yet")


def _lost_codex(everybody: Iterable[Session]) -> Iterator[Session]:
    """Threads with a conversation that the running app-server does not know. While none runs, all of them rest."""
    legacy = legacy_app_server()
    threads = [
        session
        for session in everybody
        if isinstance(session, CodexSession)
        and has_conversation(session)
        and not (legacy is not None and legacy.serves(session))
    ]
    if not threads:
        return
    with AppServer(paths.codex_dir()).connect_if_running() as client:
        for session in threads if client is not None else ():
            if client is not None and Thread(client, session).status() is None:
                yield session


def app_server(installed: Program) -> Iterator[Check]:
    """Codex's app-server: whether it runs, answers, and is what is installed."""
    server = AppServer(paths.codex_dir())
    state = server.state()
    records = Store(paths.store_file()).read().sessions.values()
    with server.connect_if_running() as client:
        if client is None:
            yield Check("app-server", "ok", "Codex's does not run; the first Codex session starts it")
            return
        yield from _nobodys_threads(client)
        pid = state.pid_here if state else 0
        try:
            require_supported_server(client, pid)
        except ProgramMissing as error:
            yield Check("app-server", "broken", one_line(error))
            return
        version = version_text(client.version) or "an app-server of an unknown version"
        text = f"{version} runs" + (f" (process {pid})" if pid else "")
        if installed.version and client.version and client.version != installed.version:
            older = installed.version < client.version
            kept = "conversations are kept" + (", but that older one may not be able to read them" if older else "")
            advice = (
                f"but {version_text(installed.version)} is installed; it stays until the last Codex session is killed,"
                + (f" or end it when its turns are over: kill {pid}" if pid else "")
                + f" ({kept}; the next command starts the other one)"
            )
            yield Check("app-server", "warning", f"{text}, {advice}")
        elif not any(isinstance(session, CodexSession) for session in records):
            yield Check("app-server", "warning", f"{text}, and no session needs it; dev-sessions kill --all ends it")
        else:
            yield Check("app-server", "ok", text)


def _nobodys_threads(client: Client) -> Iterator[Check]:
    """Threads in which nothing was ever said and that no record knows: a create was killed when it had made one."""

    def records() -> Iterable[Session]:
        return Store(paths.store_file()).read().sessions.values()

    if found := orphans.find(client, records):
        mended = "the next dev-sessions kill, of whichever session, ends them"
        yield Check("threads", "warning", f"no session has {_some(found)}, and nothing was said there; {mended}")


def launch_specs() -> Iterator[Check]:
    """Files with an agent's environment that no command will start an agent from any more."""
    records = Store(paths.store_file()).read().sessions
    left = []
    for file in sorted(paths.launch_dir().glob("*")) + sorted(paths.launch_dir().glob(".*")):
        name = file.name.removeprefix(".").partition(".")[0]
        claim = records[name].claimed_by if name in records else None
        if not (claim is not None and owner_is_alive(claim)) and not is_held(paths.sender_lock(name)):
            left.append((name, file))
    if not left:
        yield Check("launch", "ok", "no environment lies about")
    for name, file in left:
        advice = f"dev-sessions kill {name} removes it, as recover does" if name in records else "remove it"
        yield Check("launch", "warning", f"{name}: a killed command left its environment in {file}; {advice}")


def tmux_sessions() -> Iterator[Check]:
    """tmux sessions with a name of ours that no record knows."""
    records = Store(paths.store_file()).read().sessions.values()
    named = {Tmux.here(), Tmux.default()} | {
        s.tmux_socket for s in records if isinstance(s, ClaudeSession) and s.tmux_socket
    }
    sockets = []
    for socket in sorted(named):
        try:
            Tmux(socket).require_owned()
            sockets.append(socket)
        except NotOurs as error:
            yield Check("tmux server", "broken" if socket == Tmux.here() else "warning", one_line(error))
    known = {(session_name(session.id), getattr(session, "tmux_socket", None)) for session in records}
    found = [
        (name, socket)
        for socket in sockets
        if os.path.exists(socket)
        for name in Tmux(socket).names(PATIENCE)
        if name.startswith("dev-") and not {(name, socket), (name, None)} & known
    ]
    ours = [name for name, socket in found if runs(name.removeprefix("dev-"), Tmux(socket))]
    others = [(name, socket) for name, socket in found if name not in ours]
    if ours:
        name = ours[0].removeprefix("dev-")
        text = f"no record knows {_some(ours)}, which dev-sessions started; dev-sessions kill {name} ends the first"
        yield Check("tmux sessions", "warning", text)
    if others:
        name, socket = others[0]
        text = f"no record knows {_some([name for name, _ in others])}; look: tmux -S {socket} attach -t ={name}"
        yield Check("tmux sessions", "warning", f"{text}, and end it with kill-session in place of attach")
    if not found:
        yield Check("tmux sessions", "ok", "none that dev-sessions does not know")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
