"""List the sessions of this machine with their states, and delete lost ones that hold nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dev_sessions.errors import DevSessionsError, InSandbox
from dev_sessions.models import Cli, Listed, Listing, Session, SessionState
from dev_sessions.operations import List
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.end import drop, end_abandoned
from dev_sessions.system import pid_namespace


def list_sessions(context: Context, request: List) -> Listing:
    """Return the running sessions, last used first; the state of a session is None if it is unknown.

    Lost sessions that never had a conversation are deleted.
    """
    end_abandoned(context)
    sessions = [session for session in context.sessions() if session.claimed_by is None]
    here = [session for session in sessions if session.host is None]
    states, unseen = _states(context, here, detail=request.detail)
    lost = SessionState("lost")
    empty = [session.id for session in sessions if states.get(session.id) == lost and _is_gone_unused(context, session)]
    for session in sessions:
        if session.id in empty:
            _drop_unused(context, session)
    kept = [Listed(session, states.get(session.id)) for session in here if session.id not in empty]
    rows = [row for row in kept if request.everything or row.state != lost]
    rows.sort(key=lambda row: row.session.last_used, reverse=True)
    return Listing(tuple(rows), len(kept) - len(rows), unseen)


def _drop_unused(context: Context, session: Session) -> None:
    if drop(context, session):
        removed = session.worktree is not None and not os.path.lexists(session.worktree)
        what = "record and its worktree were" if removed else "record was"
        context.warn(f"{session.id} ended before it was sent a message; its {what} deleted")


def _is_gone_unused(context: Context, session: Session) -> bool:
    """Return whether a lost session never had a conversation, and nothing else runs in its terminal."""
    backend = context.backends(session.cli)
    try:
        if backend.has_conversation(session):
            return False
        plan = backend.plan_recovery(session)
        return plan is not None and not plan.in_use
    except (DevSessionsError, OSError):
        return False


def _states(
    context: Context, sessions: Iterable[Session], *, detail: bool
) -> tuple[dict[str, SessionState], str | None]:
    """Return the known states of sessions, and a line about those that a sandbox hides."""
    by_cli: dict[Cli, list[Session]] = {}
    for session in sessions:
        by_cli.setdefault(session.cli, []).append(session)
    states: dict[str, SessionState] = {}
    unseen: list[str] = []
    for cli, group in by_cli.items():
        try:
            found = context.backends(cli).states(group, detail=detail)
        except InSandbox:
            unseen += [session.id for session in group]
            continue
        except DevSessionsError as error:
            context.warn(f"Cannot read the state of {cli} sessions: {error}")
            continue
        for session_id, state in found.items():
            if isinstance(state, InSandbox):
                unseen.append(session_id)
            elif isinstance(state, DevSessionsError):
                context.warn(str(state))
            else:
                states[session_id] = state
    if not unseen:
        return states, None
    return states, str(pid_namespace.sandbox_error(f"The state of {', '.join(unseen)} is not known"))
