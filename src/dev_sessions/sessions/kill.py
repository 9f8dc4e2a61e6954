"""Kill sessions of this machine: one, with or without a record, or many."""

from __future__ import annotations

import os
from functools import partial

from dev_sessions.errors import DevSessionsError, InvalidRequest, ProcessesUnseen, SessionNotFound
from dev_sessions.models import SESSION_TYPES, KillReport, Session
from dev_sessions.operations import Create, Kill, KillMany, List
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.create import claim
from dev_sessions.sessions.end import end_session, release
from dev_sessions.sessions.kill_many import kill_each
from dev_sessions.sessions.listing import list_sessions
from dev_sessions.sessions.process_tree import running_in
from dev_sessions.sessions.recover import declared_gone
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.process import mark_is_local, owner_is_alive


def kill_session(context: Context, request: Kill) -> KillReport:
    """End a session, running or lost, and delete its record; or end an orphan, which has no record.

    Raises InSandbox where the session's processes cannot be seen.
    """
    pid_namespace.require_outlasting(f"{request.session_id} was left alone")
    try:
        session = context.store.get(request.session_id)
    except SessionNotFound:
        return KillReport((request.session_id,), notes=end_session(context, _adopt(context, request.session_id)))
    if request.gone:
        session = context.store.update(session.id, declared_gone(context, session))
    if session.claimed_by is not None and owner_is_alive(session.claimed_by):
        raise _being_created(session)
    return KillReport((session.id,), notes=end_session(context, session))


def kill_many(context: Context, request: KillMany) -> KillReport:
    """End all running sessions, or those not used recently; continue after a failure. The caller's own is last."""
    pid_namespace.require_outlasting("No session was killed")
    rows = list_sessions(context, List()).rows
    own = running_in(row.session for row in rows) | {request.caller}
    rows = tuple(sorted(rows, key=lambda row: row.session.id in own))
    report = kill_each(request, rows, partial(end_session, context))
    for cli in SESSION_TYPES:
        if any(found.is_dir() for found in paths.state_dir().glob(f"{cli}*")):
            # An interrupted kill may have left running what its sessions share.
            release(context, cli)
    return report


def _adopt(context: Context, session_id: str) -> Session:
    """Write a record for an orphan, a session that runs without one. Raises SessionNotFound if there is none."""
    for cli in SESSION_TYPES:
        found = context.backends(cli).orphan(session_id)
        if found is not None:
            claim(context, Create(cli=cli, id=session_id), os.getcwd())
            return context.store.update(session_id, found)
    raise SessionNotFound(session_id)


def _being_created(session: Session) -> DevSessionsError:
    """Return the error for killing a session whose create may still be running."""
    if mark_is_local(session.claimed_by or ""):
        return InvalidRequest(f"{session.id} is still being created; end it when it is ready")
    what = f"Cannot determine whether the create of {session.id} is still running"
    if not pid_namespace.outlasts_command():
        return pid_namespace.sandbox_error(what)
    return ProcessesUnseen(
        f"{what}: it was started in another pid namespace or on another machine; if that is gone for good:"
        f" dev-sessions kill {session.id} --gone"
    )
