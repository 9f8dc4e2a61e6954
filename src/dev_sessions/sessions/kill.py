"""Kill a session of this machine, with or without a record."""

from __future__ import annotations

import os

from dev_sessions.errors import DevSessionsError, InvalidRequest, LivenessUnknown, SessionNotFound
from dev_sessions.models import SESSION_TYPES, KillReport, Session
from dev_sessions.operations import Create, Kill
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.end import end_session
from dev_sessions.system import pid_namespace
from dev_sessions.system.process import mark_is_local, owner_is_alive


def kill_session(context: Context, request: Kill) -> KillReport:
    """End a session, running or lost, and delete its record; or end an orphan, which has no record.

    Raises InSandbox where the session's processes cannot be seen.
    """
    pid_namespace.require_unsandboxed(f"{request.session_id} was left alone")
    try:
        session = context.store.get(request.session_id)
    except SessionNotFound:
        return KillReport((request.session_id,), notes=end_session(context, _adopt(context, request.session_id)))
    if request.gone:
        from dev_sessions.sessions.recover import declared_gone

        session = context.store.update(session.id, declared_gone(context, session))
    if session.claimed_by is not None and owner_is_alive(session.claimed_by):
        raise _being_created(session)
    return KillReport((session.id,), notes=end_session(context, session))


def _adopt(context: Context, session_id: str) -> Session:
    """Write a record for an orphan, a session that runs without one. Raises SessionNotFound if there is none."""
    for cli in SESSION_TYPES:
        found = context.backends(cli).find_orphan(session_id)
        if found is not None:
            from dev_sessions.sessions.create import claim

            claim(context, Create(cli=cli, id=session_id), os.getcwd())
            return context.store.update(session_id, found)
    raise SessionNotFound(session_id)


def _being_created(session: Session) -> DevSessionsError:
    """Return the error for killing a session whose create may still be running."""
    if mark_is_local(session.claimed_by or ""):
        return InvalidRequest(f"{session.id} is still being created; end it when it is ready")
    return LivenessUnknown(
        f"Cannot determine whether the create of {session.id} is still running: it was started in another pid namespace"
        " or on another machine; if that is gone for good:"
        f" dev-sessions kill {session.id} --gone"
    )
