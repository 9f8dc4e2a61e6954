"""Wait until a Claude that was just started reports that it is ready, or say why it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from dev_sessions.claude import dialog_keys, docker, session_file
from dev_sessions.claude.command_line import manual_start_command
from dev_sessions.claude.dialogs import Dialog, Option
from dev_sessions.claude.pane import SLOW_POLL_INTERVAL, AgentPane
from dev_sessions.claude.screen import box_text, plain, startup_dialog_text
from dev_sessions.claude.session_file import FILE_POLL_INTERVAL, SessionFile
from dev_sessions.claude.tmux import Pane, PaneClosed, Tmux
from dev_sessions.claude.transcript_file import find_transcript
from dev_sessions.errors import DeliveryFailed, StartFailed, last_lines
from dev_sessions.models import ClaudeSession
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import replace

#: Seconds for which the prompt of a Claude in a container must be on the screen if no session file is visible, because
#: one may never appear, or only late.
_HIDDEN_READY_DELAY = 4.0
#: The option that accepts a folder, in the dialog that Claude shows in a new one (2.1.250 to 2.1.332).
_TRUST_LABEL = "Yes, I trust this folder"
#: `New MCP server found in this project: NAME`, `2 new MCP servers found in this project` (2.1.332).
_ASKS_ABOUT_SERVERS = r"MCP servers? found in "


def await_ready(
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
                raise PaneClosed
            if snapshot.process_ended:
                raise StartFailed(_exit_message(tmux.scrollback(pane.id)))
            dialog = startup_dialog_text(snapshot.screen) if found is None else None
            if dialog is not None and dialog == dialog_before:
                if not (trust and _accept_trust(agent_pane(session, pane))):
                    raise StartFailed(_dialog_message(dialog, session))
                trust, dialog = False, None
            dialog_before = dialog
            may_lack_session_file = found is None and session.mode == "docker"
            if not may_lack_session_file or box_text(snapshot.screen) is None:
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
    new = (record for record in session_file.of_session(session) if record not in stale)
    return next((record for record in new if session.mode == "docker" or record.in_other_namespace), None)


def agent_pane(session: ClaudeSession, pane: Pane) -> AgentPane:
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


def _exit_message(screen: str) -> str:
    words = plain(screen)
    output = f"; its output:\n{last_lines(words)}" if words else " without output; to see why, run: claude"
    return f"Claude Code exited during its start{output}"


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
