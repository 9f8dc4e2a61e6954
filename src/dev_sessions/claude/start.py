"""Starting Claude Code: from nothing to an agent that says it is ready, or to nothing again."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dev_sessions.claude import docker, environment, launch, preflight, session_file
from dev_sessions.claude.pane import AgentPane
from dev_sessions.claude.screen import box_text, plain, start_dialog
from dev_sessions.claude.session_file import SessionFile
from dev_sessions.claude.tmux import NameTaken, Occupant, Pane, Tmux, session_name
from dev_sessions.claude.transcript_file import Tail, find_transcript
from dev_sessions.errors import DevSessionsError, IdInUse, StartFailed
from dev_sessions.models import ClaudeSession, FieldChanges
from dev_sessions.system import file_locks, paths, pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.private_files import ensure_private_dir, open_private
from dev_sessions.system.process import find_program, start_time, terminate
from dev_sessions.system.version import version_text

#: Seconds between two looks at the session file, and at the screen.
_POLL_INTERVAL = 0.015
_SCREEN_LOOK = 0.2
#: Seconds that the prompt of one in a container must stand of which no file is seen here: none may ever be, or the
#: machine is slow.
_SETTLE_UNSEEN = 4.0
#: Claude may offer to resume a long conversation that has rested for more than an hour from a summary (seen in the
#: program, 2.1.330). What is brought back is the conversation.
_RESUME_WHOLE = {"CLAUDE_CODE_RESUME_TOKEN_THRESHOLD": str(10**9)}


def start(session: ClaudeSession, warn: Callable[[str], None]) -> FieldChanges:
    """Start Claude in a tmux session of its own; returns the record's fields once it reports that it is ready.

    IdInUse when tmux has a session of this name. StartFailed when Claude dies, or when a dialog stands before its
    start: nothing is ever pressed there, because the answer may be "exit", or the user's to give.
    """
    return _open(session, ["--session-id", session.internal_id], {}, warn)


def resume(session: ClaudeSession, left: Pane | None, warn: Callable[[str], None]) -> FieldChanges:
    """As `start`, with the conversation that the session had; `left` is where a resume that was cut short began it.

    A conversation without a transcript Claude does not resume, but takes its id again. One whose transcript got no
    further than its first, empty lines it does neither (2.1.330): there is nothing in it, so another one is begun.
    """
    if left is not None:
        return _settle(session, left, (), warn)
    transcript = find_transcript(session_file.config_dir(session), session.internal_id)
    how = "--session-id"
    if transcript is not None:
        if any(b'"user"' in line or b'"assistant"' in line for line in Tail(transcript, 0).lines()):
            how = "--resume"
        else:
            session = replace(session, internal_id=str(uuid.uuid4()))
    started = _open(session, [how, session.internal_id], _RESUME_WHOLE, warn)
    return {**started, "internal_id": session.internal_id}


def launch_spec_file(session_id: str) -> Path:
    """Where an agent's environment lies until it starts."""
    return paths.launch_dir() / f"{session_id}.json"


def forget_files(session_id: str) -> None:
    """Remove that file, should a killed command have left it, and the one that a session's agent had locked."""
    launch_spec_file(session_id).unlink(missing_ok=True)
    paths.alive_lock(session_id).unlink(missing_ok=True)


def is_of(session_id: str, occupant: Occupant) -> bool:
    """Whether what runs in a pane was started here, for this very session."""
    return str(launch_spec_file(session_id)) in occupant.command


def runs(session_id: str, tmux: Tmux, *, here: bool = False) -> bool:
    """Whether a server has a session that was started here for this one. ProtocolError when tmux does not say; with
    `here` ProcessesUnseen when it is one of another pid namespace."""
    return any(is_of(session_id, occupant) for occupant in tmux.occupants(session_name(session_id), here=here))


def _open(
    session: ClaudeSession, conversation: list[str], extra: Mapping[str, str], warn: Callable[[str], None]
) -> FieldChanges:
    pid_namespace.require_outlasting("Nothing was started")
    tmux = Tmux()
    find_program("tmux")
    if session.mode == "native":
        preflight.require_supported_program()
    # Of a Claude that died in a container, which cannot be told from a living one.
    stale = _records(session)
    order = _write_launch_spec(session, _command(session, conversation), extra)
    try:
        pane = tmux.open(
            session_name(session.id), [sys.executable, "-I", "-S", launch.__file__, str(order)], session.path
        )
        return _settle(session, pane, stale, warn)
    except NameTaken as error:
        forget_files(session.id)
        raise IdInUse(session.id) from error
    except BaseException:
        # Cut short while tmux opened it, nobody has been told its pane.
        with contextlib.suppress(DevSessionsError, OSError):
            if runs(session.id, tmux):
                tmux.kill(session_name(session.id))
            forget_files(session.id)
        raise
    finally:
        order.unlink(missing_ok=True)


def _settle(
    session: ClaudeSession, pane: Pane, stale: Sequence[SessionFile], warn: Callable[[str], None]
) -> FieldChanges:
    """Wait until the Claude in a pane is ready; when it does not get there, nothing of it is left."""
    tmux = Tmux(pane.socket)
    pane.require_here()
    started = start_time(pane.pid)
    try:
        found = _await_ready(session, tmux, pane, stale, warn)
        preflight.require_supported(found.version if found is not None else ())
        tmux.close_on_exit(pane.pane)
    except BaseException:
        _discard(session, pane, started)
        raise
    return {
        "tmux_socket": pane.socket,
        "tmux_pane": pane.pane,
        "claude_pid": pane.pid,
        "claude_proc_start": started,
        "claude_pid_domain": pid_namespace.domain(),
        "claude_lock": file_locks.lock_id(paths.alive_lock(session.id)),
        "claude_config_dir": str(session_file.config_dir(session)),
        "claude_version": version_text(found.version) if found is not None else None,
    }


def _discard(session: ClaudeSession, pane: Pane, started: str | None) -> None:
    """End a session's tmux session and its process, whatever state they are in."""
    with contextlib.suppress(DevSessionsError):
        if session.mode == "docker":
            AgentPane(replace(session, tmux_socket=pane.socket, tmux_pane=pane.pane, claude_pid=pane.pid)).leave()
        Tmux(pane.socket).kill(session_name(session.id))
    if started is not None:
        terminate(pane.pid, started)


def _command(session: ClaudeSession, conversation: Sequence[str]) -> list[str]:
    model = ["--model", session.model] if session.model else []
    if session.mode == "docker":
        return [find_program("clauded"), *conversation, *model]
    return [find_program("claude"), "--dangerously-skip-permissions", *conversation, *model]


def _write_launch_spec(session: ClaudeSession, argv: Sequence[str], extra: Mapping[str, str]) -> Path:
    """The private file from which `claude/launch.py` becomes the agent. `extra` yields to what the caller has set."""
    # Without the agents view there is no subagent type `claude` either (2.1.332); who wants both sets it to 0.
    variables = {environment.NO_AGENTS_VIEW: "1", **extra, **environment.of_session(session)}
    lock = paths.alive_lock(session.id)
    document = {"argv": list(argv), "env": variables, "path": session.path, "lock": str(lock)}
    ensure_private_dir(lock.parent)
    lock.unlink(missing_ok=True)
    os.close(open_private(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    ensure_private_dir(paths.launch_dir())
    order = launch_spec_file(session.id)
    order.unlink(missing_ok=True)
    with open(order, "wb", opener=open_private) as stream:
        stream.write(json.dumps(document).encode())
    return order


def _await_ready(
    session: ClaudeSession, tmux: Tmux, pane: Pane, stale: Sequence[SessionFile], warn: Callable[[str], None]
) -> SessionFile | None:
    """Return when Claude says that it is idle; in a container that does not show it, when its prompt has settled."""
    deadline = Deadline(paths.ready_timeout())
    next_look = Deadline(2 * _SCREEN_LOOK)
    settled: Deadline | None = None
    dialog_before: str | None = None
    while not deadline.expired:
        found = _found(session, pane.pid, stale)
        if found is not None and found.status is not None:
            return found
        if next_look.expired:
            next_look = Deadline(_SCREEN_LOOK)
            look = tmux.look(pane.pane)
            if look is None or look.process_ended:
                raise StartFailed(_died(tmux.last_words(pane.pane)))
            dialog = start_dialog(look.screen) if found is None else None
            if dialog is not None and dialog == dialog_before:
                raise StartFailed(_blocked(dialog, session))
            dialog_before = dialog
            unseen = found is None and session.mode == "docker"
            if not unseen or box_text(look.screen) is None:
                settled = None
            elif settled is None:
                settled = Deadline(_SETTLE_UNSEEN)
            elif settled.expired:
                if find_transcript(session_file.config_dir(session), session.internal_id) is None:
                    warn(docker.warning(session))
                return None
        deadline.pause(_POLL_INTERVAL)
    warn(f"Claude has not reported that it is ready; look with: tmux attach -t ={session_name(session.id)}")
    return None


def _found(session: ClaudeSession, pid: int, stale: Sequence[SessionFile]) -> SessionFile | None:
    found = session_file.read(session_file.config_dir(session), pid) if session.mode == "native" else None
    if found is not None:
        return found
    # Also of one that its program on PATH has put into a sandbox.
    new = (record for record in _records(session) if record not in stale)
    return next((record for record in new if session.mode == "docker" or record.elsewhere), None)


def _records(session: ClaudeSession) -> list[SessionFile]:
    in_container = session.mode == "docker"
    return list(session_file.records(session_file.config_dir(session), session.internal_id, in_container=in_container))


def _died(screen: str) -> str:
    words = plain(screen)
    said = f"; it said:\n{words}" if words else " and said nothing; see what it says by hand: claude"
    return f"Claude Code ended as it started{said}"


def by_hand() -> str:
    """The command by which a person starts Claude as a session does: root is refused unless it says that it may."""
    return ("IS_SANDBOX=1 " if os.geteuid() == 0 else "") + "claude --dangerously-skip-permissions"


def _blocked(dialog: str, session: ClaudeSession) -> str:
    # A worktree is taken away again; Claude trusts it when it trusts its repository (2.1.250 to 2.1.330).
    path = paths.repository_of(session.worktree) if session.worktree is not None else session.path
    command = "clauded" if session.mode == "docker" else by_hand()
    return (
        "Claude Code asks something before it starts, and that is for you to answer: "
        f"run {command} in {path} once, answer, then try again. "
        f"It shows:\n{dialog}"
    )
