"""The panes of a session: those of its tmux session, and those in which tmux was told to start its agent."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dev_sessions.claude.tmux import PLACEHOLDER, PaneInfo, Tmux, session_name
from dev_sessions.models import ClaudeSession
from dev_sessions.system import paths

#: In the command line of a Claude that version 0.4 started: claude --session-id 4d1e8066-7cd4-407a-990f-9d0a60769dba
_CONVERSATION_OPTION = r"--(session-id|resume)[ =][\"']?(?P<id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\b"


def launch_spec_file(session_id: str) -> Path:
    """Return the private file with the agent's environment, which exists until the agent starts."""
    return paths.launch_dir() / f"{session_id}.json"


def remove_files(session_id: str) -> None:
    """Remove the launch spec that a killed command may have left, and the lock file of the session's agent."""
    launch_spec_file(session_id).unlink(missing_ok=True)
    paths.alive_lock(session_id).unlink(missing_ok=True)


def is_started_for(session_id: str, pane_info: PaneInfo) -> bool:
    """Return whether tmux was told to start this session's agent in a pane."""
    return str(launch_spec_file(session_id)) in pane_info.command


def is_placeholder(pane_info: PaneInfo) -> bool:
    """Return whether a pane is one that the agent's would have replaced; the command that opened it was killed."""
    return PLACEHOLDER[-1] in pane_info.command


def is_started_for_another(session: ClaudeSession, pane_info: PaneInfo) -> bool:
    """Return whether tmux was told to start another session's agent in a pane, perhaps one of another home.

    Version 0.4 has tmux run `claude --session-id ID`, where the id changes with /clear, but not the process.
    """
    if os.path.join("dev_sessions", "claude", "launch.py") in pane_info.command:
        return not is_started_for(session.id, pane_info)
    conversation = re.search(_CONVERSATION_OPTION, pane_info.command)
    if conversation is None or pane_info.pane.pid == session.claude_pid:
        return False
    return conversation["id"] != session.internal_id


def list_panes(session_id: str, tmux: Tmux, *, require_here: bool = False) -> list[PaneInfo]:
    """Return the panes of a session's tmux session, and those that its agent was started in, wherever they are now.

    Raises as `Tmux.list_panes` does.
    """
    return tmux.list_panes(session_name(session_id), str(launch_spec_file(session_id)), require_here=require_here)


def has_agent(session_id: str, tmux: Tmux, *, require_here: bool = False) -> bool:
    """Return whether a server runs the agent of this session.

    Raises ProtocolError when tmux gives no clear answer, and with `require_here` LivenessUnknown when the server runs
    in another pid namespace.
    """
    panes = list_panes(session_id, tmux, require_here=require_here)
    return any(is_started_for(session_id, pane_info) for pane_info in panes)
