"""Start Claude Code in a tmux session, and wait until it reports that it is ready; leave nothing behind on failure."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dev_sessions.agent_options import names_option
from dev_sessions.claude import dialog_keys, docker, environment, launch, preflight, session_file, session_panes
from dev_sessions.claude.dialogs import Dialog, Option
from dev_sessions.claude.pane import SLOW_POLL_INTERVAL, AgentPane
from dev_sessions.claude.screen import box_text, plain, startup_dialog_text
from dev_sessions.claude.session_file import FILE_POLL_INTERVAL, SessionFile
from dev_sessions.claude.tmux import CLOSED_BY_TMUX, NameTaken, Pane, Tmux, session_name
from dev_sessions.claude.transcript_file import Tail, find_transcript
from dev_sessions.errors import (
    DeliveryFailed,
    DevSessionsError,
    IdInUse,
    MayBeRunning,
    ProcessesUnseen,
    StartFailed,
    last_lines,
)
from dev_sessions.models import ClaudeSession, FieldChanges
from dev_sessions.system import file_locks, paths, pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.private_files import ensure_private_dir, open_private
from dev_sessions.system.process import identify, terminate
from dev_sessions.system.process_id import ProcessId
from dev_sessions.system.programs import find_program
from dev_sessions.system.version import version_text

#: Seconds for which the prompt of a Claude in a container must be on the screen if no session file is visible: none may
#: ever be, or the machine is slow.
_HIDDEN_READY_DELAY = 4.0
#: The option that accepts a folder, in the dialog that Claude shows in a new one (2.1.250 to 2.1.332).
_TRUST_LABEL = "Yes, I trust this folder"
#: `New MCP server found in this project: NAME`, `2 new MCP servers found in this project` (2.1.332).
_ASKS_ABOUT_SERVERS = r"MCP servers? found in "
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
        return _finish_start(session, unfinished, (), warn)
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
    conversation: list[str],
    extra: Mapping[str, str],
    warn: Callable[[str], None],
    *,
    trust: bool = False,
) -> FieldChanges:
    pid_namespace.require_outlasting("Nothing was started")
    tmux = Tmux()
    find_program("tmux")
    tmux.require_usable()
    if session.mode == "native":
        preflight.require_supported_program()
    # Those of a Claude that died in a container snapshot the same as those of a live one.
    stale = _session_files(session)
    spec = _write_launch_spec(session, _command(session, conversation), extra)
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
        return tmux.new_session(name, argv, session.path)
    except NameTaken:
        if _is_new(session):
            raise
        # A lost session keeps the windows that a person or a hook has opened in it.
        return tmux.new_window(name, argv, session.path)


def _is_new(session: ClaudeSession) -> bool:
    """Return whether the session is being created, so that all of its tmux session is this command's."""
    return session.claimed_by is not None


def _remedy(session: ClaudeSession) -> str:
    """Return what ends or takes over an agent that could not be looked for."""
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
    except ProcessesUnseen as error:
        if tmux.liveness(session_name(session.id)) in ("dead", "no server"):
            raise StartFailed(CLOSED_BY_TMUX) from error
        raise
    process = identify(pane.pid)
    try:
        found = _await_ready(session, tmux, pane, stale, warn, trust=trust)
        preflight.require_supported(found.version if found is not None else ())
        tmux.close_on_exit(pane.id)
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
            _agent_pane(session, pane).quit()
        _close(session, Tmux(pane.socket), [pane.id])
    if process is not None:
        terminate(process)


def _agent_pane(session: ClaudeSession, pane: Pane) -> AgentPane:
    """Return the pane of an agent that is not in the session's record yet."""
    return AgentPane(replace(session, tmux_socket=pane.socket, tmux_pane=pane.id, claude_pid=pane.pid))


def _accept_trust(pane: AgentPane) -> bool:
    """Accept the dialog that asks whether the folder is trusted; return whether that is the dialog on the screen.

    Raises StartFailed if it does not take the answer.
    """

    def trusts(dialog: Dialog) -> Option | None:
        return next((option for option in dialog.options if option.label == _TRUST_LABEL), None)

    found = dialog_keys.await_dialog(pane, 2 * SLOW_POLL_INTERVAL)
    if found is None or trusts(found) is None:
        return False
    try:
        # That it is gone is the proof; then Claude starts, exits, or asks something else.
        dialog_keys.decide(pane, trusts, lambda: False)
    except DeliveryFailed as error:
        raise StartFailed(
            "The dialog that asks whether the folder is trusted was not accepted; start claude there once, answer it,"
            " then create the session again"
        ) from error
    return True


def _command(session: ClaudeSession, conversation: Sequence[str]) -> list[str]:
    args = session.agent_args or ()
    model = ["--model", session.model] if session.model else []
    options = [*conversation, "--name", session.display_name, *model, *args]
    if session.mode == "docker":
        return [find_program("clauded"), *options]
    return [find_program("claude"), *_permissions(args), *options]


def _permissions(args: Sequence[str]) -> list[str]:
    """Return the option that switches permissions off. It would override a permission mode (2.1.250 to 2.1.332)."""
    return [] if names_option(args, "--permission-mode") else ["--dangerously-skip-permissions"]


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


def _await_ready(
    session: ClaudeSession,
    tmux: Tmux,
    pane: Pane,
    stale: Sequence[SessionFile],
    warn: Callable[[str], None],
    *,
    trust: bool,
) -> SessionFile | None:
    """Wait until Claude reports that it is idle or, in a container that hides that, until its prompt is stable.

    With `trust`, the dialog that asks whether the folder is trusted is accepted, once.
    """
    deadline = Deadline(paths.ready_timeout())
    next_screen = Deadline(2 * SLOW_POLL_INTERVAL)
    prompt_deadline: Deadline | None = None
    dialog_before: str | None = None
    while not deadline.expired:
        found = _new_session_file(session, pane.pid, stale)
        if found is not None and found.status is not None:
            return found
        if next_screen.expired:
            next_screen = Deadline(SLOW_POLL_INTERVAL)
            snapshot = tmux.snapshot(pane.id)
            if snapshot is None:
                raise StartFailed(CLOSED_BY_TMUX)
            if snapshot.process_ended:
                raise StartFailed(_exit_message(tmux.scrollback(pane.id)))
            dialog = startup_dialog_text(snapshot.screen) if found is None else None
            if dialog is not None and dialog == dialog_before:
                if not (trust and _accept_trust(_agent_pane(session, pane))):
                    raise StartFailed(_dialog_message(dialog, session))
                trust, dialog = False, None
            dialog_before = dialog
            is_hidden = found is None and session.mode == "docker"
            if not is_hidden or box_text(snapshot.screen) is None:
                prompt_deadline = None
            elif prompt_deadline is None:
                prompt_deadline = Deadline(_HIDDEN_READY_DELAY)
            elif prompt_deadline.expired:
                if find_transcript(session_file.config_dir(session), session.internal_id) is None:
                    warn(docker.unobservable_warning(session))
                return None
        deadline.pause(FILE_POLL_INTERVAL)
    warn(f"Claude has not reported that it is ready; attach with: dev-sessions attach {session.id}")
    return None


def _new_session_file(session: ClaudeSession, pid: int, stale: Sequence[SessionFile]) -> SessionFile | None:
    found = session_file.read(session_file.config_dir(session), pid) if session.mode == "native" else None
    if found is not None:
        return found
    # A `claude` on PATH may be a wrapper that runs it in a sandbox, under another pid.
    new = (record for record in _session_files(session) if record not in stale)
    return next((record for record in new if session.mode == "docker" or record.in_other_namespace), None)


def _session_files(session: ClaudeSession) -> list[SessionFile]:
    in_container = session.mode == "docker"
    return list(session_file.scan(session_file.config_dir(session), session.internal_id, in_container=in_container))


def _exit_message(screen: str) -> str:
    words = plain(screen)
    output = f"; its output:\n{last_lines(words)}" if words else " without output; to see why, run: claude"
    return f"Claude Code exited during its start{output}"


def manual_start_command(args: Sequence[str] = ()) -> str:
    """Return the command with which a person starts Claude as a session with these options does.

    They decide what it asks: without permissions, it does not ask about the servers of `.mcp.json` (2.1.332). As root
    it needs a variable.
    """
    command = shlex.join(["claude", *_permissions(args), *args])
    return f"IS_SANDBOX=1 {command}" if os.geteuid() == 0 else command


def _dialog_message(dialog: str, session: ClaudeSession) -> str:
    # A worktree is removed again; Claude trusts it if it trusts its repository (2.1.250 to 2.1.330).
    path = paths.repository_of(session.worktree) if session.worktree is not None else session.path
    command = "clauded" if session.mode == "docker" else manual_start_command(session.agent_args or ())
    if _TRUST_LABEL in dialog:
        return (
            f"Claude Code asks whether it may trust {path}: accept that with --trust, or run"
            f" {command} there once and answer"
        )
    if re.search(_ASKS_ABOUT_SERVERS, dialog):
        # In a folder that is trusted only for the one above it, the answer of a person is not kept (2.1.332).
        return (
            f"Claude Code asks about the servers in {path}/.mcp.json: choose them with -- --settings"
            f' \'{{"enabledMcpjsonServers": ["NAME"]}}\' (or "disabledMcpjsonServers"), or run {command} there once and'
            f" answer. It shows:\n{last_lines(dialog)}"
        )
    return (
        f"Claude Code asks something before it starts: run {command} in {path} once, answer, then try again."
        f" It shows:\n{last_lines(dialog)}"
    )
