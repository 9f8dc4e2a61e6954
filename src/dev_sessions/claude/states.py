"""The states of sessions."""

from __future__ import annotations

from dev_sessions.claude import session_file
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.transcript import activity
from dev_sessions.claude.transcript_file import announces_continuation
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import LivenessUnknown, MovedToBackground, SessionLost
from dev_sessions.jsonl import last_activity
from dev_sessions.models import SessionState
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.suspension import is_suspended


def state(process: ClaudeProcess, *, detail: bool) -> SessionState | LivenessUnknown:
    """Return the state of a session, or why it is not known; with `detail`, its activity, tokens and failure, too.

    That it will continue by itself is a part of every state.
    """
    try:
        turn_wait = TurnWait(process)
        found = turn_wait.state()
        # A dialog may be open after the end of a turn, as after a usage limit (2.1.332).
        if found.state != "working" and (detail or announces_continuation(process.transcript())):
            found = found.with_outcome(turn_wait.ended())
    except SessionLost:
        return SessionState("lost")
    except MovedToBackground as moved:
        found = SessionState("waiting_for_input", "its return from Claude's background", moved_to=moved.job)
    except LivenessUnknown as error:
        return error
    if not detail:
        return found
    return replace(found.with_activity(last_activity(process.transcript(), activity)), suspended=_is_suspended(process))


def _is_suspended(process: ClaudeProcess) -> bool:
    """Return whether somebody has pressed Ctrl-Z; False if that cannot be seen from here."""
    if process.session.mode == "docker":
        return False
    try:
        own = session_file.local_process(process.session)
    except LivenessUnknown:
        return False
    return own is not None and is_suspended(own.pid)
