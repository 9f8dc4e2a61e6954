"""Start Claude Code in a tmux session, and wait until it reports that it is ready; leave nothing behind on failure."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dev_sessions.claude import environment, launch, preflight, session_file, session_panes, tmux_windows
from dev_sessions.claude.command_line import command_line
from dev_sessions.claude.session_file import SessionFile
from dev_sessions.claude.tmux import Pane, PaneClosed, Tmux, session_name
from dev_sessions.claude.tmux_windows import NameTaken
from dev_sessions.claude.transcript_file import Tail, find_transcript
from dev_sessions.errors import (
    DevSessionsError,
    IdInUse,
    LivenessUnknown,
    MayBeRunning,
    StartFailed,
)
from dev_sessions.models import ClaudeSession, FieldChanges
from dev_sessions.system import file_locks, paths, pid_namespace
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.private_files import ensure_private_dir, open_private
from dev_sessions.system.process import identify, terminate
from dev_sessions.system.process_id import ProcessId
from dev_sessions.system.programs import find_program
from dev_sessions.system.version import version_text

#: Claude may offer to resume a long conversation from a summary after an hour without activity (read from the program,
#: 2.1.330); with this it resumes the conversation itself.
_NO_RESUME_FROM_SUMMARY = {"CLAUDE_CODE_RESUME_TOKEN_THRESHOLD": str(10**9)}


def start(session: ClaudeSession, warn: Callable[[str], None], *, trust: bool = False) -> FieldChanges:
    """Start Claude in a new tmux session; return the record's fields once it reports that it is ready.

    Raises IdInUse when tmux has a session of this name, and StartFailed when Claude exits or shows a start-up dialog.
    No key is ever pressed in such a dialog, because the answer may be "exit", or up to the user; but with `trust`, the
    user has answered the question whether the folder is trusted.
    """
    return _launch(session, ["--session-id", session.internal_id], {}, warn, trust=trust)


def resume(session: ClaudeSession, unfinished: Pane | None, warn: Callable[[str], None]) -> FieldChanges:
    """Start Claude again with the session's conversation; `unfinished` is the pane of an interrupted resume.

    Claude does not resume a conversation without a transcript, but accepts its id for a new one. It does neither if the
    transcript holds only the first lines, without a message (2.1.330); then a conversation with a new id is begun.
    """
    if unfinished is not None:
        try:
            return _finish_start(session, unfinished, (), warn)
        except PaneClosed:
            # If its start was given up before it read its launch spec, it closes itself. A container may outlive it.
            if session.mode == "docker":
                raise
    transcript = find_transcript(session_file.config_dir(session), session.internal_id)
    option = "--session-id"
    if transcript is not None:
        if any(b'"user"' in line or b'"assistant"' in line for line in Tail(transcript, 0).lines()):
            option = "--resume"
        else:
            session = replace(session, internal_id=str(uuid.uuid4()))
    fields = _launch(session, [option, session.internal_id], _NO_RESUME_FROM_SUMMARY, warn)
    return {**fields, "internal_id": session.internal_id}


def _launch(
    session: ClaudeSession,
    conversation_options: list[str],
    extra: Mapping[str, str],
    warn: Callable[[str], None],
    *,
    trust: bool = False,
) -> FieldChanges:
    pid_namespace.require_unsandboxed("Nothing was started")
    tmux = Tmux()
    find_program("tmux")
    tmux.require_usable()
    if session.mode == "native":
        preflight.require_supported_program()
    # Those of a Claude that died in a container snapshot the same as those of a live one.
    stale = session_file.of_session(session)
    spec = _write_launch_spec(session, command_line(session, conversation_options), extra)
    try:
        return _finish_start(session, _open_pane(session, tmux, spec), stale, warn, trust=trust)
    except NameTaken as error:
        session_panes.remove_files(session.id)
        raise IdInUse(session.id) from error
    except BaseException as error:
        # If this command was interrupted while tmux opened the pane, the pane is not known.
        try:
            found = session_panes.list_panes(session.id, tmux)
            panes = [info.pane.id for info in found if session_panes.is_started_for(session.id, info)]
            if panes:
                _close(session, tmux, panes)
            session_panes.remove_files(session.id)
        except (DevSessionsError, OSError) as unknown:
            if isinstance(error, DevSessionsError | OSError):
                raise MayBeRunning(f"{error}; if tmux has started {session.id}, {_remedy(session)}") from unknown
        if isinstance(error, TimeoutError):
            raise StartFailed(f"{error}; nothing is left of the start: try again") from error
        raise
    finally:
        spec.unlink(missing_ok=True)


def _open_pane(session: ClaudeSession, tmux: Tmux, spec: Path) -> Pane:
    name, argv = session_name(session.id), [sys.executable, "-I", "-S", "-X", "utf8", launch.__file__, str(spec)]
    try:
        return tmux_windows.new_session(tmux, name, argv, session.path)
    except NameTaken:
        if _is_new(session):
            raise
        # A lost session keeps the windows that a person or a hook has opened in it.
        return tmux_windows.new_window(tmux, name, argv, session.path)


def _is_new(session: ClaudeSession) -> bool:
    """Return whether the session is being created, so that all of its tmux session is this command's."""
    return session.claimed_by is not None


def _remedy(session: ClaudeSession) -> str:
    """Return the command that cleans up an agent that could not be checked."""
    return "the next dev-sessions list ends it" if _is_new(session) else f"repeat: dev-sessions recover {session.id}"


def _close(session: ClaudeSession, tmux: Tmux, panes: Iterable[str]) -> None:
    """Close panes of the session's agent, and all of the tmux session if it was created for it just now."""
    if _is_new(session):
        tmux.kill(session_name(session.id))
    for pane in panes:
        tmux.kill_pane(pane)


def _finish_start(
    session: ClaudeSession,
    pane: Pane,
    stale: Sequence[SessionFile],
    warn: Callable[[str], None],
    *,
    trust: bool = False,
) -> FieldChanges:
    """Wait until the Claude in a pane is ready; on failure, end it and remove the tmux session."""
    tmux = Tmux(pane.socket)
    try:
        pane.require_here()
    except LivenessUnknown as error:
        if tmux.liveness(session_name(session.id)) in ("dead", "no server"):
            raise PaneClosed from error
        raise
    process = identify(pane.pid)
    try:
        # Loaded while Claude starts: the modules that read its dialogs take 6 ms.
        from dev_sessions.claude.readiness import await_ready

        found = await_ready(session, tmux, pane, stale, warn, trust=trust)
        preflight.require_supported(found.version if found is not None else ())
        tmux_windows.close_on_exit(tmux, pane.id)
    except BaseException:
        _discard(session, pane, process)
        raise
    return {
        "tmux_socket": pane.socket,
        "tmux_pane": pane.id,
        "claude_pid": pane.pid,
        "claude_proc_start": process.started if process is not None else None,
        "claude_pid_domain": pid_namespace.domain(),
        "claude_lock": file_locks.lock_id(paths.alive_lock(session.id)),
        "claude_config_dir": str(session_file.config_dir(session)),
        "claude_version": version_text(found.version) if found is not None else None,
    }


def _discard(session: ClaudeSession, pane: Pane, process: ProcessId | None) -> None:
    """Close a session's new pane and end its process, whatever state they are in."""
    with contextlib.suppress(DevSessionsError, OSError):
        if session.mode == "docker":
            from dev_sessions.claude.readiness import agent_pane

            agent_pane(session, pane).quit()
        _close(session, Tmux(pane.socket), [pane.id])
    if process is not None:
        terminate(process)


def _write_launch_spec(session: ClaudeSession, argv: Sequence[str], extra: Mapping[str, str]) -> Path:
    """Write the private file that `launch.py` reads. The caller's environment takes precedence over `extra`."""
    # Without the agents view there is no subagent type `claude` either (2.1.332); a user who wants both sets this to 0.
    defaults = {environment.NO_AGENTS_VIEW: "1", environment.NO_SURVEYS: "1"}
    variables = {**defaults, **extra, **environment.for_session(session)}
    lock = paths.alive_lock(session.id)
    document = {"argv": list(argv), "env": variables, "path": session.path, "lock": str(lock)}
    ensure_private_dir(lock.parent)
    lock.unlink(missing_ok=True)
    os.close(open_private(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    ensure_private_dir(paths.launch_dir())
    spec = session_panes.launch_spec_file(session.id)
    spec.unlink(missing_ok=True)
    with open(spec, "wb", opener=open_private) as stream:
        stream.write(json.dumps(document).encode())
    return spec
