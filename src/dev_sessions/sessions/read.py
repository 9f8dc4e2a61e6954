"""Read a session of this machine: its state, its messages and its record."""

from __future__ import annotations

from collections.abc import Iterable

from dev_sessions.errors import DevSessionsError, MovedToBackground, SessionLost
from dev_sessions.models import JsonObject, LogTurn, StatusResult
from dev_sessions.operations import Inspect, LastMessage, Logs, Status
from dev_sessions.record_json import session_to_json
from dev_sessions.sessions.context import Context
from dev_sessions.system.fast_dataclass import replace


def last_message(context: Context, request: LastMessage) -> list[str]:
    """Return the last text blocks of the assistant, also of a lost session."""
    session = context.created_session(request.session_id)
    return context.backends(session.cli).last_messages(session, request.count)


def logs(context: Context, request: Logs) -> Iterable[LogTurn]:
    """Yield the whole conversation, also of a lost session."""
    session = context.created_session(request.session_id)
    return context.backends(session.cli).logs(session)


def status(context: Context, request: Status) -> StatusResult:
    """Return the state of a session. Raises SessionLost, MovedToBackground, and why it is not known."""
    session = context.created_session(request.session_id)
    state = context.backends(session.cli).states([session], detail=request.detail)[session.id]
    if isinstance(state, DevSessionsError):
        raise state
    if state.state == "lost":
        raise SessionLost(session.id, "its process is gone")
    if state.moved_to is not None:
        raise MovedToBackground(session.id, state.moved_to)
    if not request.detail:
        if state.continues_at is not None:
            context.warn(
                f"{session.id} waits for the end of a usage limit, and continues by itself after"
                f" {state.continues_at}: dev-sessions wait {session.id} --through-limits"
            )
        return StatusResult(**vars(state))
    pending = context.backends(session.cli).pending(session) if state.state == "waiting_for_input" else None
    if pending is not None and pending.kind == "dialog":
        state = replace(state, waiting_for=pending.what)
    options = len(pending.questions[0].options) if pending is not None and pending.questions else None
    return StatusResult(**vars(state), worktree=session.worktree, options=options)


def inspect(context: Context, request: Inspect) -> JsonObject:
    """Return the stored record."""
    return session_to_json(context.created_session(request.session_id))
