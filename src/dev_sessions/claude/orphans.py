"""Agents without a session: started for a name that no record has."""

from __future__ import annotations

import contextlib
import os

from dev_sessions.claude import session_panes
from dev_sessions.claude.tmux import Tmux
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import FieldChanges


def find(session_id: str) -> FieldChanges | None:
    """Return the tmux server with a session that was started for this name, although no record has it.

    The record was lost, or the server could not be reached when the session was killed.
    """
    for socket in (Tmux.current_socket(), Tmux.default_socket()):
        # A server that is gone or gives no clear answer is no reason to fail: no record has the name.
        with contextlib.suppress(DevSessionsError):
            if os.path.exists(socket) and session_panes.has_agent(session_id, Tmux(socket), require_here=True):
                return {"tmux_socket": socket}
    return None
