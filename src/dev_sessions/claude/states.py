"""The states of sessions."""

from __future__ import annotations

from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.transcript import activity
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import MovedToBackground, ProcessesUnseen, SessionLost
from dev_sessions.jsonl import last_activity
from dev_sessions.models import SessionState


def state(process: ClaudeProcess, *, detail: bool) -> SessionState | ProcessesUnseen:
    """Return the state of a session, or why it is not known; with `detail`, its activity, tokens and failure, too."""
    try:
        turn_wait = TurnWait(process)
        found = turn_wait.state()
        if detail and found.state != "working":
            # A dialog may be open after the end of a turn, as after a usage limit (2.1.332).
            found = found.with_outcome(turn_wait.ended())
    except SessionLost:
        return SessionState("lost")
    except MovedToBackground as moved:
        found = SessionState("waiting_for_input", "its return from Claude's background", moved_to=moved.job)
    except ProcessesUnseen as error:
        return error
    return found.with_activity(last_activity(process.transcript(), activity)) if detail else found
