"""Recover lost sessions, each with its conversation, and prune old ones.

A recover holds the session's sender lock: no message is sent during it, and of two recovers at once the second finds
the session running. The lock is released when its holder dies; what a killed recover has started by then is taken over
by the next one (`Backend.plan_recovery`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from functools import partial

from dev_sessions.agent import Recovery
from dev_sessions.errors import DevSessionsError, InvalidRequest
from dev_sessions.models import (
    FieldChanges,
    Listed,
    RecoverReport,
    RecoverRow,
    Session,
    parse_timestamp,
    timestamp,
    undo_changes,
    with_changes,
)
from dev_sessions.operations import List, Recover
from dev_sessions.sessions.context import Context, require_created
from dev_sessions.sessions.end import end_session
from dev_sessions.sessions.listing import list_sessions
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.file_locks import hold_lock
from dev_sessions.system.process import mark_is_local

#: Seconds to wait for another recover, or a send, on the same session.
_LOCK_TIMEOUT = 60.0
#: Seconds since its last use after which a lost session may be pruned.
_PRUNE_AFTER = 30 * 86400.0


def recover(context: Context, request: Recover) -> RecoverReport:
    """Recover the named sessions, or all lost ones that have a conversation; or prune the old ones."""
    pid_namespace.require_unsandboxed("Nothing was recovered")
    if request.prune:
        listed = list_sessions(context, List(everything=True)).rows
        return prune(listed, partial(end_session, context), yes=request.yes)
    names = dict.fromkeys(request.session_ids or _with_conversation(context))
    rows = [_recover_row(context, session_id, yes=request.yes, gone=request.gone) for session_id in names]
    # Running sessions are reported only if they were named.
    return RecoverReport(tuple(row for row in rows if request.session_ids or row.action or row.error))


def declared_gone(context: Context, session: Session) -> FieldChanges:
    """Return the fields that record the user's word (--gone) that a session's processes have ended.

    Empty where that can be checked from here.
    """
    changes: FieldChanges = {}
    if session.claimed_by is not None and not mark_is_local(session.claimed_by):
        changes["claimed_by"] = pid_namespace.ENDED
    return {**changes, **context.backends(session.cli).declared_gone(with_changes(session, changes))}


def prune(listed: Iterable[Listed], end: Callable[[Session], Iterable[str]], *, yes: bool) -> RecoverReport:
    """Delete sessions that are lost and have not been used for 30 days; without `yes`, only report them.

    `end` ends one session and returns a line for everything that it left.
    """
    rows: list[RecoverRow] = []
    notes: list[str] = []
    before = time.time() - _PRUNE_AFTER
    for row in listed:
        session = row.session
        if row.state is None or row.state.state != "lost" or parse_timestamp(session.last_used) >= before:
            continue
        action = f"delete its record: it is lost, and was last used on {session.last_used[:10]}"
        try:
            if yes:
                notes += end(session)
            rows.append(RecoverRow(session.id, action, done=yes))
        except (DevSessionsError, OSError) as error:
            rows.append(RecoverRow(session.id, action, error=_with_id(session.id, error)))
    return RecoverReport(tuple(rows), tuple(notes))


def _with_conversation(context: Context) -> list[str]:
    """Return the ids of this machine's sessions that have a conversation, last used first."""
    sessions = [s for s in context.sessions() if s.claimed_by is None and s.host is None]
    sessions.sort(key=lambda session: session.last_used, reverse=True)
    return [session.id for session in sessions if context.backends(session.cli).has_conversation(session)]


def _recover_row(context: Context, session_id: str, *, yes: bool, gone: bool) -> RecoverRow:
    """Recover one session, or without `yes` only plan it. An error is returned in the row, so that others continue."""
    try:
        session = context.store.get(session_id)  # first, so that an unknown id leaves no lock file
        declared = declared_gone(context, session) if gone else FieldChanges()
        if not yes:
            plan = _plan(context, with_changes(session, declared))
            return RecoverRow(session_id, action=plan.action if plan else None)
        with hold_lock(paths.sender_lock(session_id), _LOCK_TIMEOUT, f"Another command has been using {session_id}"):
            if declared:
                context.store.update(session_id, declared)
            return _recover_session(context, session_id)
    except (DevSessionsError, OSError) as error:
        return RecoverRow(session_id, error=_with_id(session_id, error))


def _with_id(session_id: str, error: Exception) -> str:
    """Return the text of an error, with the session's id if it does not name it."""
    return str(error) if session_id in str(error) else f"{session_id}: {error}"


def _plan(context: Context, session: Session) -> Recovery | None:
    """Return what recovering a session takes; None if it is running."""
    require_created(session)
    plan = context.backends(session.cli).plan_recovery(session)
    if plan is not None and not os.path.isdir(session.path):
        raise InvalidRequest(
            f"Workspace path does not exist: {session.path}; create it again, or delete the session's record:"
            f" dev-sessions kill {session.id}"
        )
    return plan


def _recover_session(context: Context, session_id: str) -> RecoverRow:
    session = context.store.get(session_id)
    plan = _plan(context, session)
    if plan is None:
        return RecoverRow(session_id)
    if plan.permanent_changes:
        session = context.store.update(session_id, plan.permanent_changes)
    backend = context.backends(session.cli)
    planned = context.store.update(session_id, plan.changes)
    with contextlib.ExitStack() as undo:
        undo.callback(_restore_record, context, session, plan)
        changes = backend.recover(planned)
        if changes:  # without changes the agent was running, and was only shown again
            undo.callback(_undo_recover, context, planned, changes)
        context.store.update(session_id, {**changes, "last_used": timestamp(time.time())})
        undo.pop_all()
    return RecoverRow(session_id, action=plan.action, done=True)


def _restore_record(context: Context, session: Session, plan: Recovery) -> None:
    """Restore the record after a failed recover. An error here must not replace the original one."""
    with contextlib.suppress(DevSessionsError, OSError):
        context.store.update(session.id, undo_changes(session, plan.changes))
    with contextlib.suppress(DevSessionsError, OSError):
        context.backends(session.cli).release(context.sessions)


def _undo_recover(context: Context, session: Session, changes: FieldChanges) -> None:
    with contextlib.suppress(DevSessionsError, OSError):
        context.backends(session.cli).undo_recover(with_changes(session, changes))
