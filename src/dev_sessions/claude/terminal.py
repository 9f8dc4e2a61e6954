"""The terminal of a session: tmux, attached to the pane of its Claude."""

from __future__ import annotations

import contextlib
import os

from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.tmux import Tmux, session_name
from dev_sessions.errors import ProtocolError
from dev_sessions.models import Terminal
from dev_sessions.system import paths, pid_namespace


def terminal(process: ClaudeProcess) -> Terminal:
    """Return the terminal: the current tmux client, if it is on the same server, else a new one. Raises SessionLost."""
    session = process.session
    process.require_alive()
    if pid_namespace.place(session.claude_pid_domain) == "other namespace":
        process.pane().snapshot()
    # A killed command may have left the window larger than this terminal.
    with contextlib.suppress(ProtocolError, TimeoutError), process.readable_window(paths.sender_lock(session.id)):
        process.pane().snapshot()
    target = session.tmux_pane or f"={session_name(session.id)}"
    return Tmux(session.tmux_socket).terminal(target, os.environ.get("TMUX"))
